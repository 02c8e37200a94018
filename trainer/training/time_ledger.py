"""Accounts for a run's time: the `ledger_s` of result.json."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PHASES = (
    "start",
    "statistics",
    "compile",
    "fit",
    "feed_wait",
    "checkpoint_stall",
    "checkpoint_upload",
    "export",
    "gate",
)


class Ledger:
    """Seconds by phase. `feed_wait` and `checkpoint_stall` are parts of `fit`; uploads run beside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a phase, also where it raises."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - began

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds measured elsewhere."""
        self.seconds[name] += seconds

    def rounded(self) -> dict[str, float]:
        """Returns seconds by phase, rounded to milliseconds, as result.json has them."""
        return {name: round(seconds, 3) for name, seconds in self.seconds.items()}


def process_age_s() -> float:
    """Returns the seconds since this process was started; 0.0 where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime_s - ticks / os.sysconf("SC_CLK_TCK"))
