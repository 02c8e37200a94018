"""The order of rows: a pure function of (plan, seed, epoch), so any step opens without what came before it.

Pieces are dealt to rounds of about a window. A round is held in memory whole; its pieces belong to eight
lanes, each lane's rows are shuffled among themselves, and a batch takes from every lane in proportion.
Eight is fixed: batches must not change with the number of replicas or workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.feed.order.plan import Plan

LANES = 8

#: A round should hold as many pieces from each part of a shard, for shards cut into so many parts.
_SCALES = np.array([2, 3, 4, 5, 6, 8, 10, 16])
#: What a window of rows too many costs, in pieces too many of the coarsest part.
_ROWS_COST = 8.0


@dataclass(frozen=True)
class Round:
    """What is in memory at a time.

    Attributes:
        pieces: int64 [P]: pieces of the plan, ascending; the rows of the round stand in this order.
        lanes: int8 [P]: lane of each piece.
        index: Which round of the epoch it is.
        start: First row of the epoch's stream that it gives.
        rows: How many rows it gives.
    """

    pieces: np.ndarray
    lanes: np.ndarray
    index: int
    start: int
    rows: int


def rounds_of(plan: Plan, seed: int, epoch: int, *, shuffle: bool, lanes: bool = False) -> list[Round]:
    """Deals the pieces of an epoch to rounds.

    Args:
        plan: The pieces.
        seed: The run's seed.
        epoch: Counted from 0.
        shuffle: False: in the order of files.
        lanes: Also without shuffling batches take from all lanes, so that workers can share them.

    Returns:
        Rounds in the order of the epoch; every piece is in exactly one.
    """
    if not len(plan):
        return []
    wanted = max(1, -(-plan.total_rows // plan.window_rows))
    if not shuffle:
        cut = _cut(np.arange(len(plan)), plan, wanted)
        return _numbered(plan, cut, np.random.default_rng(0) if lanes else None)
    random = np.random.default_rng([seed, epoch])
    cut = _stratify(plan, wanted, random)
    if len(cut) == 1:
        # Read once and kept, so a worker's lanes must be the same in every epoch.
        return _numbered(plan, cut, np.random.default_rng(seed))
    return _numbered(plan, _ascending(plan, [cut[i] for i in random.permutation(len(cut))]), random)


def _stratify(plan: Plan, wanted: int, random: np.random.Generator) -> list[np.ndarray]:
    """Spreads pieces over rounds evenly by their place in the set and by their place in their shard.

    Sets are often sorted, by label or by time, over all shards or within each. Of every run of `wanted`
    neighbours each round takes one, so the first kind of order is evened out to one piece; which one goes
    where evens out the second kind, greedily. Left to chance a round of 16 pieces was off by 5 of them.
    """
    # [N, scales]: which part of its shard a piece stands in, numbered through all scales.
    parts = (plan.position[:, None] * _SCALES).astype(np.int64) + np.cumsum(_SCALES) - _SCALES
    held = np.zeros((int(_SCALES.sum()), wanted))
    load = np.zeros(wanted)
    round_of = np.empty(len(plan), np.int64)
    for start in range(0, len(plan) if wanted > 1 else 0, wanted):
        block = np.arange(start, min(len(plan), start + wanted))
        chance = random.random(wanted) * 1e-3
        for piece in block[np.lexsort((random.random(len(block)), -plan.rows[block]))]:
            chosen = int(((1.0 / _SCALES) @ held[parts[piece]] + load + chance).argmin())
            round_of[piece] = chosen
            chance[chosen] = np.inf
            held[parts[piece], chosen] += 1.0
            load[chosen] += _ROWS_COST * plan.rows[piece] / plan.window_rows
    if wanted == 1:
        round_of[:] = 0
    return [np.flatnonzero(round_of == r) for r in np.unique(round_of)]


def _ascending(plan: Plan, cut: list[np.ndarray]) -> list[np.ndarray]:
    """Lets the slices of one row group come in its own order, so that it is decoded once an epoch.

    Which rounds hold a slice of it stays as it was drawn; which slice is where changes places.
    """
    names = plan.shard.astype(np.int64) << 32 | plan.group
    _, first, counts = np.unique(names, return_index=True, return_counts=True)
    if (counts == 1).all():
        return cut
    round_of = np.empty(len(plan), np.int64)
    for number, pieces in enumerate(cut):
        round_of[pieces] = number
    for start, count in zip(first[counts > 1], counts[counts > 1], strict=True):
        round_of[start : start + count].sort()
    return [np.flatnonzero(round_of == number) for number in range(len(cut))]


def _cut(order: np.ndarray, plan: Plan, wanted: int) -> list[np.ndarray]:
    """Cuts an order of pieces into parts of about equal rows."""
    rows = plan.rows[order]
    middle = np.cumsum(rows) - rows / 2
    part = np.minimum((middle * wanted / plan.total_rows).astype(np.int64), wanted - 1)
    return [np.sort(order[part == p]) for p in np.unique(part)]


def _numbered(plan: Plan, cut: list[np.ndarray], random: np.random.Generator | None) -> list[Round]:
    out, start = [], 0
    for index, pieces in enumerate(cut):
        rows = int(plan.rows[pieces].sum())
        lanes = _deal(plan.rows[pieces], random) if random is not None else np.zeros(len(pieces), np.int8)
        out.append(Round(pieces, lanes, index, start, rows))
        start += rows
    return out


def _deal(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Lanes of pieces, balanced by rows: the largest first, each to the lane with the fewest rows."""
    lanes = np.empty(len(rows), np.int8)
    load = [0] * LANES
    for piece in np.lexsort((random.random(len(rows)), -rows)):
        lane = load.index(min(load))
        lanes[piece] = lane
        load[lane] += int(rows[piece])
    return lanes


