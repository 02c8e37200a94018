"""What one of several workers reads and gives of every global batch: arithmetic, no I/O.

The lanes of the order are dealt to groups of workers, so that a worker reads only the read units of its
group's lanes. A batch takes from every lane in proportion, so each group has about an equal part of it;
the parts are filled up with rows of weight 0 to one size for the whole epoch, and weights are scaled so
that the loss stays that of the global batch. Up to eight workers are a group each and nothing is read
twice; of more, those of a group read the same lanes and each takes a slice of the group's part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.feed.order.plan import Plan
from trainer.feed.order.shuffle import LANES, ShuffleWindow, batch_edges, cumulative_lane_counts

#: Above this much of an even part, filling up costs more than reading some lanes twice.
_MOST_FILL = 1.25


@dataclass(frozen=True)
class Worker:
    """A place among workers.

    Attributes:
        index: From 0. workers: how many.
        replicas: Replicas of each.
    """

    index: int = 0
    workers: int = 1
    replicas: int = 1


@dataclass(frozen=True)
class Share:
    """A worker's share of an epoch.

    Attributes:
        lanes: int8: the lanes it reads.
        place: Which slice of its group's part of a batch it takes.
        rows: Rows it gives of every batch, those of weight 0 among them.
        factor: All workers' rows of a batch: a row's weight times this over the batch's real rows keeps the loss.
    """

    lanes: np.ndarray
    place: int
    rows: int
    factor: int


def lane_rows_of(plan: Plan, part: ShuffleWindow) -> np.ndarray:
    """int64 [LANES]: rows of each lane in a window."""
    return np.bincount(part.lanes, weights=plan.rows[part.units], minlength=LANES).astype(np.int64)


def share_of(plan: Plan, windows: list[ShuffleWindow], batch_size: int, worker: Worker) -> Share:
    """The share of one worker of an epoch; the same number of rows for every worker.

    Args:
        plan: The read units.
        windows: Of the epoch.
        batch_size: Rows of a global batch, B.
        worker: Which worker.
    """
    taken = _lanes_of_batches(plan, windows, batch_size)
    groups = _largest_power(worker.workers)
    while groups > 1 and _part(taken, groups) > _MOST_FILL * batch_size / groups:
        groups //= 2
    together = worker.workers // groups
    most = batch_size if groups == 1 else _part(taken, groups)
    rows = -(-most // (together * worker.replicas)) * worker.replicas
    group, place = divmod(worker.index, together)
    width = LANES // groups
    lanes = np.arange(group * width, (group + 1) * width, dtype=np.int8)
    return Share(lanes, place, rows, rows * worker.workers)


def _largest_power(workers: int) -> int:
    """The largest power of two that divides a number, and the lanes."""
    return min(LANES, workers & -workers)


def _lanes_of_batches(plan: Plan, windows: list[ShuffleWindow], batch_size: int) -> np.ndarray:
    """int64 [batches, LANES]: rows that each batch takes of each lane."""
    found = np.zeros((-(-plan.total_rows // batch_size), LANES), np.int64)
    for part in windows:
        edges = batch_edges(part, batch_size)
        taken = np.diff(cumulative_lane_counts(edges, lane_rows_of(plan, part)), axis=0)
        np.add.at(found, (part.start + edges[:-1]) // batch_size, taken)
    return found


def _part(taken: np.ndarray, groups: int) -> int:
    """The most rows that a group has of a batch."""
    return int(taken.reshape(len(taken), groups, LANES // groups).sum(axis=2).max())


def own_rows(
    plan: Plan, part: ShuffleWindow, order: np.ndarray, skip: int, batch_size: int, share: Share, before: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """What of a window's stream a worker gives.

    Args:
        plan: The read units.
        part: The window.
        order: int64 [rows]: of all its rows, as `row_order` gives them.
        skip: How many of them to leave out.
        batch_size: Rows of a global batch.
        share: The worker's.
        before: Rows of the worker's group in the batch that the window begins in, from the window before.

    Returns:
        rows int64 [K]: rows of the window's own units; batch int64 [K]: of the epoch; at int64 [K]: place in the
        worker's rows of that batch; and `before` of the next window.
    """
    read = np.repeat(np.isin(part.lanes, share.lanes), plan.rows[part.units])
    number = np.cumsum(read) - 1
    stream = np.arange(skip, len(order))
    stream = stream[read[order[skip:]]]
    batch = (part.start + stream) // batch_size
    first = (part.start + skip) // batch_size
    counts = np.bincount(batch - first, minlength=1)
    counted = np.cumsum(counts) - counts
    counted[0] -= before
    at = np.arange(len(batch)) - counted[batch - first]
    ends = (part.start + len(order)) % batch_size
    last = (part.start + len(order) - 1) // batch_size - first
    held = int(counts[last]) if last < len(counts) else 0
    after = (held + (before if last == 0 else 0)) if ends else 0
    mine = at // share.rows == share.place
    return number[order[stream[mine]]], batch[mine], at[mine] % share.rows, after
