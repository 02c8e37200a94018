"""Times of repeated calls, and the table of a benchmark that has limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.table import Table


def times_s(work: Callable[[], object], tries: int) -> list[float]:
    """Returns the seconds of each of several calls."""
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def limits_table(title: str, rows: Sequence[tuple[str, float, float | None]]) -> Table:
    """Returns a table of seconds, each with its limit, if it has one, and whether it is met."""
    table = Table("what", "seconds", "limit", "", title=title)
    for what, seconds, limit in rows:
        verdict = ("", "") if limit is None else (f"{limit:.3f}", "ok" if seconds <= limit else "over")
        table.add_row(what, f"{seconds:.3f}", *verdict)
    return table
