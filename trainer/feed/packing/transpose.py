"""Transposes columns into rows, in blocks that fit into a processor's cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

#: Fewer columns are written value by value into a block of rows that stays in the second-level cache.
_STAGED_COLUMNS = 16
_BLOCK_BYTES = 256 * 1024
#: More are copied side by side, and the block is transposed by one call: half the time (1.18 -> 0.63 ns a value of
#: 32 columns, 1.43 -> 1.24 of 500), and an eighth of the calls, each of which releases the interpreter's lock.
_STAGE_BYTES = 2 * 1024**2
#: Columns must not begin a power of two apart, or they would compete for a few cache lines.
_APART = 16
_LEAST_ROWS = 256


class Turner:
    """Writes columns as rows; for any number of threads.

    Each thread keeps its stage: fresh pages would cost as much as turning does.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self, columns: Sequence[tuple[int, np.ndarray]], out: np.ndarray, pick: np.ndarray | None) -> None:
        """Columns [N] or [N, size], each at its place, to rows: out[i] is row pick[i].

        Args:
            columns: (place, values); together they fill every place.
            out: [K, width].
            pick: int64 [K], ascending; None: K is N, all rows.
        """
        if not columns:
            return
        rows, width = len(columns[0][1]), out.shape[1]
        staged = width >= _STAGED_COLUMNS and all(values.ndim == 1 for _, values in columns)
        step = max(_LEAST_ROWS, (_STAGE_BYTES if staged else _BLOCK_BYTES) // (4 * width))
        # With a pick, a block is built aside and its rows are gathered: cheaper than gathering in each column.
        aside = None if pick is None else np.empty((min(rows, step), width), out.dtype)
        edges = None if pick is None else np.searchsorted(pick, np.arange(0, rows + step, step))
        for number, start in enumerate(range(0, rows, step)):
            stop = min(rows, start + step)
            block = out[start:stop] if aside is None else aside[: stop - start]
            if staged:
                stage = self._stage(width, stop - start, out.dtype)
                for at, values in columns:
                    stage[at] = values[start:stop]
                block[:] = stage.T
            else:
                _write(columns, start, stop, block)
            if edges is not None and pick is not None:
                low, high = edges[number], edges[number + 1]
                np.take(block, pick[low:high] - start, axis=0, out=out[low:high], mode="clip")

    def _stage(self, width: int, rows: int, dtype: np.dtype) -> np.ndarray:
        """[width, rows] of this thread's memory, content undefined."""
        size = width * (rows + _APART)
        memory: np.ndarray | None = getattr(self._local, "stage", None)
        if memory is None or len(memory) < size:
            memory = self._local.stage = np.empty(size, np.float32)
        return memory[:size].view(dtype).reshape(width, rows + _APART)[:, :rows]


def _write(columns: Sequence[tuple[int, np.ndarray]], start: int, stop: int, block: np.ndarray) -> None:
    for at, values in columns:
        if values.ndim == 1:
            block[:, at] = values[start:stop]
        else:
            block[:, at : at + values.shape[1]] = values[start:stop]
