"""Reads the `run:` key of a job file: YAML with line numbers in, one configuration or one clear error out."""

from __future__ import annotations

import difflib
import itertools
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError

if TYPE_CHECKING:
    from trainer.config import Config

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Reads scalars as helm's YAML does, so that a file means the same on a laptop and in a pod.

    PyYAML by itself takes 1e-5 for text, 12:30 for a number and 2013-01-01 for a date.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("float", "int", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"),
    list("-+.0123456789"),
)
# A truth value to helm's YAML and a word to PyYAML's: columns are called x and y.
_SHORT_TRUTHS = {"y", "Y", "n", "N"}
M = typing.TypeVar("M", bound=BaseModel)


def load_run(model: type[Config], path: Path, overrides: list[str]) -> Config:
    """Reads and checks a job file's `run:` key.

    Args:
        model: The configuration's model.
        path: The job file.
        overrides: `--set` expressions; keys outside `run` belong to the chart and are ignored here.

    Returns:
        The configuration.

    Raises:
        ConfigError: With every fault, its line and its remedy.
    """
    document, lines = load_yaml(path)
    for expression in overrides:
        apply_override(document, expression)
    if "run" not in document:
        near = difflib.get_close_matches("run", map(str, document), n=1)
        raise ConfigError(
            "the key `run:` is missing" + (f"; did you mean it by {near[0]!r}?" if near else ""),
            where=str(path),
            remedy="put the trainer's configuration under run:, see docs/job-file.md",
        )
    return validate(model, document["run"], source=str(path), lines=lines, prefix=("run",))


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    """Reads a YAML mapping.

    Returns:
        The mapping, and the line (from 1) of every key by its path.

    Raises:
        ConfigError: Not there, not YAML, a key twice, or not a mapping.
    """
    try:
        text = path.read_text()
        node = yaml.compose(text, Loader=_Loader)
        document = yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader
    except FileNotFoundError as missing:
        raise ConfigError("no such job file", where=str(path), remedy="check the path") from missing
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigError(f"cannot read the job file: {unreadable}", where=str(path)) from unreadable
    except yaml.YAMLError as broken:
        mark = getattr(broken, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(broken, "problem", None) or "cannot be parsed"
        raise ConfigError(
            f"not YAML: {problem}", where=place, remedy="mend the line, often an indent or a quote"
        ) from broken
    if not isinstance(document, dict):
        raise ConfigError(
            f"a job file is a mapping, this is {_named(document)}", where=str(path), remedy="see docs/job-file.md"
        )
    return document, dict(_lines(node, (), path))


def _lines(node: yaml.Node | None, at: Path_, path: Path) -> Iterator[tuple[Path_, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(
                    f"the key {key.value!r} stands twice", where=f"{path}:{line}", remedy="remove one of them"
                )
            seen.add(key.value)
            yield (*at, key.value), line
            yield from _lines(key, at, path)
            yield from _lines(value, (*at, key.value), path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index), path)
    elif isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _SHORT_TRUTHS:
        raise ConfigError(
            f"{node.value} is a truth value to helm",
            where=f"{path}:{node.start_mark.line + 1}",
            remedy=f'put it in quotes: "{node.value}"',
        )


def apply_override(document: dict[str, Any], expression: str) -> None:
    r"""Applies one `--set` expression as helm does: `a.b=1,c[0]=x,d={x,y},e=null`.

    `null` removes the key; true, false and whole numbers are typed, all else is text; `\,` and `\.`
    stand for themselves. A number with a point, which helm leaves to YAML, is a float.

    Raises:
        ConfigError: Not of the form key=value, or a key below something that is no mapping.
    """
    for part in _split(expression, ","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"{part!r} is not key=value", where=f"--set {expression}", remedy="write it like run.fit.epochs=3"
            )
        _assign(document, list(_key_path(key.strip())), _typed(value), f"--set {expression}")


def _split(text: str, separator: str) -> list[str]:
    """Splits at a separator that is neither escaped nor inside braces."""
    parts, depth, current, escaped = [], 0, "", False
    for char in text:
        if escaped:
            current, escaped = current + ("" if char in ",{}" else "\\") + char, False
        elif char == "\\":
            escaped = True
        elif char == separator and depth == 0:
            parts.append(current)
            current = ""
        else:
            depth += (char == "{") - (char == "}")
            current += char
    return [*parts, current]


def _key_path(key: str) -> Iterator[str | int]:
    for part in re.split(r"(?<!\\)\.", key):
        name, *indexes = re.split(r"\[(\d+)\]", part.replace("\\.", "."))
        if name:
            yield name
        yield from (int(i) for i in indexes if i)


def _typed(value: str) -> Any:
    if value.startswith("{") and value.endswith("}"):
        return [_typed(v) for v in _split(value[1:-1], ",")] if value != "{}" else []
    if value in ("true", "false"):
        return value == "true"
    if value == "null":
        return None
    if re.fullmatch(r"-?(0|[1-9]\d*)", value):
        return int(value)
    if re.fullmatch(r"-?\d+\.\d*(e-?\d+)?|-?\d+e-?\d+", value):
        return float(value)
    return value


def _assign(document: Any, keys: list[str | int], value: Any, where: str) -> None:
    at = document
    for key, following in itertools.pairwise(keys):
        empty: Any = [] if isinstance(following, int) else {}
        at = _step(at, key, empty, where)
    last = keys[-1]
    if isinstance(at, list) and isinstance(last, int):
        at.extend([None] * (last + 1 - len(at)))
        at[last] = value
    elif isinstance(at, dict) and isinstance(last, str):
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    else:
        raise ConfigError(f"{last!r} does not fit {_named(at)}", where=where, remedy="check the key's path")


def _step(at: Any, key: str | int, empty: Any, where: str) -> Any:
    if isinstance(at, dict) and isinstance(key, str):
        if not isinstance(at.get(key), dict | list):
            at[key] = empty
        return at[key]
    if isinstance(at, list) and isinstance(key, int):
        at.extend([empty] * (key + 1 - len(at)))
        return at[key]
    raise ConfigError(f"{key!r} does not fit {_named(at)}", where=where, remedy="check the key's path")


# --- errors a person can act on -------------------------------------------------------------------


def validate(model: type[M], values: Any, *, source: str, lines: dict[Path_, int], prefix: Path_) -> M:
    """Checks values against a model.

    Args:
        model: The pydantic model.
        values: What the file holds.
        source: The file, for the message.
        lines: Line of every key, by its path from the top of the file.
        prefix: Path of `values` from the top of the file.

    Returns:
        The model's instance.

    Raises:
        ConfigError: Every fault with its place, its value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        faults: dict[Path_, list[str]] = {}
        for error in invalid.errors():
            at = _real_path(error["loc"], values)
            if error["type"] == "union_tag_invalid":
                at = (*at, "kind")
            faults.setdefault(at, []).append(_message(model, error, at, values))
    # A union reports each member it tried: a fault further down says more than one at the union itself.
    kept = {p: m for p, m in faults.items() if not any(q != p and q[: len(p)] == p for q in faults)}
    shown = [
        f"{_place(source, lines, (*prefix, *at))}: {' or '.join(dict.fromkeys(messages))}"
        for at, messages in kept.items()
    ]
    raise ConfigError(
        shown[0] if len(shown) == 1 else "\n  ".join([f"{len(shown)} faults", *shown]),
        remedy="docs/job-file.md describes every key",
    ) from None


def _place(source: str, lines: dict[Path_, int], at: Path_) -> str:
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), None)
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in at).lstrip(".")
    return f"{source}:{line}: {key}" if line else f"{source}: {key}"


def _real_path(loc: Path_, values: Any) -> Path_:
    """The part of a pydantic location that stands in the file: tags of unions are left out."""
    path: list[str | int] = []
    at = values
    for index, part in enumerate(loc):
        if isinstance(at, dict) and (part in at or (index == len(loc) - 1 and not _is_tag(part))):
            path.append(part)
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            path.append(part)
            at = at[part]
    return tuple(path)


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and (
        part[:1].isupper()
        or "[" in part
        or part.startswith("constrained-")
        or part in ("str", "int", "float", "bool", "numeric", "categorical", "vector")
    )


def _message(model: type[BaseModel], error: Any, at: Path_, values: Any) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        allowed = sorted(_keys_at(model, error["loc"][:-1]))
        near = difflib.get_close_matches(str(at[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key; {hint}"
    if kind == "missing":
        return "missing; it must be set"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tags = str(error.get("ctx", {}).get("expected_tags", ""))
        near = difflib.get_close_matches(str(error.get("ctx", {}).get("tag", "")), re.findall(r"'(\w+)'", tags), n=1)
        return f"`kind` must be one of {tags}" + (f"; did you mean {near[0]!r}?" if near else "")
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if kind == "literal_error":
        near = difflib.get_close_matches(str(given), re.findall(r"'(\w+)'", text), n=1)
        text += f"; did you mean {near[0]!r}?" if near else ""
    return text if kind == "value_error" else f"{_named(given)}: {text}"


def _keys_at(model: Any, loc: Path_) -> set[str]:
    """The keys a model allows at a pydantic location."""
    if not loc:
        fields = getattr(model, "model_fields", None)
        return set(fields) if fields else set()
    part, rest = loc[0], loc[1:]
    members = _members(model)
    if len(members) > 1:
        chosen = [m for m in members if part in (getattr(m, "__name__", ""), _kind_of(m))]
        if chosen:
            return _keys_at(chosen[0], rest)
        return set().union(*(_keys_at(m, loc) for m in members))
    if members[0] is not model and hasattr(members[0], "model_fields"):
        only = members[0]
        return _keys_at(only, rest if part in (only.__name__, _kind_of(only)) else loc)
    origin = typing.get_origin(model)
    if origin in (dict, list):
        return _keys_at(_plain(typing.get_args(model)[-1]), rest)
    fields = getattr(model, "model_fields", {})
    return _keys_at(_plain(fields[part].annotation), rest) if part in fields else set()


def _plain(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [m for a in typing.get_args(annotation) for m in _members(_plain(a))]
        models = [m for m in inner if hasattr(m, "model_fields") or typing.get_origin(m) is dict]
        return models or inner
    return [annotation]


def _kind_of(member: Any) -> str:
    field = getattr(member, "model_fields", {}).get("kind")
    return str(typing.get_args(field.annotation)[0]) if field else ""


def _named(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    words = {
        str: "text",
        dict: "a mapping",
        list: "a list",
        bool: "a truth value",
        int: "a whole number",
        float: "a number",
    }
    word = words.get(type(value), type(value).__name__)
    return word if isinstance(value, dict | list) else f"{value!r} ({word})"
