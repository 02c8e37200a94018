"""What the benchmarks share: times of calls, figures of a process of its own, and a table of goals."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_MEASURED = "MEASURED "


def times_s(work: Callable[[], object], tries: int) -> list[float]:
    """Returns the seconds of each of several calls."""
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def cpu_seconds(process: int) -> float:
    """Returns the user and system seconds that a process has used, from /proc."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_measured(figures: Mapping[str, float]) -> None:
    """Prints the figures of this process for the one that started it by `measured`."""
    print(_MEASURED + json.dumps(figures), flush=True)


def measured(command: Sequence[str], environ: Mapping[str, str], folder: Path | None = None) -> Any:
    """Runs a command that ends with `print_measured`. Returns its figures; the end of its stderr where it failed."""
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith(_MEASURED)), None)
    return json.loads(line.removeprefix(_MEASURED)) if line else done.stderr.strip()[-2000:]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        now, before: Seconds of this checkout, and of the other one where it was measured too.
        limit: The goal, in seconds; None without one.
    """

    what: str
    now: float
    before: float | None = None
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty without a goal."""
        return "" if self.limit is None else "met" if self.now <= self.limit else "missed"


def report(title: str, figures: Sequence[Figure]) -> int:
    """Prints the table, and a line for each goal; returns 1 where one was missed."""
    table = Table("what", "before, s", "now, s", "goal, s", "", title=title)
    for figure in figures:
        shown = (figure.before, figure.now, figure.limit)
        table.add_row(figure.what, *("" if s is None else f"{s:.3f}" for s in shown), figure.verdict)
    console = Console()
    console.print(table)
    for figure in figures:
        if figure.limit is not None:
            console.print(f"goal {figure.verdict}: {figure.what}: {figure.now:.3f} s of at most {figure.limit:.3f} s")
    return int(any(figure.verdict == "missed" for figure in figures))
