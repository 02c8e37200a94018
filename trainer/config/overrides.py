r"""`--set` expressions, read as helm reads them: `a.b=1,c[0]=x,d={x,y},e=null`.

One exception: below `run:` a number with a point or an exponent is a number, where helm makes a text of it that the
chart's schema refuses. `k8s.chart.yaml_documents.helm_sets` hands such a number to helm as JSON.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from trainer.config.yaml_file import describe
from trainer.errors import ConfigError

#: helm's limits.
_LARGEST_INDEX = 65_536
_MOST_LEVELS = 30
_FLOAT = re.compile(r"-?(0|[1-9]\d*)(\.\d+(e[-+]?\d+)?|e[-+]?\d+)", re.IGNORECASE)


def apply_override(document: dict[str, Any], expression: str) -> None:
    r"""Applies one expression to a document, in place.

    `null` removes the key; true, false and whole numbers of 64 bits are typed, all else is text; `\,` and `\.`
    stand for themselves. Places of a list that the expression skips are null.

    Raises:
        ConfigError: Not of the form key=value, a key below something that is no mapping, or beyond helm's limits.
    """
    where = f"--set {expression}"
    for part in _split(expression, where):
        key, equals, value = part.partition("=")
        keys = list(_key_path(key.strip(), where))
        if not equals or not keys or not isinstance(keys[0], str):
            raise ConfigError(f"{part!r} is not key=value", where=where, remedy="write it like run.fit.epochs=3")
        _assign(document, keys, _typed(value, where, floats=keys[0] == "run"), where)


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
            raise ConfigError(f"{part!r} is no key with an index", where=where, remedy="write it like list[0]")
        if match[1]:
            yield _unescaped(match[1])
        for index in map(int, re.findall(r"\d+", match[2])):
            if index > _LARGEST_INDEX:
                raise ConfigError(f"index {index} is too large", where=where, remedy=f"at most {_LARGEST_INDEX}")
            yield index


def _typed(text: str, where: str, *, floats: bool) -> Any:
    if text.startswith("{") and text.endswith("}"):
        return [_typed(v, where, floats=floats) for v in _split(text[1:-1], where)] if text != "{}" else []
    value = _unescaped(text)
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.lower() == "null":
        return None
    if re.fullmatch(r"0|[-+]?[0-9]{1,19}", value) and (value == "0" or not value.startswith("0")):
        number = int(value)
        return number if -(2**63) <= number < 2**63 else value
    return float(value) if floats and len(value) < 400 and _FLOAT.fullmatch(value) else value


def _assign(document: Any, keys: list[str | int], value: Any, where: str) -> None:
    at = document
    for key, following in itertools.pairwise(keys):
        at = _step(at, key, list if isinstance(following, int) else dict, where)
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
