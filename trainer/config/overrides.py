r"""Overrides of the command line, read as helm reads them: `--set a.b=1,c[0]=x,d={x,y},e=null` and its kin.

One exception: below `run:` a number with a point or an exponent is a number to `--set`, where helm makes a text of it
that the chart's schema refuses.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainer.config.yaml_file import LARGEST_WHOLE, KeyPath, describe
from trainer.errors import ConfigError

#: A `--set` expression, or another flag and its expression.
Override = str | tuple[str, str]

#: helm's limits.
_LARGEST_INDEX = 65_536
_MOST_LEVELS = 30
_FLOAT = re.compile(r"-?(0|[1-9]\d*)(\.\d+(e[-+]?\d+)?|e[-+]?\d+)", re.IGNORECASE)


def apply_override(document: dict[str, Any], expression: str, flag: str = "--set") -> list[KeyPath]:
    r"""Applies one expression to a document, in place.

    `--set` types true, false, null and whole numbers, and all else is text; `--set-string` makes everything text,
    `--set-file` takes the content of the file that the value names, `--set-json` reads JSON, or merges `{...}` without
    a key. `\,` and `\.` stand for themselves. Places of a list that the expression skips are null.

    Returns:
        The paths of the keys that were set.

    Raises:
        ConfigError: Not of the form key=value, a key below something that is not a mapping, or beyond helm's limits.
    """
    where = f"{flag} {expression}"
    if flag == "--set-json":
        return _apply_json(document, expression, where)
    read = {"--set": _typed, "--set-string": _text, "--set-file": _content}[flag]
    assigned: list[KeyPath] = []
    for part in _split(expression, where):
        key, equals, value = part.partition("=")
        keys = _checked_keys(key, equals, part, where)
        _assign(document, keys, _value(value, where, read, below_run=keys[0] == "run"), where)
        assigned.append(tuple(keys))
    return assigned


def _apply_json(document: dict[str, Any], expression: str, where: str) -> list[KeyPath]:
    rest = expression.strip()
    if rest.startswith("{"):
        value, end = _json_value(rest, where)
        if rest[end:].strip():
            raise ConfigError("text after the JSON object", where=where, remedy="give one object, or key=JSON")
        document.update(merged(document, value))
        return [(key,) for key in value]
    assigned: list[KeyPath] = []
    while rest:
        key, equals, rest = rest.partition("=")
        keys = _checked_keys(key, equals, key, where)
        value, end = (None, 0) if rest.lstrip()[:1] in ("", ",") else _json_value(rest, where)
        _assign(document, keys, value, where)
        assigned.append(tuple(keys))
        rest = rest[end:].lstrip().removeprefix(",").lstrip()
    return assigned


def _json_value(text: str, where: str) -> tuple[Any, int]:
    """Returns the JSON value that a text begins with, and where it ends."""
    blanks = len(text) - len(text.lstrip())
    try:
        value, end = _JSON.raw_decode(text, blanks)
    except (ValueError, RecursionError) as wrong:
        remedy = "quote text and keys: --set-json 'image.tag=\"2\"'"
        raise ConfigError(f"not JSON: {wrong}", where=where, remedy=remedy) from None
    _check_whole_numbers(value, where)
    return value, end


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


_JSON = json.JSONDecoder(parse_constant=_no_constant)


def _check_whole_numbers(value: Any, where: str) -> None:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_whole_numbers(inner, where)
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        remedy = "use --set-string where it is an id, or a smaller number"
        raise ConfigError(
            f"{str(value)[:40]} is above 2^53, where helm rounds whole numbers", where=where, remedy=remedy
        )


def merged(below: Any, above: Any) -> Any:
    """Returns two values as one: mappings are merged key by key, else `above` wins. What aliases share is copied."""
    if isinstance(above, list):
        return [merged(None, item) for item in above]
    if not isinstance(above, dict):
        return above
    result = dict(below) if isinstance(below, dict) else {}
    for key, value in above.items():
        result[key] = merged(result.get(key), value)
    return result


def _checked_keys(key: str, equals: str, part: str, where: str) -> list[str | int]:
    keys = list(_key_path(key.strip(), where))
    if not equals or not keys or not isinstance(keys[0], str):
        raise ConfigError(f"{part!r} is not key=value", where=where, remedy="write it like run.fit.epochs=3")
    return keys


def _split(text: str, where: str) -> list[str]:
    """Splits at commas that are neither escaped nor in a list, which begins right after `=`. Escapes stay."""
    parts, in_list, current = [], False, ""
    for piece in re.findall(r"\\.|.", text, flags=re.DOTALL):
        if piece == "," and not in_list:
            parts.append(current)
            current = ""
        else:
            in_list = (in_list and piece != "}") or (piece == "{" and current.endswith("="))
            current += piece
    if in_list:
        raise ConfigError("a list has no closing brace", where=where, remedy="write it like key={a,b}")
    return [*parts, current]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _key_path(key: str, where: str) -> Iterator[str | int]:
    parts = re.split(r"(?<!\\)\.", key)
    if len(parts) > _MOST_LEVELS:
        raise ConfigError(f"{len(parts)} levels of keys", where=where, remedy=f"use at most {_MOST_LEVELS}")
    for part in parts:
        match = re.fullmatch(r"([^\[\]]*)((?:\[\d{1,9}\])*)", part)
        if match is None:
            raise ConfigError(f"{part!r} is not a key with an index", where=where, remedy="write it like list[0]")
        if match[1]:
            yield _unescaped(match[1])
        for index in map(int, re.findall(r"\d+", match[2])):
            if index > _LARGEST_INDEX:
                raise ConfigError(f"index {index} is too large", where=where, remedy=f"at most {_LARGEST_INDEX}")
            yield index


#: Makes a value of a text: its place for messages, and whether its key is below `run:`.
Reader = Callable[[str, str, bool], Any]


def _value(text: str, where: str, read: Reader, *, below_run: bool) -> Any:
    if text.startswith("{") and text.endswith("}"):
        items = _split(text[1:-1], where) if text != "{}" else []
        return [read(_unescaped(item), where, below_run) for item in items]
    return read(_unescaped(text), where, below_run)


def _typed(value: str, where: str, below_run: bool) -> Any:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.lower() == "null":
        return None
    if re.fullmatch(r"0|[-+]?[0-9]{1,19}", value) and (value == "0" or not value.startswith("0")):
        number = int(value)
        if not -(2**63) <= number < 2**63:
            return value
        _check_whole_numbers(number, where)
        return number
    return float(value) if below_run and len(value) < 400 and _FLOAT.fullmatch(value) else value


def _text(value: str, where: str, below_run: bool) -> str:
    return value


def _content(value: str, where: str, below_run: bool) -> str:
    try:
        return Path(value).read_bytes().decode()
    except (OSError, ValueError) as unreadable:
        why = getattr(unreadable, "strerror", None) or "it is not text in UTF-8"
        raise ConfigError(
            f"cannot read the file {value!r}: {why}", where=where, remedy="check the path"
        ) from unreadable


def _assign(document: Any, keys: list[str | int], value: Any, where: str) -> None:
    at = document
    for key, following in itertools.pairwise(keys):
        at = _step(at, key, list if isinstance(following, int) else dict, where)
    last = keys[-1]
    if isinstance(at, list) and isinstance(last, int):
        at.extend([None] * (last + 1 - len(at)))
        at[last] = value
    elif isinstance(at, dict) and isinstance(last, str):
        at[last] = value
    else:
        raise _misfit(last, at, where)


def _step(at: Any, key: str | int, empty: type[list[Any]] | type[dict[str, Any]], where: str) -> Any:
    """The container below `key`, made where there is none."""
    if isinstance(at, list) and isinstance(key, int):
        at.extend([None] * (key + 1 - len(at)))
    elif not (isinstance(at, dict) and isinstance(key, str)):
        raise _misfit(key, at, where)
    below = at.get(key) if isinstance(at, dict) else at[key]
    if below is None or (isinstance(at, list) and not isinstance(below, dict | list)):
        at[key] = below = empty()
    elif not isinstance(below, dict | list):
        raise ConfigError(
            f"{key!r} is {describe(below)}, which has no keys",
            where=where,
            remedy="set it as a whole, or check the path",
        )
    return below


def _misfit(key: str | int, at: Any, where: str) -> ConfigError:
    return ConfigError(f"{key!r} does not fit {describe(at)}", where=where, remedy="check the key's path")
