"""The order of rows: a pure function of (plan, seed, epoch), so any step opens without what came before it.

Read units are dealt to shuffle windows of about `Plan.window_rows` rows. A window is held in memory whole; its read
units belong to eight lanes, each lane's rows are shuffled among themselves, and a batch takes from every lane in
proportion. Eight is fixed: batches must not change with the number of replicas or workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.feed.order.plan import Plan

LANES = 8

#: A window should hold as many read units from each part of a shard, for shards cut into so many parts.
_SCALES = np.array([2, 3, 4, 5, 6, 8, 10, 16])
#: Cost of a window's rows beyond its size, in read units too many of the coarsest part.
_ROWS_COST = 8.0


@dataclass(frozen=True)
class ShuffleWindow:
    """A group of read units that is in memory at once.

    Attributes:
        units: int64 [P]: units of the plan, ascending; the rows of the window stand in this order.
        lanes: int8 [P]: lane of each unit.
        index: Which window of the epoch it is.
        start: First row of the epoch's stream that it gives.
        rows: How many rows it gives.
    """

    units: np.ndarray
    lanes: np.ndarray
    index: int
    start: int
    rows: int


def windows_of(plan: Plan, seed: int, epoch: int, *, shuffle: bool, lanes: bool = False) -> list[ShuffleWindow]:
    """Deals the read units of an epoch to windows.

    Args:
        plan: The read units.
        seed: The run's seed.
        epoch: Counted from 0.
        shuffle: False: in the order of files.
        lanes: Also without shuffling batches take from all lanes, so that workers can share them.

    Returns:
        Windows in the order of the epoch; every read unit is in exactly one.
    """
    if not len(plan):
        return []
    count = max(1, -(-plan.total_rows // plan.window_rows))
    if not shuffle:
        cut = _cut(np.arange(len(plan)), plan, count)
        return _numbered(plan, cut, np.random.default_rng(0) if lanes else None)
    random = np.random.default_rng([seed, epoch])
    cut = _stratify(plan, count, random)
    if len(cut) == 1:
        # Read once and kept, so a worker's lanes must be the same in every epoch.
        return _numbered(plan, cut, np.random.default_rng(seed))
    return _numbered(plan, _ascending(plan, [cut[i] for i in random.permutation(len(cut))]), random)


def _stratify(plan: Plan, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Spreads read units over windows evenly by their place in the dataset and in their shard.

    Datasets are often sorted, by label or by time, over all shards or within each. Of every run of `count`
    neighbours each window takes one, so the first kind of order is evened out to one read unit; which one goes
    where evens out the second kind, greedily. Left to chance a window of 16 read units was off by 5 of them.
    """
    # [N, scales]: which part of its shard a read unit stands in, numbered through all scales.
    parts = (plan.position[:, None] * _SCALES).astype(np.int64) + np.cumsum(_SCALES) - _SCALES
    units_of_part = np.zeros((int(_SCALES.sum()), count))
    load = np.zeros(count)
    window_of = np.empty(len(plan), np.int64)
    for start in range(0, len(plan) if count > 1 else 0, count):
        block = np.arange(start, min(len(plan), start + count))
        chance = random.random(count) * 1e-3
        for unit in block[np.lexsort((random.random(len(block)), -plan.rows[block]))]:
            chosen = int(((1.0 / _SCALES) @ units_of_part[parts[unit]] + load + chance).argmin())
            window_of[unit] = chosen
            chance[chosen] = np.inf
            units_of_part[parts[unit], chosen] += 1.0
            load[chosen] += _ROWS_COST * plan.rows[unit] / plan.window_rows
    if count == 1:
        window_of[:] = 0
    return [np.flatnonzero(window_of == r) for r in np.unique(window_of)]


def _ascending(plan: Plan, cut: list[np.ndarray]) -> list[np.ndarray]:
    """Reorders the slices of each row group to ascend over the windows, so that it is decoded once an epoch.

    The windows that hold a slice of the row group stay the same; which slice each of them holds changes.
    """
    names = plan.shard.astype(np.int64) << 32 | plan.group
    _, first, counts = np.unique(names, return_index=True, return_counts=True)
    if (counts == 1).all():
        return cut
    window_of = np.empty(len(plan), np.int64)
    for number, units in enumerate(cut):
        window_of[units] = number
    for start, count in zip(first[counts > 1], counts[counts > 1], strict=True):
        window_of[start : start + count].sort()
    return [np.flatnonzero(window_of == number) for number in range(len(cut))]


def _cut(order: np.ndarray, plan: Plan, count: int) -> list[np.ndarray]:
    """Cuts a sequence of read units into parts of about equally many rows."""
    rows = plan.rows[order]
    middle = np.cumsum(rows) - rows / 2
    part = np.minimum((middle * count / plan.total_rows).astype(np.int64), count - 1)
    return [np.sort(order[part == p]) for p in np.unique(part)]


