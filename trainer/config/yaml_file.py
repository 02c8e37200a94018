"""Reads a job file as YAML: the values that helm reads, with the line of every key, within bounds.

PyYAML by itself differs from helm in numbers, dates and truth values, and aliases in a small file can expand to
more nodes than memory holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trainer.errors import ConfigError

KeyPath = tuple[str | int, ...]

#: A ConfigMap holds 1 MiB; nobody writes more by hand.
_MOST_BYTES = 4 * 1024**2
_MOST_NODES = 200_000
_MOST_LEVELS = 100
#: helm keeps numbers as float64, which is exact up to here.
LARGEST_WHOLE = 2**53
_SHOWN = 200
_REMEDY = "see docs/job-file.md"
_CORRECT = "correct the line, often an indent or a quote; keys of more than 1,024 characters are written `? key`"


class _Loader(yaml.SafeLoader):
    """Reads scalars as helm's YAML does, so that a file means the same on a laptop and in a pod.

    PyYAML by itself takes 1e-5 for text, 12:30 for a number and 2013-01-01 for a date.
    """

    def scan_flow_scalar(self, style: str) -> yaml.ScalarToken:
        r"""Reads a quoted scalar; joins the two escapes by which JSON writes a character above U+FFFF.

        `json.dumps("😀")` is `"\ud83d\ude00"`, which PyYAML by itself reads as two characters that no text may hold.
        """
        token = super().scan_flow_scalar(style)
        if any("\ud800" <= char <= "\udfff" for char in token.value):
            try:
                token.value = token.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise yaml.scanner.ScannerError(
                    None,
                    None,
                    "an escape is half of a character (a surrogate without its other half)",
                    token.start_mark,
                ) from None
        return token


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
# Plain `=` and `<<` as values are words to helm, which also writes them without quotes into the ConfigMap.
_Loader.yaml_implicit_resolvers.pop("=")
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: str(node.value))
# A truth value to helm's YAML and a word to PyYAML's: columns are called x and y.
_SHORT_TRUTHS = {"y", "Y", "n", "N"}


def display_name(path: Path) -> str:
    """Returns a job file's name for messages."""
    return "(stdin)" if str(path) == "-" else str(path)


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Reads a YAML mapping; `-` is stdin.

    Returns:
        The mapping, and the line (from 1) of every key by its path.

    Raises:
        ConfigError: Not there, not YAML, a key twice, not a mapping, or too large once aliases are expanded.
    """
    loader: Any = None
    text, path = _text(path), Path(display_name(path))
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _check_bounds(node, path)
        document = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as broken:
        mark = getattr(broken, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(broken, "problem", None) or getattr(broken, "reason", None) or "cannot be parsed"
        raise ConfigError(f"not YAML: {problem}", where=place, remedy=_CORRECT) from broken
    except RecursionError as deep:
        raise ConfigError("mappings and lists are nested too deeply", where=str(path), remedy=_REMEDY) from deep
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as wrong:  # of PyYAML, for `!!int x`
        raise ConfigError(f"not YAML: a value does not fit its type: {wrong}", where=str(path)) from wrong
    if not isinstance(document, dict):
        raise ConfigError(f"a job file is a mapping, this is {describe(document)}", where=str(path), remedy=_REMEDY)
    return document, dict(_lines(node, (), path))


def _text(path: Path) -> str:
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise ConfigError(
                f"a job file of more than {_MOST_BYTES:,} bytes", where=str(path), remedy="is it the file you mean?"
            )
        return raw.decode()
    except FileNotFoundError as missing:
        raise ConfigError("no such job file", where=str(path), remedy="check the path") from missing
    except (OSError, ValueError) as unreadable:
        raise ConfigError(f"cannot read the job file: {unreadable}", where=str(path)) from unreadable


def _check_bounds(root: yaml.Node | None, path: Path) -> None:
    """Refuses a document whose aliases are recursive or expand too far, and numbers that helm alters."""
    sizes: dict[int, int] = {}  # nodes below a node, aliases expanded
    inside: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        place = f"{path}:{node.start_mark.line + 1}"
        if id(node) in inside:
            raise ConfigError("an alias stands inside what it names", where=place, remedy="write the value out")
        if depth > _MOST_LEVELS:
            raise ConfigError(f"nested more than {_MOST_LEVELS} levels deep", where=place, remedy=_REMEDY)
        if id(node) not in sizes:
            if isinstance(node, yaml.ScalarNode):
                _check_scalar(node, place)
            inside.add(id(node))
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in _children(node))
            inside.remove(id(node))
        if sizes[id(node)] > _MOST_NODES:
            raise ConfigError(
                f"more than {_MOST_NODES:,} values once its aliases are expanded", where=place, remedy="use fewer"
            )
        return sizes[id(node)]

    if root is not None:
        size(root, 1)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_scalar(node: yaml.ScalarNode, place: str) -> None:
    """Refuses a plain scalar that helm reads as something else."""
    if node.style is not None:
        return
    if node.value in _SHORT_TRUTHS:
        raise ConfigError(
            f"{node.value} is a truth value to helm", where=place, remedy=f'put it in quotes: "{node.value}"'
        )
    if node.tag == "tag:yaml.org,2002:int":
        digits = node.value.lstrip("+-").replace("_", "")
        if len(digits) > 64 or abs(int(digits, 0 if digits[:2] in ("0b", "0x") else 10)) > LARGEST_WHOLE:
            raise ConfigError(
                f"{describe(node.value).removesuffix(' (text)')} is above 2^53, where helm rounds whole numbers",
                where=place,
                remedy="put it in quotes where it is an id, or use a smaller number",
            )


def _lines(node: yaml.Node | None, at: KeyPath, path: Path) -> Iterator[tuple[KeyPath, int]]:
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
            yield from _lines(value, (*at, key.value), path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index), path)


def describe(value: Any) -> str:
    """Returns a value and its type in words of a job file, for messages; long values are cut."""
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
    if isinstance(value, dict | list):
        return word
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "…"
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'} ({word})"
