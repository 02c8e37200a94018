"""Numbers, shares, durations and moments as a person reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def number(value: Any) -> str:
    """Four significant digits, thousands grouped; `–` where there is none or it is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(float(value))
    if size and (size < 1e-4 or size >= 1e12):
        return f"{value:.3e}"
    if size >= 1000 or float(value).is_integer():
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def metric(value: Any) -> str:
    """A metric, with four decimals where they say something."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or not value else f"{value:.4g}"


def count(value: Any) -> str:
    """A whole number, thousands grouped."""
    return f"{int(value):,}"


def share(value: Any) -> str:
    """A share of 1 in percent: never `0 %` or `100 %` unless it is."""
    percent = float(value) * 100
    if 0 < percent < 0.05:
        return "<0.1\u00a0%"
    if 99.95 <= percent < 100:
        return ">99.9\u00a0%"
    return f"{percent:.1f}\u00a0%" if 0 < percent < 100 else f"{percent:.0f}\u00a0%"


def seconds(value: float) -> str:
    """`0.8 s`, `42 s`, `3:05`, `2:03:05`."""
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(value: float, arrow: str) -> str:
    """A value of a column of an Arrow type: dates and timestamps as such, all else as a number."""
    unit = arrow.removeprefix("timestamp[").split(",")[0].rstrip("]")
    try:
        if arrow.startswith("timestamp["):
            return f"{_EPOCH + timedelta(seconds=value / _TICKS_PER_S[unit]):%Y-%m-%d %H:%M}"
        if arrow.startswith("date"):
            return f"{_EPOCH + timedelta(days=value):%Y-%m-%d}"
    except (OverflowError, ValueError, KeyError):
        return number(value)
    return number(value)
