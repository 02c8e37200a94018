"""Feed and checkpoint of this checkout beside another one's: `python -m benchmarks.before TREE`.

Both read the same files, in turns A B A B, each turn in a process of its own; so a machine that gets slower or faster
meanwhile hurts both. Printed is the ratio of each pair of turns: its median and its range. `python -m
benchmarks.launcher --before TREE` does the same for the launcher.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.feed.sets import shapes, write
from benchmarks.timing import measured

HERE = Path(__file__).parents[1]
#: Dataset and rows of a batch.
FEEDS = (("main", 256), ("main", 1024), ("main", 8192), ("wide", 1024), ("words", 1024))

#: Figures of one turn by name; for each of them less is better.
Figures = dict[str, float]


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree)}


def feed(tree: Path, rows: int, folder: Path) -> Figures:
    """Returns the wall and processor seconds of 1M rows of each feed."""
    figures = {}
    for name, batch_size in FEEDS:
        shape = shapes(rows)[name]
        # A cache for each tree: another version's statistics are not read.
        task = {"side": "ours", "shape": asdict(shape), "folder": str(write(shape, folder).resolve())}
        task |= {"cache": str(folder.resolve() / f"cache-{tree.name}"), "batch_size": batch_size, "seconds": 8.0}
        command = [sys.executable, "-m", "benchmarks.feed.side", json.dumps(task)]
        side = measured(command, _environment(tree), tree)
        if isinstance(side, str):
            raise SystemExit(f"the feed failed in {tree}:\n{side}")
        for label, key in (("s", "seconds"), ("processor s", "cpu_seconds")):
            figures[f"feed {name}, batches of {batch_size:,}: {label} per 1M rows"] = side[key] / side["rows"] * 1e6
    return figures


def checkpoint(tree: Path, folder: Path) -> Figures:
    """Returns the stall of a step, the seconds of 400 MB committed, and those to the first step."""
    out = folder / "checkpoint.json"
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--sizes", "100", "--json", str(out.resolve())]
    done = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the checkpoint failed in {tree}:\n{done.stderr[-2000:]}")
    document = json.loads(out.read_text())
    return {
        "checkpoint of 100 MB: a step waits, s": document["stall_s of 100 MB"]["kfit"],
        "checkpoint of 400 MB: commit, s": 400 / document["upload"]["commit_mb_s"],
        "first step of a new run, s": document["first step"]["fresh_s"],
        "first step from a checkpoint, s": document["first step"]["resumed_s"],
    }


def paired(measure: Callable[[Path], Figures], before: Path, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Measures both trees in turns. Returns by figure the pairs (before, this)."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for _ in range(turns):
        old, new = measure(before), measure(HERE)
        for name, value in new.items():
            pairs.setdefault(name, []).append((old[name], value))
    return pairs


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, metavar="TREE", help="another checkout with the same benchmarks")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the feed's main dataset")
    parser.add_argument("--turns", type=int, default=5, help="of the feed; the checkpoint takes half as many")
    parser.add_argument("--only", choices=("feed", "checkpoint"), nargs="+", default=("feed", "checkpoint"))
    options = parser.parse_args()
    before = options.before.resolve()
    console = Console(width=None if sys.stdout.isatty() else 120)
    pairs = {}
    with tempfile.TemporaryDirectory(prefix="kfit-before-") as scratch:
        folder = Path(scratch)
        if "feed" in options.only:
            pairs |= paired(lambda tree: feed(tree, options.rows, folder), before, options.turns)
        if "checkpoint" in options.only:
            pairs |= paired(lambda tree: checkpoint(tree, folder), before, max(2, options.turns // 2))
    table = Table("less is better", "before", "this", "this / before, median", "range", box=None)
    for name, both in pairs.items():
        ratios = [new / old for old, new in both]
        old, new = (statistics.median(side) for side in zip(*both, strict=True))
        table.add_row(
            name, f"{old:.3g}", f"{new:.3g}", f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f}–{max(ratios):.3f}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
