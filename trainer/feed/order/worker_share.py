"""The share of one of several workers: what it reads, and its rows of every global batch. Arithmetic, no I/O.

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
        factor: All workers' rows of a batch, filling included: a row's weight times this over the real rows of the
            batch keeps the loss.
    """

    lanes: np.ndarray
    place: int
    rows: int
    factor: int


def lane_rows_of(plan: Plan, part: ShuffleWindow) -> np.ndarray:
    """int64 [LANES]: rows of each lane in a window."""
    return np.bincount(part.lanes, weights=plan.rows[part.units], minlength=LANES).astype(np.int64)


def share_of(plan: Plan, windows: list[ShuffleWindow], batch_size: int, worker: Worker) -> Share:
    """Returns the share of one worker of an epoch; every worker has the same number of rows.

    Args:
        plan: The read units.
        windows: Of the epoch.
        batch_size: Rows of a global batch, B.
        worker: Which worker.
    """
    if worker.workers == 1:
        return Share(np.arange(LANES, dtype=np.int8), 0, batch_size, batch_size)
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
    """Returns the largest power of two that divides the number of workers, at most the number of lanes."""
    return min(LANES, workers & -workers)


def _lanes_of_batches(plan: Plan, windows: list[ShuffleWindow], batch_size: int) -> np.ndarray:
    """Returns the rows that each batch takes from each lane: int64 [batches, LANES]."""
    rows_of_lanes = np.zeros((-(-plan.total_rows // batch_size), LANES), np.int64)
    for part in windows:
        edges = batch_edges(part, batch_size)
        taken = np.diff(cumulative_lane_counts(edges, lane_rows_of(plan, part)), axis=0)
        np.add.at(rows_of_lanes, (part.start + edges[:-1]) // batch_size, taken)
    return rows_of_lanes


def _part(taken: np.ndarray, groups: int) -> int:
    """Returns the most rows that a group of workers has in a batch."""
    return int(taken.reshape(len(taken), groups, LANES // groups).sum(axis=2).max())


def own_rows(
    plan: Plan, part: ShuffleWindow, order: np.ndarray, skip: int, batch_size: int, share: Share, before: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Picks the rows that a worker gives of a window.

    Example: lanes of 4 and 4 rows, batches of 3, two workers. Batches take 1 and 2, 2 and 1, 1 and 1 rows of the lanes,
    so the first worker's counts are [1, 2, 1], and the second's [2, 1, 1].

    Args:
        plan: The read units.
        part: The window.
        order: int64 [rows]: the order of all its rows, from `row_order`.
        skip: Rows at its front to leave out.
        batch_size: Rows of a global batch.
        share: The worker's share.
        before: Rows of the worker's group in the batch that the window begins in, from the window before.

    Returns:
        int64 [K], rows of the matrix of the units that the worker reads, in the order it gives them; int64 [batches],
        how many of them each batch takes that the window has rows of, from the one with row `skip` on; and `before`
        of the next window.
    """
    edges = batch_edges(part, batch_size)
    edges = np.append(skip, edges[edges > skip])
    if share.factor == share.rows:  # one worker alone
        return order[skip:], np.diff(edges), 0
    # [rows of the window]: whether the worker reads a row, and its index among those that it reads.
    read = np.repeat(np.isin(part.lanes, share.lanes), plan.rows[part.units])
    index_of_read = np.cumsum(read) - 1
    is_read = read[order]
    # [batches]: rows that the group gives before each batch's first row in the window, and of each batch.
    group_rows = np.diff(np.cumsum(np.append(0, is_read))[edges])
    group_begin = np.cumsum(group_rows) - group_rows
    earlier = np.zeros(len(group_rows), np.int64)
    earlier[0] = before
    # [batches]: the worker's slice of the group's part of a batch, as far as it lies in this window.
    begin, stop = (np.clip(share.rows * n - earlier, 0, group_rows) for n in (share.place, share.place + 1))
    counts = stop - begin
    picked = np.repeat(group_begin + begin - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    group_order = order[skip:][is_read[skip:]]
    end = part.start + part.rows
    unfinished = end % batch_size and end < plan.total_rows
    return index_of_read[group_order[picked]], counts, int((group_rows + earlier)[-1]) if unfinished else 0
