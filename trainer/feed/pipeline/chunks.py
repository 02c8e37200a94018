"""Chunks: many batches in one array, since what is done once a batch costs more than the batch when it is small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.feed.order.memory_budget import CHUNK_BYTES
from trainer.feed.packing.buffers import BufferPool, Rows
from trainer.feed.pipeline.source import Source
from trainer.feed.threads import BoundedQueue

#: k batches: numbers float32 [k, B, N], codes int32 [k, B, C], label [k, B], weight and fill float32 [k, B, 2],
#: encoded images and ragged codes bytes [k, B, I + S], epoch and step int64 [k, 2].
Chunk = tuple[np.ndarray, ...]


class Chunks:
    """Gathers rows into chunks and hands them over."""

    def __init__(self, source: Source, step: int, out: BoundedQueue[Chunk], memory: BufferPool) -> None:
        self._source, self._out, self._memory = source, out, memory
        self._step = step
        self._most = max(1, CHUNK_BYTES // (source.batch_size * source.row_bytes))
        self._new()

    def _new(self) -> None:
        batches = min(self._most, self._source.steps - self._step)
        self._rows = self._memory.take(batches * self._source.batch_size)
        self._filled = 0

    def add(self, rows: Rows, order: np.ndarray, *, epoch: int, last: bool) -> bool:
        """Takes a window's rows in their order; False once the consumer is gone."""
        at = 0
        while at < len(order):
            some = min(len(self._rows) - self._filled, len(order) - at)
            rows.take(order[at : at + some], self._rows[self._filled : self._filled + some])
            at += some
            self._filled += some
            if self._filled == len(self._rows) and not self._hand_over(epoch):
                return False
        return self._hand_over(epoch) if last and self._filled else True

    def _hand_over(self, epoch: int) -> bool:
        size = self._source.batch_size
        batches = -(-self._filled // size)
        rows = self._rows[: batches * size]
        pad_batch(rows[-size:], self._filled - (batches - 1) * size)
        places = np.stack([np.full(batches, epoch), np.arange(self._step, self._step + batches)], axis=1)
        self._step = (self._step + batches) % self._source.steps
        done = self._out.put((*batches_of(rows, size), places))
        self._new()
        return done


def batches_of(rows: Rows, size: int) -> Iterator[np.ndarray]:
    """[k * B, …] -> [k, B, …] of each array."""
    return (values.reshape(len(rows) // size, size, *values.shape[1:]) for values in rows.arrays)


def pad_batch(batch: Rows, real: int) -> None:
    """Fills a batch up with its own rows at weight 0; the real ones weigh B / real more.

    Args:
        batch: B rows; the first `real` are there. Changed in place.
        real: How many, 0 < real <= B.
    """
    size = len(batch)
    if real == size:
        return
    again = np.arange(size - real) % real
    for values in batch.arrays:
        values[real:] = values[again]
    batch.weight[:real, 0] *= np.float32(size / real)
    batch.weight[real:, 0] = 0.0
    batch.weight[:, 1] = real / size
