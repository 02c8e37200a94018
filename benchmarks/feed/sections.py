"""Sections of the report beside throughput: each function measures, prints its result and returns the figures."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.table import Table

from benchmarks.feed.alternation import Runner, take_turns
from benchmarks.feed.bench import Bench
from benchmarks.feed.mixing import mixing
from benchmarks.feed.probes import BUDGET_BYTES
from benchmarks.feed.sets import SetShape, write
from benchmarks.feed.slow_store import behind_slow_network

Shapes = Mapping[str, SetShape]
Figures = dict[str, object]
_FIT_BATCH = 4096
#: Turns of a training for each of `--repeats`, and how long one is.
_TURNS, _TURN_S = 8, 3.0


def memory(bench: Bench, datasets: Shapes) -> Figures:
    """Peak memory for one, three and ten times the data."""
    sizes = ("main", "main-3x", "main-10x")
    peaks: dict[str, list[float]] = {n: [] for n in sizes}
    for name in sizes:
        bench.run("memory", datasets[name], 1024)  # fills the statistics cache; that pass is not the feed's memory
    for _, name in itertools.product(range(bench.repeats), sizes):
        if (peak := bench.run("memory", datasets[name], 1024)) is not None:
            peaks[name].append(peak["bytes"])
    middle = [statistics.median(p) for p in peaks.values()]
    listed = ", ".join(f"{n} {m / 2**20:.0f} MiB" for n, m in zip(sizes, middle, strict=True))
    difference = max(middle) / min(middle) - 1
    bench.console.print(f"peak memory above the interpreter with TensorFlow: {listed}; difference {difference:.1%}")
    return {"peak_bytes": peaks}


def large_group(bench: Bench, datasets: Shapes) -> Figures:
    """Peak memory for a row group larger than the budget."""
    shape = datasets["one-group"]
    bench.run("large_group", shape)  # fills the statistics cache; that pass is not the feed's memory
    peaks = [p["bytes"] for _ in range(bench.repeats) if (p := bench.run("large_group", shape))]
    listed = ", ".join(f"{b / 2**20:.0f}" for b in peaks)
    budget = f"data.memory {BUDGET_BYTES / 2**20:.0f} MiB"
    bench.console.print(f"one row group of {shape.rows:,} rows, split by content, {budget}: peak {listed} MiB")
    return {"large_group_bytes": peaks}


def start(bench: Bench, datasets: Shapes) -> Figures:
    """Seconds to the first batch of a dataset of many shards."""
    shape = datasets["small"]
    bench.run("first_batch", shape, 1024)  # leaves statistics and footers in the cache
    starts = [s for _ in range(bench.repeats) if (s := bench.run("first_batch", shape, 1024))]
    listed = ", ".join(f"{s['seconds']:.2f} ({s['open_seconds']:.2f} to open)" for s in starts)
    bench.console.print(f"first batch of {shape.shards} shards, seconds: {listed}")
    return {
        name: sorted(s[key] for s in starts) for name, key in (("first_batch_s", "seconds"), ("open_s", "open_seconds"))
    }


def statistics_pass(bench: Bench, datasets: Shapes) -> Figures:
    """Seconds of the statistics pass over a dataset without a cache."""
    passes = [p for n in ("main", "small") if (p := bench.run("statistics", datasets[n]))]
    bench.console.print("statistics of a new set: " + ", ".join(f"{p['seconds']:.1f} s" for p in passes))
    return {"statistics_s": [p["seconds"] for p in passes]}


def fit(bench: Bench, datasets: Shapes) -> Figures:
    """Training from the stream against training from memory, with one core left over (as with a GPU) and with none."""
    cores = os.cpu_count() or 1
    return {
        f"fit_{name}_{threads}_of_{cores}": fit_beside_memory(bench, datasets[name], threads)
        for name, threads in itertools.product(("fit", "wide"), sorted({max(1, cores - 1), cores}))
    }


def fit_beside_memory(bench: Bench, shape: SetShape, threads: int) -> dict[str, dict[str, float]]:
    """Compares `fit` from the stream, from local disk and from remote S3, with `fit` from memory, in turns.

    Args:
        bench: Runs the processes and prints the table.
        shape: The dataset.
        threads: Compute threads of each training.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfit-turns-")))
        remote = stack.enter_context(behind_slow_network(write(shape, bench.folder), bench.console))

        def runner(name: str, side: str, uri: str = "", environ: Mapping[str, str] | None = None) -> Runner:
            progress_file = scratch / name
            more: dict[str, str | int] = {"progress_file": str(progress_file), "uri": uri, "threads": threads}
            return Runner(
                name, progress_file, partial(bench.begin, side, shape, _FIT_BATCH, environ=environ or {}, **more)
            )

        memory = runner("memory", "fit_memory")
        # The control: the difference between two identical trainings.
        others = [runner("memory again", "fit_memory"), runner("local disk", "fit_stream")]
        if remote is not None:
            others.append(replace(runner("S3", "fit_stream", remote.uri, remote.environ), servers=remote.servers))
        epoch = -(-shape.rows // _FIT_BATCH)
        take_turns([memory, *others], turns=_TURNS * bench.repeats, seconds=_TURN_S, warm_steps=max(20, epoch))
    rows = [_relative_to(runner, memory) for runner in others]
    table = Table(
        "fit from", "to memory", "processor time a step", "waiting", "servers, of a core",
        title=f"{shape.name}: {threads} of {os.cpu_count()} cores train, {len(memory.steps)} turns of {_TURN_S:g} s",
    )  # fmt: skip
    for runner_of, row in zip(others, rows, strict=True):
        table.add_row(
            runner_of.name, f"{row['ratio']:.3f}", f"{row['cpu_ratio']:.3f}", f"{row['wait_share']:.2%}",
            f"{row['servers_cores']:.1%}" if runner_of.servers else "",
        )  # fmt: skip
    bench.console.print(table)
    return {r.name: row for r, row in zip(others, rows, strict=True)}


def _relative_to(runner: Runner, memory: Runner) -> dict[str, float]:
    return {
        "steps_per_s": runner.steps_per_s,
        "ratio": runner.steps_per_s / memory.steps_per_s,
        "cpu_ratio": runner.cpu_s_per_step / memory.cpu_s_per_step,
        "wait_share": runner.wait_share,
        "servers_cores": runner.servers_cores,
    }


#: Section -> the functions that measure and print it.
SECTIONS: dict[str, tuple[Callable[[Bench, Shapes], Figures], ...]] = {
    "memory": (memory, large_group),
    "start": (start,),
    "statistics": (statistics_pass,),
    "fit": (fit,),
    "mixing": (mixing,),
}