def apportion(positions: np.ndarray, lane_rows: np.ndarray) -> np.ndarray:
    """How many rows of each lane stand before a position of the round's stream.

    Halving the lanes again and again keeps every count monotone and every sum exact, which rounding each
    lane's share by itself does not.

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
    return np.concatenate([apportion(left, lane_rows[:half]), apportion(positions - left, lane_rows[half:])], axis=1)


def row_order(
    plan: Plan, part: Round, *, seed: int, epoch: int, batch_size: int, shuffle: bool, lanes: bool = False
) -> np.ndarray:
    """The order in which a round gives its rows.

    Args:
        plan: The pieces.
        part: The round.
        seed: The run's seed.
        epoch: Counted from 0.
        batch_size: Rows of a global batch.
        shuffle: False: as they stand.
        lanes: As `rounds_of`; each lane's rows then as they stand.

    Returns:
        int64 [rows]: row of the round's matrix (its pieces one after another) at each place of its stream.
    """
    if not shuffle and not lanes:
        return np.arange(part.rows, dtype=np.int64)
    piece_rows = plan.rows[part.pieces]
    lane_rows = np.bincount(part.lanes, weights=piece_rows, minlength=LANES).astype(np.int64)
    edges = batch_edges(part, batch_size)
    # [E, LANES]: rows of each lane before each edge; one row less for what each batch takes.
    before = apportion(edges, lane_rows)
    taken = np.diff(before, axis=0)
    # Every lane's rows shuffled, lane after lane.
    by_lane = np.argsort(part.lanes, kind="stable")
    taken_before = np.cumsum(piece_rows[by_lane]) - piece_rows[by_lane]
    stands_at = np.cumsum(piece_rows) - piece_rows
    shuffled = np.repeat(stands_at[by_lane] - taken_before, piece_rows[by_lane])
    shuffled += np.arange(part.rows)
    lane_begin = np.cumsum(lane_rows) - lane_rows
    for lane in np.flatnonzero(lane_rows) if shuffle else ():
        rows = shuffled[lane_begin[lane] : lane_begin[lane] + lane_rows[lane]]
        np.random.default_rng([seed, epoch, part.index, int(lane)]).shuffle(rows)
    # [E - 1, LANES]: where the run that a batch takes of a lane begins among the shuffled, and in the stream.
    source = before[:-1] + lane_begin
    begin = edges[:-1, None] + np.cumsum(taken, axis=1) - taken
    places = np.repeat((source - begin).ravel(), taken.ravel())
    places += np.arange(part.rows)
    return np.take(shuffled, places)


def batch_edges(part: Round, batch_size: int) -> np.ndarray:
    """int64 [E], ascending: where batches begin and end, counted in the round."""
    first = -part.start % batch_size
    inner = np.arange(first, part.rows, batch_size, dtype=np.int64)
    return np.unique(np.concatenate([[0], inner, [part.rows]]).astype(np.int64))
