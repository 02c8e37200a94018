"""Background reading: rounds are decoded ahead, shuffled by one gather, and handed over as ready chunks.

A chunk is many batches in one array: what is done once a batch costs more than the batch when it is small.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.feed.filter import RowFilter
from trainer.feed.order import Round, rounds_of, row_order
from trainer.feed.pack import Packer
from trainer.feed.plan import Plan
from trainer.feed.reader import Reader
from trainer.feed.rows import Recycled, Rows
from trainer.feed.shards import Shard
from trainer.feed.split import SplitName, SplitRule
from trainer.feed.statistics import kept_mask
from trainer.feed.threads import Handoff, Pool

CHUNK_BYTES = 8 * 1024**2
CHUNKS_AHEAD = 2

#: k batches: numbers float32 [k, B, N], codes int32 [k, B, C], label [k, B], weight and fill float32 [k, B, 2],
#: encoded images bytes [k, B, I], epoch and step int64 [k, 2].
Chunk = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Source:
    """One split, ready to be read in any order.

    Attributes:
        shards: The shards. split: which of their rows.
        rule: How the set is split. rows_of: which rows belong to it; None: all.
        plan: The pieces.
        reader: Decodes them. packer: packs them.
        seed, batch_size, shuffle: What decides the order.
        row_bytes: What a row takes in memory.
    """

    shards: tuple[Shard, ...]
    split: SplitName
    rule: SplitRule
    rows_of: RowFilter | None
    plan: Plan
    reader: Reader
    packer: Packer
    seed: int
    batch_size: int
    shuffle: bool
    row_bytes: int

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-self.plan.total_rows // self.batch_size)

    def rounds(self, epoch: int) -> list[Round]:
        """The rounds of an epoch."""
        return rounds_of(self.plan, self.seed, epoch, shuffle=self.shuffle)

    def order(self, epoch: int, part: Round) -> np.ndarray:
        """The order in which a round gives its rows."""
        return row_order(self.plan, part, seed=self.seed, epoch=epoch, batch_size=self.batch_size, shuffle=self.shuffle)

    def pack_piece(self, piece: int, out: Rows) -> None:
        """Reads and packs one piece into its place."""
        plan, shard = self.plan, self.shards[self.plan.shard[piece]]
        group, groups, start, stop = (int(a[piece]) for a in (plan.group, plan.groups, plan.start, plan.stop))
        table = self.reader.read(shard, group, start, stop, groups=groups)
        keep = None
        if len(table) != len(out):
            keep = kept_mask(self.rule, self.rows_of, shard, range(group, group + groups), table, self.split)
            assert keep is not None, "a piece that is kept in part has a rule that says which part"
        self.packer.pack(table, out, keep)


class Loading:
    """A round on its way into memory."""

    def __init__(self, source: Source, part: Round, pool: Pool, memory: Recycled) -> None:
        self._rows = memory.take(part.rows)
        ends = np.cumsum(source.plan.rows[part.pieces])
        self._tasks: list[Future[None]] = []
        for piece, end in zip(part.pieces.tolist(), ends.tolist(), strict=True):
            target = self._rows[end - int(source.plan.rows[piece]) : end]
            self._tasks.append(pool.submit(partial(source.pack_piece, piece, target)))

    def wait(self) -> Rows:
        """All rows. Raises what a piece raised."""
        for task in self._tasks:
            task.result()
        return self._rows


class Rounds:
    """Loads rounds; a set of one round is read once and kept.

    Args:
        source: What to read.
        pool: Decodes.
    """

    def __init__(self, source: Source, pool: Pool) -> None:
        self._source, self._pool = source, pool
        self._lock = threading.Lock()
        self._resident: Loading | None = None
        self._windows = Recycled(source.packer.layout)
        self.chunks = Recycled(source.packer.layout)

    def begin(self, part: Round) -> Loading:
        """Starts to load a round."""
        with self._lock:
            if part.rows != self._source.plan.total_rows:
                return Loading(self._source, part, self._pool, self._windows)
            if self._resident is None:
                self._resident = Loading(self._source, part, self._pool, self._windows)
            return self._resident


class Stream:
    """Chunks from an epoch and step on, epoch after epoch, made by a thread of its own.

    Args:
        source: What to read.
        rounds: Loads it.
        epoch: Where to begin. step: where in it.
    """

    def __init__(self, source: Source, rounds: Rounds, epoch: int, step: int) -> None:
        self.position = (epoch, step)
        self._source, self._rounds = source, rounds
        self._start = (epoch, step)
        self._out: Handoff[Chunk] = Handoff(CHUNKS_AHEAD)
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
        try:
            self._produce()
        except BaseException as error:
            self._out.fail(error)

    def _produce(self) -> None:
        parts = self._parts()
        coming = deque([self._begin(parts)])
        chunks = _Chunks(self._source, self._start[1], self._out, self._rounds.chunks)
        while not self._stopped.is_set():
            coming.append(self._begin(parts))
            epoch, part, skip, loading = coming.popleft()
            order = self._source.order(epoch, part)
            rows = loading.wait()
            last = part.start + part.rows == self._source.plan.total_rows
            if not chunks.add(rows, order[skip:], epoch=epoch, last=last):
                return
            # Held on to, the window could not be used for the round that is begun next.
            del rows, loading

    def _begin(self, parts: Iterator[tuple[int, Round, int]]) -> tuple[int, Round, int, Loading]:
        epoch, part, skip = next(parts)
        return epoch, part, skip, self._rounds.begin(part)

    def _parts(self) -> Iterator[tuple[int, Round, int]]:
        """Rounds from the start on, with the rows to leave out at the front of the first."""
        epoch, step = self._start
        first_row = step * self._source.batch_size
        while True:
            for part in self._source.rounds(epoch):
                if part.start + part.rows > first_row:
                    yield epoch, part, max(0, first_row - part.start)
            epoch, first_row = epoch + 1, 0


class _Chunks:
    """Gathers rows into chunks and hands them over."""

    def __init__(self, source: Source, step: int, out: Handoff[Chunk], memory: Recycled) -> None:
        self._source, self._out, self._memory = source, out, memory
        self._step = step
        self._most = max(1, CHUNK_BYTES // (source.batch_size * source.row_bytes))
        self._new()

    def _new(self) -> None:
        batches = min(self._most, self._source.steps - self._step)
        self._rows = self._memory.take(batches * self._source.batch_size)
        self._filled = 0

    def add(self, rows: Rows, order: np.ndarray, *, epoch: int, last: bool) -> bool:
        """Takes a round's rows in their order; False once the consumer is gone."""
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
        done = self._out.put((*_batches(rows, size), places))
        self._new()
        return done


def _batches(rows: Rows, size: int) -> Iterator[np.ndarray]:
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
