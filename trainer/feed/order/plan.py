"""The read units of a split as plain arrays, ordered by name.

A read unit is a row group, a slice of a very large one, or several small ones of a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: A row group larger than a window is decoded in slices, this many to a window.
_SLICES_PER_WINDOW = 2
#: Neighbouring row groups of a shard with up to this many rows together are one read unit: opening costs more.
SMALL_ROWS = 8192
#: A window still holds at least this many read units, since it mixes by drawing from all of them.
_UNITS_PER_WINDOW = 64
#: The first batch waits for the whole window, and this many read units, drawn evenly from the dataset, mix well.
_MOST_UNITS_PER_WINDOW = 256


@dataclass(frozen=True)
class Blocks:
    """How the rows of a split are distributed over a row group.

    Attributes:
        rows: Rows of a block; the last may have fewer.
        split_rows: int64 [blocks]: the split's rows in each.
    """

    rows: int
    split_rows: np.ndarray

    def between(self, start: int, stop: int) -> int:
        """Returns the split's rows in [start, stop), which begin and end at a block's edge or the end."""
        return int(self.split_rows[start // self.rows : -(-stop // self.rows)].sum())


@dataclass(frozen=True)
class Plan:
    """What can be read, one entry a read unit, ordered by shard name and row group.

    Attributes:
        shard: int32 [N]: index of the shard.
        group: int32 [N]: first row group in the shard. groups: int32 [N]: how many.
        start: int64 [N]: first row in those row groups. stop: one past the last.
        rows: int64 [N]: the split's rows in the unit, all > 0.
        position: float64 [N]: the unit's middle as a share of its shard, in (0, 1).
        window_rows: Rows that are mixed at a time.
    """

    shard: np.ndarray
    group: np.ndarray
    groups: np.ndarray
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
    blocks_of: Callable[[int, int], Blocks | None] | None = None,
) -> Plan:
    """Lists the read units.

    Args:
        group_rows: Shard -> all rows of each row group.
        split_rows: Shard -> the split's rows of each row group.
        window_rows: Rows that are mixed at a time.
        blocks_of: (shard, row group) -> the distribution of the split's rows, for large row groups that belong to
            both splits. None: unknown; the row group is read as a whole.

    Returns:
        The plan; read units without a row are left out.
    """
    units: list[tuple[int, int, int, int, int, int, float]] = []
    largest = max(1, window_rows // _SLICES_PER_WINDOW)
    small = min(SMALL_ROWS, window_rows // _UNITS_PER_WINDOW)
    for shard, (everything, split_groups) in enumerate(zip(group_rows, split_rows, strict=True)):
        seen, total = 0, max(1, sum(everything))
        for first, last in runs_of(everything, small, [bool(n) for n in split_groups]):
            rows, of_split = sum(everything[first:last]), sum(split_groups[first:last])
            partly = rows > window_rows and 0 < of_split < rows
            known = blocks_of(shard, first) if partly and blocks_of is not None else None
            step = max(rows, 1)
            if rows > window_rows and (of_split == rows or known is not None):
                step = largest if known is None else max(1, largest // known.rows) * known.rows
            for start in range(0, rows, step):
                stop = min(rows, start + step)
                unit_rows = (
                    known.between(start, stop) if known is not None else stop - start if of_split == rows else of_split
                )
                if unit_rows:
                    middle = (seen + (start + stop) / 2) / total
                    units.append((shard, first, last - first, start, stop, unit_rows, middle))
            seen += rows
    columns = list(zip(*units, strict=True)) if units else [()] * 7
    shard_of, group_of, groups_of, starts, stops, kept_rows, positions = (np.array(c) for c in columns)
    return Plan(
        shard_of.astype(np.int32),
        group_of.astype(np.int32),
        groups_of.astype(np.int32),
        starts.astype(np.int64),
        stops.astype(np.int64),
        kept_rows.astype(np.int64),
        positions.astype(np.float64),
        window_rows=_window(kept_rows.astype(np.int64), max(1, window_rows)),
    )


def _window(rows: np.ndarray, most: int) -> int:
    """Returns the rows of a window of a dataset that is larger than one."""
    if rows.sum() <= most or len(rows) <= _MOST_UNITS_PER_WINDOW:
        return most
    return min(most, max(1, int(rows.mean() * _MOST_UNITS_PER_WINDOW)))


def runs_of(rows: Sequence[int], most: int, is_read: Sequence[bool] | None = None) -> Iterator[tuple[int, int]]:
    """Cuts row groups into runs that are read together.

    Args:
        rows: Rows of each row group.
        most: Most rows of a run of several.
        is_read: Whether a row group is read at all; a run has only one kind. None: all are.

    Yields:
        (first, one past the last) of each run.
    """
    first, run_rows = 0, 0
    for at, group_rows in enumerate(rows):
        parts = is_read is not None and is_read[at] != is_read[first]
        if at > first and (parts or run_rows + group_rows > most):
            yield first, at
            first, run_rows = at, 0
        run_rows += group_rows
    if rows:
        yield first, len(rows)
