"""Chunks of one of several workers: its rows of every batch, filled up to the same number."""

from __future__ import annotations

import numpy as np

from trainer.feed.order.worker_share import Share
from trainer.feed.packing.buffers import BufferPool, Rows
from trainer.feed.pipeline.chunks import Chunk, batches_of
from trainer.feed.threads import BoundedQueue


class PartChunks:
    """Gathers a worker's rows into chunks and hands them over.

    Args:
        batch_size: Rows of a global batch, B.
        total_rows: Rows of an epoch.
        most_bytes: Of a chunk. row_bytes: of a row.
        step: Batch of the epoch to begin with.
        out: Where chunks go.
        memory: Where they lie.
    """

    def __init__(
        self,
        batch_size: int,
        total_rows: int,
        most_bytes: int,
        row_bytes: int,
        step: int,
        out: BoundedQueue[Chunk],
        memory: BufferPool,
    ) -> None:
        self._batch_size, self._total_rows = batch_size, total_rows
        self._steps = -(-total_rows // batch_size)
        self._most_rows = max(1, most_bytes // row_bytes)
        self._out, self._memory, self._step = out, memory, step
        self._rows: Rows | None = None
        self._template: Rows | None = None
        self._real = np.zeros(0, np.int64)

    def add(
        self, rows: Rows, order: np.ndarray, batch: np.ndarray, at: np.ndarray, share: Share, *, epoch: int, end: int
    ) -> bool:
        """Takes what a window gives this worker; False once the consumer is gone.

        Args:
            rows: The window's rows that were read.
            order: int64 [K]: which of them.
            batch: int64 [K], ascending: of the epoch.
            at: int64 [K]: place in the worker's rows of that batch.
            share: The worker's.
            epoch: Which epoch.
            end: One past the last row of the epoch's stream that the window gives.
        """
        complete = self._steps if end == self._total_rows else end // self._batch_size
        if len(order):
            self._template = self._copy_of(rows[int(order[0]) : int(order[0]) + 1])
        done = 0
        while True:
            if self._rows is None:
                self._begin(share)
            assert self._rows is not None
            stop = self._step + len(self._real)
            upto = int(np.searchsorted(batch, stop))
            self._fill(rows, order[done:upto], batch[done:upto] - self._step, at[done:upto], share.rows)
            done = upto
            if stop > complete:
                return True
            if not self._hand_over(epoch, share):
                return False
            if self._step == 0 or (self._step >= complete and done == len(order)):
                return True

    def _begin(self, share: Share) -> None:
        batches = min(max(1, self._most_rows // share.rows), self._steps - self._step)
        self._rows = self._memory.take(batches * share.rows)
        self._real = np.zeros(batches, np.int64)

    def _fill(self, rows: Rows, order: np.ndarray, batch: np.ndarray, at: np.ndarray, size: int) -> None:
        assert self._rows is not None
        if not len(order):
            return
        begins = np.flatnonzero(np.diff(batch, prepend=-1))
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(order)], strict=True):
            first = int(batch[begin]) * size + int(at[begin])
            rows.take(order[begin:end], self._rows[first : first + end - begin])
            self._real[batch[begin]] += end - begin

    def _copy_of(self, row: Rows) -> Rows:
        copy = self._memory.take(1)
        row.take(np.zeros(1, np.int64), copy)
        return copy

    def _hand_over(self, epoch: int, share: Share) -> bool:
        assert self._rows is not None
        for index, real in enumerate(self._real.tolist()):
            part = self._rows[index * share.rows : (index + 1) * share.rows]
            whole = min(self._batch_size, self._total_rows - (self._step + index) * self._batch_size)
            fill_up(part, real, self._template, share.factor / whole, whole / self._batch_size)
        steps = np.arange(self._step, self._step + len(self._real))
        places = np.stack([np.full(len(steps), epoch), steps], axis=1)
        handed = self._out.put((*batches_of(self._rows, share.rows), places))
        self._step = (self._step + len(steps)) % self._steps
        self._rows = None
        return handed


def fill_up(part: Rows, real: int, template: Rows | None, factor: float, fill: float) -> None:
    """Fills a worker's part of a batch up with rows of weight 0.

    Args:
        part: The worker's rows; the first `real` are there. Changed in place.
        real: How many, 0 too.
        template: A row to fill up with where there is none.
        factor: For the weights of the real ones.
        fill: Real rows of the whole batch, over its size.
    """
    for values, spare in zip(part.arrays, template.arrays if template else part.arrays, strict=True):
        if real:
            values[real:] = values[np.arange(len(part) - real) % real]
        else:
            values[:] = spare[:1] if template else b"" if values.dtype == object else 0
    part.weight[:real, 0] *= np.float32(factor)
    part.weight[real:, 0] = 0.0
    part.weight[:, 1] = fill
