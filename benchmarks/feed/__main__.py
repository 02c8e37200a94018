"""Prints the feed's table: rows per second relative to Arrow's limit in the same run, and the other sections.

Sides take turns, each alone in a process of its own, so that drift of the machine hits all of them. A ratio is the
median over the turns of a side's rate divided by the limit's rate of the same turn. Peers that are not installed are
skipped with a line that says how to install them; `--peers PYTHON` names an interpreter that has them.
"""

from __future__ import annotations

import argparse
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
from benchmarks.feed.sections import SECTIONS
from benchmarks.feed.sets import SetShape, shapes, write

BATCHES = (8192, 1024, 256)
#: Smallest acceptable ratio to Arrow's limit.
TARGETS = {"main/8192": 0.5, "main/1024": 0.35, "main/256": 0.15, "wide": 0.3, "words": 0.3, "small": 0.3}


@dataclass(frozen=True)
class Row:
    """One line of the table of speeds: medians over the turns."""

    name: str
    rows_per_s: float
    ratio: float
    spread: tuple[float, float]


def speeds(bench: Bench, shape: SetShape, sides: list[tuple[str, str, int]]) -> list[Row]:
    """Measures sides in turns on one dataset.

    Args:
        bench: Runs the processes.
        shape: The dataset.
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
            if (turn == 0 or not slow) and (rate := bench.rate(side, shape, batch)) is not None:
                rates[name].append((rate, rate / limit))
        bench.console.print(f"  turn {turn + 1} of {bench.repeats} on {shape.name}", style="dim")
    rows = [Row("Arrow read_table (the limit)", statistics.median(limits), 1.0, (1.0, 1.0))]
    for name, measured in rates.items():
        if measured:
            ratios = [r for _, r in measured]
            spread = (min(ratios), max(ratios))
            rows.append(Row(name, statistics.median(v for v, _ in measured), statistics.median(ratios), spread))
    return rows


def installed_peers(bench: Bench) -> list[str]:
    """Returns the peers that their interpreter can import; prints how to install the others."""
    peers = []
    for side, (module, packages) in PEERS.items():
        tried = subprocess.run([bench.peers, "-c", f"import {module}"], capture_output=True, check=False)
        if tried.returncode == 0:
            peers.append(side)
        else:
            bench.console.print(f"skipped: {side}; pip install {packages} pyarrow, then --peers PYTHON", style="yellow")
    return peers


def show(console: Console, title: str, rows: list[Row], targets: dict[str, float]) -> None:
    """Prints one table of speeds."""
    table = Table("feed", "M rows/s", "of the limit", "least … most", "target", title=title)
    for row in rows:
        target = targets.get(row.name)
        mark = "" if target is None else f"≥ {target:.2f} {'yes' if row.ratio >= target else 'NO'}"
        low, high = row.spread
        table.add_row(row.name, f"{row.rows_per_s / 1e6:.3f}", f"{row.ratio:.3f}", f"{low:.3f} … {high:.3f}", mark)
    console.print(table)


def main() -> None:
    """Measures the chosen parts and prints them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the main dataset")
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench-feed"), help="where datasets are kept")
    parser.add_argument("--repeats", type=int, default=3, help="turns that each side takes")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest measurement of a slow side, in seconds")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--json", type=Path, help="also write everything here")
    choices = ("main", "peers", "sets", *SECTIONS)
    parser.add_argument("--only", nargs="+", choices=choices, default=choices, help="parts to measure")
    chosen = parser.parse_args()
    parts = set(chosen.only)
    bench = Bench(chosen.folder, chosen.repeats, chosen.seconds, chosen.peers, Console())
    datasets = shapes(chosen.rows)
    tables: dict[str, list[Row]] = {}
    sides = [(f"main/{b}", "ours", b) for b in BATCHES] if "main" in parts else []
    if "peers" in parts:
        for side in ("in_memory", "tfrecord", *installed_peers(bench)):
            sides += [(f"{side}/{b}", side, b) for b in (BATCHES if side == "in_memory" else (1024,))]
    if sides:
        tables["main"] = speeds(bench, datasets["main"], sides)
    if "sets" in parts:
        for name in ("wide", "words", "small"):
            tables[name] = speeds(bench, datasets[name], [(name, "ours", 8192)])
    for name, rows in tables.items():
        shape = datasets[name]
        columns = f"{shape.floats} floats, {shape.ints} ints, {shape.words} strings"
        show(bench.console, f"{name}: {shape.rows:,} rows of {columns}, {shape.shards} shards", rows, TARGETS)
    out: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor(), "python": platform.python_version()},
        "tables": {name: [asdict(r) for r in rows] for name, rows in tables.items()},
        "claims": {
            k: v
            for part in SECTIONS
            if part in parts
            for show in SECTIONS[part]
            for k, v in show(bench, datasets).items()
        },
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
