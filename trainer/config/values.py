"""What keys of the job file hold: sizes, times, shares; and what all models of it have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from trainer.config.yaml_file import describe

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?|)B?")
_SIZE_FACTORS = {"": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("", 1000), ("i", 1024))
}
_EVERY = re.compile(r"(0*[1-9]\d*)\s*(s|m|h|steps?|epochs?)")
_DURATION = re.compile(r"(0*[1-9]\d*)\s*(s|m|h|d)")
_A_DURATION = "a duration; write it like 90s, 30m or 2h"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAYS = re.compile(r"(-?\d+)\s*d")
_MEMBER = "union|"


def member(name: str) -> str:
    """The tag of a union's member. Every union tags its members so: pydantic puts tags among the keys of a location."""
    return _MEMBER + name


def is_member(part: object) -> bool:
    """Whether a part of a pydantic location is a union's tag and no key of the job file."""
    return isinstance(part, str) and part.startswith(_MEMBER)


def parse_size(value: object) -> object:
    """`256MiB`, `8Gi`, `1.5G` or a number of bytes -> bytes. Anything else is handed on to pydantic."""
    if not isinstance(value, str):
        return value
    match = _matched(_SIZE, value.strip(), "a size; write it like 256MiB, 8Gi or 1500000")
    return int(float(match[1]) * _SIZE_FACTORS[match[2].replace("k", "K")])


def _matched(pattern: re.Pattern[str], value: object, what: str) -> re.Match[str]:
    text = value if isinstance(value, str) else None
    if text is None or not (match := pattern.fullmatch(text)):
        raise ValueError(f"{describe(value) if text is None else repr(text)} is not {what}")
    return match


def _check_every(value: object) -> object:
    _matched(_EVERY, value, "an interval; write it like 5m, 500 steps or 1 epoch")
    return value


def duration_s(value: str) -> int:
    """`90s`, `30m`, `2h`, `7d` -> seconds.

    Raises:
        ValueError: It is none of them.
    """
    match = _matched(_DURATION, value, _A_DURATION)
    return int(match[1]) * _SECONDS[match[2]]


def _check_duration(value: object) -> object:
    _matched(_DURATION, value, _A_DURATION)
    return value


def _check_duration_or_never(value: object) -> object:
    if value != "never":
        _matched(_DURATION, value, f"{_A_DURATION}, or never")
    return value


def parse_days(value: object) -> object:
    """`28d`, `-1d` or a number of days -> days. Anything else is handed on to pydantic."""
    if not isinstance(value, str):
        return value
    return int(_matched(_DAYS, value.strip(), "a number of days; write it like 28d or -1d")[1])


def _uri(value: object) -> object:
    """A path or a URI as text; an empty one would mean the root of the file system."""
    text = str(value) if isinstance(value, PurePath) else value
    if isinstance(text, str) and (not text.strip() or "\0" in text):
        raise ValueError(f"{text!r} is not a path or URI")
    return text


def _as_whole(value: object) -> object:
    """`1e6` and `2.0` are whole numbers to helm, and so here. Anything else is handed on to pydantic."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Stands behind the bounds of a whole number.
WHOLE = BeforeValidator(_as_whole)
WholeNumber = Annotated[int, WHOLE]
PositiveInt = Annotated[int, Field(gt=0), WHOLE]
NonNegativeInt = Annotated[int, Field(ge=0), WHOLE]
Uri = Annotated[str, BeforeValidator(_uri)]
Uris = Annotated[Uri, Tag(member("URI"))] | Annotated[list[Uri], Tag(member("list"))]
SizeBytes = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}
    ),
]
Days = Annotated[
    int,
    BeforeValidator(parse_days),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _DAYS.pattern}]}),
]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Every = Annotated[str, BeforeValidator(_check_every)]
Duration = Annotated[str, BeforeValidator(_check_duration)]
#: `never` and not `off`, which YAML reads as a truth value.
DurationOrNever = Annotated[str, BeforeValidator(_check_duration_or_never)]
Scalar = (
    Annotated[bool, Tag(member("bool"))]
    | Annotated[int, Tag(member("int"))]
    | Annotated[float, Tag(member("float"))]
    | Annotated[str, Tag(member("str"))]
)
#: A key that may be left to the trainer.
Auto = Annotated[Literal["auto"], Tag(member("auto"))]


def fault_at(path: Sequence[str | int], says: str) -> ValidationError:
    """The error of a check of several parts that is about one of them: the loader shows that one's place.

    Args:
        path: Keys below the model that checks.
        says: What is wrong.
    """
    error = PydanticCustomError("value_error", "{says}", {"says": says})
    return ValidationError.from_exception_data("", [{"type": error, "loc": tuple(path), "input": None}])


class Strict(BaseModel):
    """Frozen, an unknown key is an error, and so is a text in place of a number: helm's schema refuses it too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
