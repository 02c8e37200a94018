"""What a larger window buys: how evenly batches come out of sorted sets, beside a true shuffle of the same rows.

Nothing is read: which row comes when is a pure function of the plan, the seed and the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from benchmarks.feed.bench import Bench
from benchmarks.feed.sets import SetShape
from trainer.feed.order.plan import Plan, make_plan
from trainer.feed.order.shuffle import row_order, windows_of

_WINDOWS_MIB = (8, 16, 32, 64, 128, 256, 512, 1024)
_BATCH = 1024
#: Share of the rows that carry the label, which are the last of the set, or the last of each shard.
_SHARE = 0.2
#: Standard normal quantile: 99.9 % lie within so many standard deviations.
_BAND = 3.29


@dataclass(frozen=True)
class Mix:
    """How one epoch's batches look.

    Attributes:
        window_mib: Size of the window; None for the true shuffle.
        rows: Rows mixed at a time. groups: row groups they come from.
        worst: Batch whose share of the label is farthest off, in standard deviations of a shuffle; for a set
            sorted as a whole and for one sorted within each shard. outside: share of batches outside 99.9 %.
        neighbours: How many times likelier than by a shuffle two rows of a row group meet in a batch.
    """

    window_mib: int | None
    rows: int
    groups: int
    worst: tuple[float, float]
    outside: tuple[float, float]
    neighbours: float


def mixing(bench: Bench, known: dict[str, SetShape]) -> dict[str, object]:
    """A line for each window."""
    shape = known["main-10x"]
    row_bytes = 4 * (shape.floats + shape.ints + 1)
    group_rows = [[len(g) for g in np.array_split(np.arange(n), shape.groups)] for n in _shard_rows(shape)]
    ends = np.cumsum([0, *np.ravel(group_rows)])
    looks = [_look(None, shape, ends, [np.random.default_rng(0).permutation(shape.rows)])]
    for mib in _WINDOWS_MIB:
        plan = make_plan(group_rows, group_rows, window_rows=mib * 2**20 // row_bytes)
        looks.append(_look(mib, shape, ends, _stream(plan, np.cumsum([0, *map(sum, group_rows)]), ends)))
    true, *windows = looks
    table = Table(
        *("window", "M rows", "groups", "sorted", "outside", "shards", "outside", "meet"),
        title=f"mixing: {shape.rows:,} sorted rows of {row_bytes} bytes in {shape.shards * shape.groups} row groups",
        caption="sorted, shards: the batch whose label share is farthest off, in standard deviations; "
        f"outside: batches of {_BATCH:,} outside a shuffle's 99.9 %; meet: rows of a row group in one batch, "
        "times as often as by a shuffle",
        box=SIMPLE,
    )
    for mix in (*windows, true):
        name = f"{mix.window_mib} MiB" if mix.window_mib else "shuffle"
        (all_worst, shard_worst), (all_outside, shard_outside) = mix.worst, mix.outside
        table.add_row(
            *(name, f"{mix.rows / 1e6:.2f}", str(mix.groups), f"{all_worst:.1f}", f"{all_outside:.2%}"),
            *(f"{shard_worst:.1f}", f"{shard_outside:.2%}", f"{mix.neighbours:.1f} ×"),
        )
    bench.console.print(table)
    return {"mixing": [asdict(m) for m in looks]}


def _shard_rows(shape: SetShape) -> list[int]:
    return np.diff(np.linspace(0, shape.rows, shape.shards + 1).astype(int)).tolist()


def _stream(plan: Plan, shard_ends: np.ndarray, ends: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of an epoch, numbered through the set, a window at a time."""
    per_shard = (len(ends) - 1) // (len(shard_ends) - 1)
    begins = ends[plan.shard * per_shard + plan.group] + plan.start
    for part in windows_of(plan, 0, 0, shuffle=True):
        order = row_order(plan, part, seed=0, epoch=0, batch_size=_BATCH, shuffle=True)
        rows = plan.rows[part.units]
        stands_at = np.cumsum(rows) - rows
        yield (np.repeat(begins[part.units] - stands_at, rows) + np.arange(part.rows))[order]


def _look(window_mib: int | None, shape: SetShape, ends: np.ndarray, windows: Iterable[np.ndarray]) -> Mix:
    groups = len(ends) - 1
    within = shape.rows // shape.shards
    meetings, off, mixed, drawn_from, rest = 0, [], 0, 0, np.empty(0, np.int64)
    deviation = np.sqrt(_SHARE * (1 - _SHARE) / _BATCH)
    for rows in windows:
        mixed = max(mixed, len(rows))
        drawn_from = max(drawn_from, len(np.unique(np.searchsorted(ends, rows, "right"))))
        rows = np.concatenate([rest, rows])
        whole = len(rows) // _BATCH * _BATCH
        batches, rest = rows[:whole].reshape(-1, _BATCH), rows[whole:]
        group = np.searchsorted(ends, batches, "right") - 1
        _, met = np.unique(group + np.arange(len(batches))[:, None] * groups, return_counts=True)
        meetings += int((met * (met - 1) // 2).sum())
        labels = batches >= (1 - _SHARE) * shape.rows, batches % within >= (1 - _SHARE) * within
        off.append([np.abs(label.mean(axis=1) - _SHARE) / deviation for label in labels])
    sigmas = [np.concatenate(o) for o in zip(*off, strict=True)]
    sizes = np.diff(ends)
    by_chance = float((sizes * (sizes - 1) // 2).sum()) * (_BATCH - 1) / (shape.rows - 1)
    return Mix(
        window_mib,
        mixed,
        drawn_from,
        (float(sigmas[0].max()), float(sigmas[1].max())),
        (float((sigmas[0] > _BAND).mean()), float((sigmas[1] > _BAND).mean())),
        meetings / by_chance,
    )
