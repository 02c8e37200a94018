"""Background reading: windows are decoded ahead, shuffled by one gather, and queued as chunks of batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import pairwise

import numpy as np

from trainer.feed.order.memory_budget import CHUNKS_AHEAD, MOST_CHUNKS
from trainer.feed.order.shuffle import ShuffleWindow
from trainer.feed.order.worker_share import Share, share_of
from trainer.feed.packing.buffers import BufferPool, Rows
from trainer.feed.pipeline.chunks import Chunk, Chunks, ScheduledWindow
from trainer.feed.pipeline.source import Source
from trainer.feed.threads import BoundedQueue, Pool, yield_to_training


class Loading:
    """A window that is being loaded."""

    def __init__(self, source: Source, units: np.ndarray, pool: Pool, memory: BufferPool) -> None:
        plan = source.plan
        ends = np.cumsum(plan.rows[units])
        self._rows = memory.take(int(ends[-1]) if len(ends) else 0)
        # Slices of one row group are neighbours; one task reads them in order, so that the group is decoded once.
        names = plan.shard[units].astype(np.int64) << 32 | plan.group[units]
        edges = np.flatnonzero(np.diff(names, prepend=-1, append=-1))
        self._tasks: list[Future[None]] = []
        for low, high in pairwise(edges.tolist()):
            some = units[low:high].tolist()
            targets = [self._rows[end - int(plan.rows[p]) : end] for p, end in zip(some, ends[low:high], strict=True)]
            self._tasks.append(pool.submit(partial(source.pack_units, some, targets)))

    def wait(self) -> Rows:
        """Waits for all rows. Raises what a read unit raised."""
        for task in self._tasks:
            task.result()
        return self._rows


class WindowLoader:
    """Loads windows; a dataset of one window is read once and kept.

    Args:
        source: What to read.
        pool: Runs the decoding.
    """

    def __init__(self, source: Source, pool: Pool) -> None:
        self._source, self._pool = source, pool
        self._lock = threading.Lock()
        self._resident: Loading | None = None
        self._windows = BufferPool(source.packer.layout, max(r.rows for r in source.windows(0)), most=2)
        self.chunks = BufferPool(source.packer.layout, most=MOST_CHUNKS)

    def begin(self, part: ShuffleWindow, share: Share) -> Loading:
        """Starts to load the units of a window that belong to a worker's share."""
        units = part.units[np.isin(part.lanes, share.lanes)]
        with self._lock:
            if part.rows != self._source.plan.total_rows:
                return Loading(self._source, units, self._pool, self._windows)
            if self._resident is None:
                self._resident = Loading(self._source, units, self._pool, self._windows)
            return self._resident


class Stream:
    """Chunks from an epoch and step on, epoch after epoch, made by a thread of its own.

    Args:
        source: What to read.
        windows: Loads it.
        epoch: Where to begin. step: where in it.
    """

    def __init__(self, source: Source, windows: WindowLoader, epoch: int, step: int) -> None:
        self.position = (epoch, step)
        self._source, self._loader = source, windows
        self._start = (epoch, step)
        self._out: BoundedQueue[Chunk] = BoundedQueue(CHUNKS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kfit-feed-order", daemon=True)
        self._thread.start()

    def next(self) -> Chunk | None:
        """The next k batches, never of two epochs; None once closed."""
        chunk = self._out.get()
        if chunk is not None:
            epoch, step = self.position
            step += len(chunk[0])
            self.position = (epoch + 1, 0) if step >= self._source.steps else (epoch, step)
        return chunk

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread. A second time does nothing."""
        self._stopped.set()
        self._out.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        yield_to_training()
        try:
            self._produce()
        except BaseException as error:
            self._out.fail(error)

    def _produce(self) -> None:
        schedule = self._schedule()
        coming = deque([self._begin(schedule)])
        chunks = Chunks(self._source, self._start[1], self._out, self._loader.chunks)
        while not self._stopped.is_set():
            coming.append(self._begin(schedule))
            scheduled, loading = coming.popleft()
            rows = loading.wait()
            if not chunks.add(rows, scheduled):
                return
            # A reference would keep the buffer from being used for the window that is begun next.
            del rows, loading

    def _begin(self, schedule: Iterator[ScheduledWindow]) -> tuple[ScheduledWindow, Loading]:
        scheduled = next(schedule)
        return scheduled, self._loader.begin(scheduled.window, scheduled.share)

    def _schedule(self) -> Iterator[ScheduledWindow]:
        """The windows from the start on, epoch after epoch."""
        source = self._source
        epoch, step = self._start
        first_row = step * source.batch_size
        while True:
            windows = source.windows(epoch)
            share = share_of(source.plan, windows, source.batch_size, source.worker)
            for window in windows:
                if window.start + window.rows > first_row:
                    yield ScheduledWindow(epoch, window, max(0, first_row - window.start), share)
            epoch, first_row = epoch + 1, 0
