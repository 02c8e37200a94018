"""The pieces of a split: row groups (or slices of very large ones) as plain arrays, ordered by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Slices of one over-large row group re-decode what stands before them, so they are kept few.
_SLICES_PER_WINDOW = 2


@dataclass(frozen=True)
class Plan:
    """What can be read, one entry a piece, ordered by shard name and row group.

    Attributes:
        shard: int32 [N]: index of the shard.
        group: int32 [N]: row group in the shard.
        start: int64 [N]: first row in the row group. stop: one past the last.
        rows: int64 [N]: the split's rows in the piece, all > 0.
        position: float64 [N]: where in its shard the piece stands, in (0, 1).
        window_rows: Rows that are mixed at a time.
    """

    shard: np.ndarray
    group: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    rows: np.ndarray
    position: np.ndarray
    window_rows: int

    @cached_property
    def total_rows(self) -> int:
        """All rows of the split."""
        return int(self.rows.sum())

    def __len__(self) -> int:
        return len(self.rows)


def make_plan(
    group_rows: Sequence[Sequence[int]],
    split_rows: Sequence[Sequence[int]],
    *,
    window_rows: int,
    largest_rows: int | None = None,
) -> Plan:
    """Lists the pieces.

    Args:
        group_rows: Shard -> all rows of each row group.
        split_rows: Shard -> the split's rows of each row group.
        window_rows: Rows that are mixed at a time.
        largest_rows: A row group with more rows is read in slices. Only where slices hold the same share
            of the split is that possible, so it takes row groups that are on one side as a whole.

    Returns:
        The plan; pieces without a row are left out.
    """
    pieces: list[tuple[int, int, int, int, int, float]] = []
    largest = largest_rows or max(1, window_rows // _SLICES_PER_WINDOW)
    for shard, (everything, wanted) in enumerate(zip(group_rows, split_rows, strict=True)):
        seen, total = 0, max(1, sum(everything))
        for group, (rows, kept) in enumerate(zip(everything, wanted, strict=True)):
            step = largest if kept == rows > window_rows else max(rows, 1)
            for start in range(0, rows, step):
                stop = min(rows, start + step)
                here = (stop - start) if kept == rows else kept
                if here:
                    pieces.append((shard, group, start, stop, here, (seen + (start + stop) / 2) / total))
            seen += rows
    columns = list(zip(*pieces, strict=True)) if pieces else [()] * 6
    shard_of, group_of, starts, stops, kept_rows, positions = (np.array(c) for c in columns)
    return Plan(
        shard_of.astype(np.int32),
        group_of.astype(np.int32),
        starts.astype(np.int64),
        stops.astype(np.int64),
        kept_rows.astype(np.int64),
        positions.astype(np.float64),
        window_rows=max(1, window_rows),
    )