def _numbered(plan: Plan, cut: list[np.ndarray], random: np.random.Generator | None) -> list[ShuffleWindow]:
    out, start = [], 0
    for index, units in enumerate(cut):
        rows = int(plan.rows[units].sum())
        lanes = _deal(plan.rows[units], random) if random is not None else np.zeros(len(units), np.int8)
        out.append(ShuffleWindow(units, lanes, index, start, rows))
        start += rows
    return out


def _deal(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Deals read units to lanes: the largest first, each to the lane with the fewest rows."""
    lanes = np.empty(len(rows), np.int8)
    load = [0] * LANES
    for unit in np.lexsort((random.random(len(rows)), -rows)):
        lane = load.index(min(load))
        lanes[unit] = lane
        load[lane] += int(rows[unit])
    return lanes


def cumulative_lane_counts(positions: np.ndarray, lane_rows: np.ndarray) -> np.ndarray:
    """Counts the rows of each lane before given positions of the window's stream.

    Each lane gets its proportional share of every prefix. The lanes are halved recursively, which keeps every count
    monotone and every sum exact; rounding each lane's share by itself does not.

    Example: four lanes of 4, 2, 1 and 1 rows, at the edges of batches of 3 rows.
    Positions [0, 3, 6, 8] have [0, 0, 0, 0], [1, 1, 0, 1], [2, 2, 1, 1] and [4, 2, 1, 1] rows before them.

    Args:
        positions: int64 [N], ascending, in [0, sum(lane_rows)].
        lane_rows: int64 [lanes], a power of two of them.

    Returns:
        int64 [N, lanes]; rows sum to `positions`, columns never fall and end at `lane_rows`.
    """
    if len(lane_rows) == 1:
        return positions[:, None]
    half = len(lane_rows) // 2
    total = int(lane_rows.sum())
    left = positions * int(lane_rows[:half].sum()) // max(total, 1)
    first = cumulative_lane_counts(left, lane_rows[:half])
    second = cumulative_lane_counts(positions - left, lane_rows[half:])
    return np.concatenate([first, second], axis=1)


def row_order(
    plan: Plan, part: ShuffleWindow, *, seed: int, epoch: int, batch_size: int, shuffle: bool, lanes: bool = False
) -> np.ndarray:
    """Returns the order in which a window yields its rows.

    Each lane is shuffled by itself; then every batch takes the next `rows_per_batch[b, lane]` rows of each lane.

    Args:
        plan: The read units.
        part: The window.
        seed: The run's seed.
        epoch: Counted from 0.
        batch_size: Rows of a global batch.
        shuffle: False: as they stand.
        lanes: As `windows_of`; each lane's rows then as they stand.

    Returns:
        int64 [rows]: row of the window's matrix (its units one after another) at each place of its stream.
    """
    if not shuffle and not lanes:
        return np.arange(part.rows, dtype=np.int64)
    unit_rows = plan.rows[part.units]
    lane_rows = np.bincount(part.lanes, weights=unit_rows, minlength=LANES).astype(np.int64)
    edges = batch_edges(part, batch_size)
    # [E, LANES]: rows of each lane before each edge of a batch; [E - 1, LANES]: rows of each lane in each batch.
    rows_before_edge = cumulative_lane_counts(edges, lane_rows)
    rows_per_batch = np.diff(rows_before_edge, axis=0)
    # [rows]: matrix rows, lane after lane: of each unit, its first row in the matrix and then counting up.
    by_lane = np.argsort(part.lanes, kind="stable")
    first_in_lanes = np.cumsum(unit_rows[by_lane]) - unit_rows[by_lane]
    first_in_matrix = np.cumsum(unit_rows) - unit_rows
    shuffled = np.repeat(first_in_matrix[by_lane] - first_in_lanes, unit_rows[by_lane])
    shuffled += np.arange(part.rows)
    lane_begin = np.cumsum(lane_rows) - lane_rows
    for lane in np.flatnonzero(lane_rows) if shuffle else ():
        rows = shuffled[lane_begin[lane] : lane_begin[lane] + lane_rows[lane]]
        np.random.default_rng([seed, epoch, part.index, int(lane)]).shuffle(rows)
    # [E - 1, LANES]: where the rows that a batch takes of a lane begin in `shuffled`, and where in the stream.
    begin_in_shuffled = rows_before_edge[:-1] + lane_begin
    begin_in_stream = edges[:-1, None] + np.cumsum(rows_per_batch, axis=1) - rows_per_batch
    index_of_shuffled = np.repeat((begin_in_shuffled - begin_in_stream).ravel(), rows_per_batch.ravel())
    index_of_shuffled += np.arange(part.rows)
    return np.take(shuffled, index_of_shuffled)


def batch_edges(part: ShuffleWindow, batch_size: int) -> np.ndarray:
    """Returns where batches begin and end in the window: int64 [E], ascending."""
    first = -part.start % batch_size
    inner = np.arange(first, part.rows, batch_size, dtype=np.int64)
    return np.unique(np.concatenate([[0], inner, [part.rows]]).astype(np.int64))
