"""Prints the feed's table: rows per second beside Arrow's limit of the same run, and what else is claimed.

Sides take turns, each alone in a process of its own, so that a machine's moods hit all of them; a ratio is
the median over the turns of a side's rate to the limit's rate of the same turn. Peers that are not
installed are left out with a line that says how to get them; `--peers PYTHON` names an interpreter that
has them.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.feed.sets import SetShape, shapes, write

BATCHES = (8192, 1024, 256)
#: What each ratio to Arrow's limit should at least be.
WANTED = {"main/8192": 0.5, "main/1024": 0.35, "main/256": 0.15, "wide": 0.3, "words": 0.3, "small": 0.3}
PEERS = {
    "ray": ("ray", "ray[data] tensorflow"),
    "hugging_face": ("datasets", "datasets tensorflow"),
    "petastorm": ("petastorm", "petastorm 'pyarrow<15' 'numpy<2' tensorflow"),
}


@dataclass(frozen=True)
class Bench:
    """Where things are, and how long they may take."""

    folder: Path
    repeats: int
    seconds: float
    peers: str
    console: Console

    def run(self, side: str, shape: SetShape, batch_size: int = 1024) -> dict[str, float] | None:
        """One side in a process of its own; None where it failed, which is said."""
        where, cache = write(shape, self.folder), self.folder / "cache"
        task = {"side": side, "shape": asdict(shape), "folder": str(where), "cache": str(cache)}
        task |= {"batch_size": batch_size, "seconds": self.seconds}
        python = self.peers if side in PEERS else sys.executable
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        command = [python, "-m", "benchmarks.feed.side", json.dumps(task)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        line = next((line for line in done.stdout.splitlines() if line.startswith("MEASURED ")), None)
        if line is None:
            self.console.print(f"{side} on {shape.name} failed: {done.stderr.strip()[-400:]}", style="red")
            return None
        found: dict[str, float] = json.loads(line.removeprefix("MEASURED "))
        return found

    def rate(self, side: str, shape: SetShape, batch_size: int = 1024) -> float | None:
        """Rows per second."""
        found = self.run(side, shape, batch_size)
        return found["rows"] / found["seconds"] if found else None


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


def claims(bench: Bench, known: dict[str, SetShape], wanted: set[str]) -> dict[str, object]:
    """Memory, start, and fit from the stream beside fit from memory."""
    out: dict[str, object] = {}
    if "memory" in wanted:
        sizes = ("main", "main-3x", "main-10x")
        peaks: dict[str, list[float]] = {n: [] for n in sizes}
        for _, name in itertools.product(range(bench.repeats), sizes):
            if (found := bench.run("memory", known[name], 1024)) is not None:
                peaks[name].append(found["bytes"])
        out["peak_bytes"] = peaks
        middle = [statistics.median(p) for p in peaks.values()]
        shown = ", ".join(f"{n} {m / 2**20:.0f} MiB" for n, m in zip(sizes, middle, strict=True))
        bench.console.print(
            f"peak memory above the interpreter with TensorFlow: {shown}; apart {max(middle) / min(middle) - 1:.1%}"
        )
    if "start" in wanted:
        bench.run("first_batch", known["small"], 1024)  # leaves statistics and footers in the cache
        found = [f for _ in range(bench.repeats) if (f := bench.run("first_batch", known["small"], 1024))]
        out["first_batch_s"] = sorted(f["seconds"] for f in found)
        out["open_s"] = sorted(f["open_seconds"] for f in found)
        shown = ", ".join(f"{f['seconds']:.2f} ({f['open_seconds']:.2f} to open)" for f in found)
        bench.console.print(f"first batch of {known['small'].shards} shards, seconds: {shown}")
    if "statistics" in wanted:
        found = [f for n in ("main", "small") if (f := bench.run("statistics", known[n]))]
        out["statistics_s"] = [f["seconds"] for f in found]
        bench.console.print("statistics of a new set: " + ", ".join(f"{f['seconds']:.1f} s" for f in found))
    if "fit" in wanted:
        for name in ("main", "wide"):
            pairs = []
            for _ in range(bench.repeats):
                stream, memory = (bench.run(side, known[name], 4096) for side in ("fit_stream", "fit_memory"))
                if stream and memory:
                    ratio = (stream["rows"] / stream["seconds"]) / (memory["rows"] / memory["seconds"])
                    pairs.append({"ratio": ratio, "wait_share": stream["wait_share"]})
            out[f"fit_{name}"] = pairs
            ratios = ", ".join(f"{p['ratio']:.3f} (waiting {p['wait_share']:.1%})" for p in pairs)
            bench.console.print(f"fit from the stream beside fit from memory, {name}: {ratios}")
    return out


def main() -> None:
    """Measures what is asked for and prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the main set")
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench-feed"), help="where sets are kept")
    parser.add_argument("--repeats", type=int, default=3, help="turns that each side takes")
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds that a slow side is measured")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--json", type=Path, help="also write everything here")
    parts = ("main", "peers", "sets", "memory", "start", "statistics", "fit")
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
    out = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor(), "python": platform.python_version()},
        "tables": {name: [asdict(r) for r in rows] for name, rows in tables.items()},
        "claims": claims(bench, known, wanted),
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
