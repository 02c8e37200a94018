"""Prints the feed's table: rows per second beside Arrow's limit of the same run, and what else is claimed.

Sides take turns, each alone in a process of its own, so that a machine's moods hit all of them; a ratio is
the median over the turns of a side's rate to the limit's rate of the same turn. Peers that are not
installed are left out with a line that says how to get them; `--peers PYTHON` names an interpreter that
has them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.feed.bench import PEERS, Bench
from benchmarks.feed.sets import SetShape, shapes, write
from benchmarks.feed.shown import SHOWN

BATCHES = (8192, 1024, 256)
#: What each ratio to Arrow's limit should at least be.
WANTED = {"main/8192": 0.5, "main/1024": 0.35, "main/256": 0.15, "wide": 0.3, "words": 0.3, "small": 0.3}


@dataclass(frozen=True)
class Row:
    """One line of the table of speeds: medians over the turns."""

    name: str
    rows_per_s: float
    ratio: float
    spread: tuple[float, float]


def speeds(bench: Bench, shape: SetShape, sides: list[tuple[str, str, int]]) -> list[Row]:
    """Lets sides take turns on one set.

    Args:
        bench: How.
        shape: The set.
        sides: (name in the table, side, batch size).
    """
    write(shape, bench.folder)
    for _, side, batch in sides:
        if side == "ours":
            bench.run(side, shape, batch)  # its statistics are cached from here on
            break
    limits: list[float] = []
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in sides}
    for turn in range(bench.repeats):
        limit = bench.rate("arrow", shape)
        if limit is None:
            continue
        limits.append(limit)
        for name, side, batch in sides:
            slow = side not in ("ours", "arrow")
            if (turn == 0 or not slow) and (found := bench.rate(side, shape, batch)) is not None:
                rates[name].append((found, found / limit))
        bench.console.print(f"  turn {turn + 1} of {bench.repeats} on {shape.name}", style="dim")
    rows = [Row("Arrow read_table (the limit)", statistics.median(limits), 1.0, (1.0, 1.0))]
    for name, found in rates.items():
        if found:
            ratios = [r for _, r in found]
            spread = (min(ratios), max(ratios))
            rows.append(Row(name, statistics.median(v for v, _ in found), statistics.median(ratios), spread))
    return rows


def peers_found(bench: Bench) -> list[str]:
    """Peers that the interpreter for them can import; the others are named with what installs them."""
    found = []
    for side, (module, packages) in PEERS.items():
        if bench.peers == sys.executable:
            there = importlib.util.find_spec(module) is not None
        else:
            there = (
                subprocess.run([bench.peers, "-c", f"import {module}"], capture_output=True, check=False).returncode
                == 0
            )
        if there:
            found.append(side)
        else:
            bench.console.print(f"skipped: {side}; pip install {packages} pyarrow, then --peers PYTHON", style="yellow")
    return found


def show(console: Console, title: str, rows: list[Row], wanted: dict[str, float]) -> None:
    """One table of speeds."""
    table = Table("feed", "M rows/s", "of the limit", "least … most", "wanted", title=title)
    for row in rows:
        want = wanted.get(row.name)
        mark = "" if want is None else f"≥ {want:.2f} {'yes' if row.ratio >= want else 'NO'}"
        low, high = row.spread
        table.add_row(row.name, f"{row.rows_per_s / 1e6:.3f}", f"{row.ratio:.3f}", f"{low:.3f} … {high:.3f}", mark)
    console.print(table)


def main() -> None:
    """Measures what is asked for and prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the main set")
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench-feed"), help="where sets are kept")
    parser.add_argument("--repeats", type=int, default=3, help="turns that each side takes")
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds that a slow side is measured")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--json", type=Path, help="also write everything here")
    parts = ("main", "peers", "sets", *SHOWN)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="parts to measure")
    chosen = parser.parse_args()
    wanted = set(chosen.only)
    bench = Bench(chosen.folder, chosen.repeats, chosen.seconds, chosen.peers, Console())
    known = shapes(chosen.rows)
    tables: dict[str, list[Row]] = {}
    sides = [(f"main/{b}", "ours", b) for b in BATCHES] if "main" in wanted else []
    if "peers" in wanted:
        for side in ("in_memory", "tfrecord", *peers_found(bench)):
            sides += [(f"{side}/{b}", side, b) for b in (BATCHES if side == "in_memory" else (1024,))]
    if sides:
        tables["main"] = speeds(bench, known["main"], sides)
    if "sets" in wanted:
        for name in ("wide", "words", "small"):
            tables[name] = speeds(bench, known[name], [(name, "ours", 8192)])
    for name, rows in tables.items():
        shape = known[name]
        columns = f"{shape.floats} floats, {shape.ints} ints, {shape.words} strings"
        show(bench.console, f"{name}: {shape.rows:,} rows of {columns}, {shape.shards} shards", rows, WANTED)
    out: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor(), "python": platform.python_version()},
        "tables": {name: [asdict(r) for r in rows] for name, rows in tables.items()},
        "claims": {
            k: v for part in SHOWN if part in wanted for show in SHOWN[part] for k, v in show(bench, known).items()
        },
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
