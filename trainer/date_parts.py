"""Parts of dates and timestamps: year, month, weekday, hour and so on, as numbers and as places on a circle.

The feed computes them with NumPy and the exported model with Keras, by the same integer arithmetic and the same tables:
what differs is passed in as `ArrayOps`. This module needs NumPy alone.

A timestamp with a time zone has the parts of its local time. The offsets of a zone are a table of the years 1850 to
2199 by the machine's time zone database; before and after, the first and last offset hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from trainer.errors import ConfigError

#: Parts that begin again: their least value, and how many values there are. A weekday counts from Monday, 0.
CYCLES = {
    "month": (1, 12),
    "day": (1, 31),
    "day_of_year": (1, 366),
    "weekday": (0, 7),
    "hour": (0, 24),
    "minute": (0, 60),
    "second": (0, 60),
}
#: Parts that only grow: the year, and the year with its fraction.
GROWING = ("year", "time")
#: Parts that a date has; the others need a time of day.
OF_DATE = ("year", "month", "day", "day_of_year", "weekday", "time")

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S = 86_400
#: Days from 0000-03-01, where the count of leap years begins, to 1970-01-01; days of 400 years.
_TO_MARCH_0000, _DAYS_OF_400_YEARS = 719_468, 146_097
#: Leap days before 1970-01-01 by the count below.
_LEAP_DAYS_BEFORE_1970 = 477
#: What float64 cannot hold as int64 is far beyond any date; the cast of it is not defined.
_LARGEST = float(2**62)
_FIRST_YEAR, _LAST_YEAR = 1850, 2200
#: No zone changes its offset twice within so many seconds.
_SHORTEST_S = 7 * _DAY_S


@dataclass(frozen=True)
class ArrayOps:
    """What NumPy and Keras call otherwise.

    Attributes:
        where: (condition, values, values) -> values.
        cast: (values, dtype name) -> values.
        take: (table [N], indices of any shape) -> values of that shape.
        right_of: (rising int64 [N], values of any shape) -> how many of the first are not above each value.
        stack: A list of values of one shape -> a last axis more.
        is_nan, clip: As NumPy's `isnan` and `clip`.
    """

    where: Callable[..., Any]
    cast: Callable[[Any, str], Any]
    take: Callable[[NDArray[Any], Any], Any]
    right_of: Callable[[NDArray[np.int64], Any], Any]
    stack: Callable[[Sequence[Any]], Any]
    is_nan: Callable[[Any], Any]
    clip: Callable[..., Any]


NUMPY = ArrayOps(
    where=np.where,
    cast=lambda values, dtype: np.asarray(values).astype(dtype),
    take=lambda table, at: np.take(table, at),
    right_of=lambda rising, values: np.searchsorted(rising, values, side="right"),
    stack=lambda values: np.stack(list(values), axis=-1),
    is_nan=np.isnan,
    clip=np.clip,
)


def default_parts(has_time: bool) -> tuple[str, ...]:
    """What `parts: auto` means."""
    return ("year", "month", "weekday", *(("hour",) if has_time else ()))


def packed_names(parts: Sequence[str], cyclic: bool) -> tuple[str, ...]:
    """The packed columns of parts: `month` becomes `month_sin` and `month_cos` where it is cyclic."""
    turned = [(f"{part}_sin", f"{part}_cos") if cyclic and part in CYCLES else (part,) for part in parts]
    return tuple(name for names in turned for name in names)


def part_of(name: str) -> str:
    """The part that a packed column is of."""
    return re.sub("_(sin|cos)$", "", name)


def packed_parts(raw: Any, arrow: str, names: Sequence[str], ops: ArrayOps = NUMPY) -> Any:
    """Packed columns of a date or timestamp.

    Args:
        raw: Of any shape, as the exported model takes them: days since 1970-01-01 of a date, else the timestamp's own
            unit since then; integers, or float64 with NaN for null.
        arrow: The column's Arrow type as text.
        names: From `packed_names`.
        ops: Of what `raw` is.

    Returns:
        float32 [..., len(names)]; NaN for null.

    Raises:
        ConfigError: A time zone that this machine does not know.
    """
    missing = None
    if "float" in str(raw.dtype):
        missing = ops.is_nan(raw)
        raw = ops.clip(ops.where(missing, 0.0, raw), -_LARGEST, _LARGEST)
    whole = ops.cast(raw, "int64")
    stamp = re.match(r"timestamp\[(\w+)(?:, tz=(.*))?\]", arrow)
    if stamp is None:
        days, second = whole, None
    else:
        seconds = whole // _PER_SECOND[stamp[1]]
        if stamp[2]:
            instants, offsets = zone_offsets(stamp[2])
            seconds = seconds + ops.take(offsets, ops.right_of(instants, seconds))
        days = seconds // _DAY_S
        second = seconds - days * _DAY_S
    known = _calendar(days, second, ops)
    packed = ops.stack([_packed(name, known, ops) for name in names])
    return packed if missing is None else ops.where(missing[..., None], float("nan"), packed)


def _calendar(days: Any, second: Any, ops: ArrayOps) -> dict[str, Any]:
    """Every part, int64 (`time` float64), of days since 1970-01-01 and the second of the day (None: midnight).

    From days to a date of the Gregorian calendar as Hinnant does it ("chrono-Compatible Low-Level Date Algorithms"):
    years begin in March, so that a leap day is the last of its year.
    """
    shifted = days + _TO_MARCH_0000
    era = shifted // _DAYS_OF_400_YEARS
    day = shifted - era * _DAYS_OF_400_YEARS
    year_of_era = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day_from_march = day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_from_march + 2) // 153
    after_december = month_from_march // 10  # 1 in January and February
    year = year_of_era + 400 * era + after_december
    before = year - 1
    new_year = 365 * (year - 1970) + before // 4 - before // 100 + before // 400 - _LEAP_DAYS_BEFORE_1970
    parts = {
        "year": year,
        "month": month_from_march + 3 - 12 * after_december,
        "day": day_from_march - (153 * month_from_march + 2) // 5 + 1,
        "day_of_year": days - new_year + 1,
        "weekday": (days + 3) % 7,
    }
    elapsed = ops.cast(days - new_year, "float64")
    if second is not None:
        parts |= {"hour": second // 3600, "minute": second // 60 % 60, "second": second % 60}
        elapsed = elapsed + ops.cast(second, "float64") / _DAY_S
    return parts | {"time": ops.cast(year, "float64") + elapsed / 366.0}


def _packed(name: str, known: dict[str, Any], ops: ArrayOps) -> Any:
    part = part_of(name)
    if part == name:
        return ops.cast(known[name], "float32")
    least, count = CYCLES[part]
    return ops.take(_circle(count)[int(name.endswith("_cos"))], known[part] - least)


@cache
def _circle(count: int) -> NDArray[np.float32]:
    """Sine and cosine of `count` places on a circle: float32 [2, count]."""
    angles = np.arange(count) * (2 * math.pi / count)
    return np.stack([np.sin(angles), np.cos(angles)]).round(15).astype(np.float32)


@cache
def zone_offsets(zone: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When a time zone's offset changes, and the offsets.

    Args:
        zone: As Arrow names it: `Europe/Berlin`, `UTC`, `+02:00`.

    Returns:
        Rising seconds since 1970-01-01 UTC [N], and seconds east of UTC [N + 1]: the first holds before the first
        change, each other from its change on.

    Raises:
        ConfigError: This machine does not know the zone.
    """
    place = _zone(zone)
    ends = [int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (_FIRST_YEAR, _LAST_YEAR)]
    changes: list[int] = []
    offsets = [_offset(place, ends[0])]
    for start in range(ends[0], ends[1], _SHORTEST_S):
        stop = min(start + _SHORTEST_S, ends[1])
        if (after := _offset(place, stop)) == offsets[-1]:
            continue
        low, high = start, stop
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(place, middle) == offsets[-1] else (low, middle)
        changes.append(high)
        offsets.append(after)
    return np.array(changes, np.int64), np.array(offsets, np.int64)


def _zone(zone: str) -> tzinfo | timedelta:
    if fixed := re.fullmatch(r"([+-])(\d\d):?(\d\d)", zone):
        return timedelta(hours=int(fixed[2]), minutes=int(fixed[3])) * (-1 if fixed[1] == "-" else 1)
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"this machine does not know the time zone {zone!r}",
            where="run.data.features",
            remedy="install tzdata (the system's or PyPI's), or write the column in UTC",
        ) from error


def _offset(place: tzinfo | timedelta, second: int) -> int:
    if isinstance(place, timedelta):
        return int(place.total_seconds())
    offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(place).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def raw_of(text: str, arrow: str) -> int:
    """A date or time in ISO 8601 as the raw value of a column; without an offset it is UTC.

    Raises:
        ValueError: The text is no date.
    """
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    stamp = re.match(r"timestamp\[(\w+)", arrow)
    return seconds * _PER_SECOND[stamp[1]] if stamp else seconds // _DAY_S
