"""Chunks: many batches in one array, since work per batch costs more than the batch itself where batches are small."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trainer.feed.order.memory_budget import CHUNK_BYTES
from trainer.feed.order.shuffle import ShuffleWindow
from trainer.feed.order.worker_share import Share, own_rows
from trainer.feed.packing.buffers import BufferPool, Rows
from trainer.feed.pipeline.source import Source
from trainer.feed.threads import BoundedQueue

#: k batches: numbers float32 [k, B, N], codes int32 [k, B, C], label [k, B], weight and fill float32 [k, B, 2],
#: encoded images and ragged codes bytes [k, B, I + S], epoch and step int64 [k, 2]. Of one of several workers, B is
#: the rows of its part of a batch.
Chunk = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ScheduledWindow:
    """A window in the order in which a stream reads them.

    Attributes:
        epoch: The epoch, from 0.
        window: The window.
        skip: Rows at its front that come before the stream's first step.
        share: The worker's share of the epoch.
    """

    epoch: int
    window: ShuffleWindow
    skip: int
    share: Share


class Chunks:
    """Gathers a worker's rows of every batch into chunks and queues them; one worker alone has a full share.

    Args:
        source: What is read.
        step: The batch of the epoch to begin with.
        out: Where chunks go.
        memory: Where they lie.
    """

    def __init__(self, source: Source, step: int, out: BoundedQueue[Chunk], memory: BufferPool) -> None:
        self._source, self._step, self._out, self._memory = source, step, out, memory
        self._rows: Rows | None = None
        #: int64 [k]: rows gathered of each batch of the chunk.
        self._real = np.zeros(0, np.int64)
        self._template: Rows | None = None
        self._group_rows = 0

    def add(self, rows: Rows, scheduled: ScheduledWindow) -> bool:
        """Gathers the next window.

        Args:
            rows: The window's rows, as far as the worker reads them.
            scheduled: Which window.

        Returns:
            False once the consumer is gone.
        """
        source, window, share = self._source, scheduled.window, scheduled.share
        order, counts, self._group_rows = own_rows(
            source.plan, window, source.order(scheduled.epoch, window), scheduled.skip, source.batch_size, share,
            self._group_rows,
        )  # fmt: skip
        if len(order):
            self._template = Rows(*(values[order[:1]] for values in rows.arrays))
        end = window.start + window.rows
        complete = source.steps if end == source.plan.total_rows else end // source.batch_size
        batch = (window.start + scheduled.skip) // source.batch_size
        while True:
            if self._rows is None:
                self._begin(share)
            stop = self._step + len(self._real)
            taken = self._gather(rows, order, counts[: stop - batch], batch - self._step, share.rows)
            if stop > complete:
                return True
            if not self._hand_over(scheduled.epoch, share):
                return False
            order, counts, batch = order[taken:], counts[stop - batch :], stop
            if stop == source.steps or (stop == complete and not len(order)):
                return True

    def _begin(self, share: Share) -> None:
        most = max(1, CHUNK_BYTES // (self._source.row_bytes * share.rows))
        batches = min(most, self._source.steps - self._step)
        self._rows = self._memory.take(batches * share.rows)
        self._real = np.zeros(batches, np.int64)

    def _gather(self, rows: Rows, order: np.ndarray, counts: np.ndarray, first: int, size: int) -> int:
        """Takes the next rows of successive batches.

        Args:
            rows: The window's rows.
            order: int64: which of them, batch after batch.
            counts: int64 [n]: how many of each batch.
            first: The first of these batches, counted in the chunk.
            size: Rows of a batch.

        Returns:
            How many rows were taken.
        """
        assert self._rows is not None
        # [n]: where in the chunk the rows of each batch go; where one batch ends as the next begins, they are one run.
        begin = np.arange(first, first + len(counts)) * size + self._real[first : first + len(counts)]
        source_end = np.cumsum(counts)
        runs = np.flatnonzero(np.append(True, begin[1:] != (begin + counts)[:-1])) if len(counts) else begin
        for low, high in pairwise([*runs.tolist(), len(counts)]):
            source_begin, stop = int(source_end[low] - counts[low]), int(source_end[high - 1])
            target = int(begin[low])
            if stop > source_begin:
                rows.take(order[source_begin:stop], self._rows[target : target + stop - source_begin])
        self._real[first : first + len(counts)] += counts
        return int(source_end[-1]) if len(counts) else 0

    def _hand_over(self, epoch: int, share: Share) -> bool:
        """Fills up each batch and queues the chunk. False once the consumer is gone."""
        assert self._rows is not None
        batch_size, total_rows = self._source.batch_size, self._source.plan.total_rows
        batches = len(self._real)
        for index, real in enumerate(self._real.tolist()):
            whole = min(batch_size, total_rows - (self._step + index) * batch_size)
            if real < share.rows or share.factor != whole:
                part = self._rows[index * share.rows : (index + 1) * share.rows]
                fill_up(part, real, self._template, share.factor / whole, whole / batch_size)
        places = np.stack([np.full(batches, epoch), np.arange(self._step, self._step + batches)], axis=1)
        # [k * B, …] -> [k, B, …] of each array.
        arrays = [values.reshape(batches, share.rows, *values.shape[1:]) for values in self._rows.arrays]
        self._rows = None
        self._step = (self._step + batches) % self._source.steps
        return self._out.put((*arrays, places))


def fill_up(part: Rows, real: int, template: Rows | None, factor: float, fill: float) -> None:
    """Fills a worker's part of a batch up with its own rows at weight 0.

    Args:
        part: The worker's rows, of which the first `real` are set. Changed in place.
        real: How many, 0 too.
        template: A row to repeat where there is none.
        factor: What the weights of the real rows are multiplied by.
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
