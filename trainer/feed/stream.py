"""Background reading: rounds are decoded ahead, shuffled by one gather, and handed over as ready chunks.

A chunk is many batches in one array: what is done once a batch costs more than the batch when it is small.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.feed.order import Round, rounds_of, row_order
from trainer.feed.pack import Packer
from trainer.feed.plan import Plan
from trainer.feed.reader import Reader
from trainer.feed.shards import Shard
from trainer.feed.split import SplitName, SplitRule
from trainer.feed.statistics import validation_mask
from trainer.feed.threads import Handoff, Pool

CHUNK_BYTES = 8 * 1024**2
CHUNKS_AHEAD = 2
#: TensorFlow takes an array over without a copy where it begins on such a boundary.
_ALIGNMENT_BYTES = 64
_UNUSED_REFERENCES = 2


class ChunkMemory:
    """Hands out memory for chunks, and takes it back when TensorFlow no longer holds it.

    Fresh pages cost more than what is written into them: packing 86 MB took 0.30 s, and 0.05 s again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: list[np.ndarray] = []

    def take(self, rows: int, width: int) -> np.ndarray:
        """An int32 [rows, width] on a boundary that TensorFlow likes; its content is undefined."""
        size = rows * width
        with self._lock:
            owner = self._free(size + _ALIGNMENT_BYTES // 4)
            skip = -owner.ctypes.data % _ALIGNMENT_BYTES // 4
            return owner[skip : skip + size].reshape(rows, width)

    def _free(self, size: int) -> np.ndarray:
        for index in range(len(self._owners)):
            # Every view of an array, TensorFlow's too, counts as a reference to the array that owns the
            # memory: with none out there, two are left, the list's and this call's.
            if sys.getrefcount(self._owners[index]) <= _UNUSED_REFERENCES and len(self._owners[index]) >= size:
                return self._owners[index]
        self._owners = [o for o in self._owners if len(o) >= size]
        self._owners.append(np.empty(size, np.int32))
        return self._owners[-1]


@dataclass(frozen=True)
class Source:
    """One split, ready to be read in any order.

    Attributes:
        shards: The shards. split: which of their rows.
        rule: How the set is split.
        plan: The pieces.
        reader: Decodes them. packer: packs them.
        seed, batch_size, shuffle: What decides the order.
    """

    shards: tuple[Shard, ...]
    split: SplitName
    rule: SplitRule
    plan: Plan
    reader: Reader
    packer: Packer
    seed: int
    batch_size: int
    shuffle: bool

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

    def pack_piece(self, piece: int, out: np.ndarray) -> None:
        """Reads and packs one piece into its place."""
        shard = self.shards[self.plan.shard[piece]]
        group, start, stop = (int(a[piece]) for a in (self.plan.group, self.plan.start, self.plan.stop))
        table = self.reader.read(shard, group, start, stop)
        keep = None
        if len(table) != len(out):
            mask = validation_mask(self.rule, shard, group, table)
            assert mask is not None, "a piece that is kept in part has a rule that says which part"
            keep = mask if self.split == "validation" else ~mask
        self.packer.pack(table, out, keep)


class Loading:
    """A round on its way into memory."""

    def __init__(self, source: Source, part: Round, pool: Pool, matrix: np.ndarray) -> None:
        self.matrix = matrix[: part.rows]
        ends = np.cumsum(source.plan.rows[part.pieces])
        self._tasks: list[Future[None]] = []
        for piece, end in zip(part.pieces.tolist(), ends.tolist(), strict=True):
            target = self.matrix[end - int(source.plan.rows[piece]) : end]
            self._tasks.append(pool.submit(partial(source.pack_piece, piece, target)))

    def wait(self) -> np.ndarray:
        """int32 [rows, width], whole. Raises what a piece raised."""
        for task in self._tasks:
            task.result()
        return self.matrix


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
        self._spare: list[np.ndarray] = []
        self.chunks = ChunkMemory()

    def begin(self, part: Round) -> Loading:
        """Starts to load a round."""
        with self._lock:
            if part.rows != self._source.plan.total_rows:
                return Loading(self._source, part, self._pool, self._buffer(part.rows))
            if self._resident is None:
                self._resident = Loading(self._source, part, self._pool, self._buffer(part.rows))
            return self._resident

    def release(self, loading: Loading) -> None:
        """Takes a round's memory back, for the next one: fresh pages cost as much as decoding."""
        with self._lock:
            if loading is not self._resident and len(self._spare) < 2:
                self._spare.append(loading.matrix if loading.matrix.base is None else loading.matrix.base)

    def _buffer(self, rows: int) -> np.ndarray:
        width = self._source.packer.width
        while self._spare:
            spare = self._spare.pop().reshape(-1)
            if spare.size >= rows * width:
                return spare[: spare.size // width * width].reshape(-1, width)
        return np.empty((rows, width), np.int32)


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
        self._out: Handoff[np.ndarray] = Handoff(CHUNKS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kfit-feed-order", daemon=True)
        self._thread.start()

    def next(self) -> np.ndarray | None:
        """int32 [k, B, width]: the next k batches, never of two epochs; None once closed."""
        chunk = self._out.get()
        if chunk is not None:
            epoch, step = self.position
            step += len(chunk)
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
            matrix = loading.wait()
            last = part.start + part.rows == self._source.plan.total_rows
            if not chunks.add(matrix, order[skip:], last=last):
                return
            self._rounds.release(loading)

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

    def __init__(self, source: Source, step: int, out: Handoff[np.ndarray], memory: ChunkMemory) -> None:
        self._source, self._out, self._memory = source, out, memory
        self._step = step
        row_bytes = source.packer.width * 4
        self._most = max(1, CHUNK_BYTES // (source.batch_size * row_bytes))
        self._new()

    def _new(self) -> None:
        batches = min(self._most, self._source.steps - self._step)
        self._rows = self._memory.take(batches * self._source.batch_size, self._source.packer.width)
        self._filled = 0

    def add(self, matrix: np.ndarray, order: np.ndarray, *, last: bool) -> bool:
        """Takes a round's rows in their order; False once the consumer is gone."""
        at = 0
        while at < len(order):
            some = min(len(self._rows) - self._filled, len(order) - at)
            target = self._rows[self._filled : self._filled + some]
            # mode="clip" writes straight into `out`; the default goes through a buffer. The indices are ours.
            np.take(matrix, order[at : at + some], axis=0, out=target, mode="clip")
            at += some
            self._filled += some
            if self._filled == len(self._rows) and not self._hand_over():
                return False
        return self._hand_over(last=True) if last and self._filled else True

    def _hand_over(self, *, last: bool = False) -> bool:
        size, packer = self._source.batch_size, self._source.packer
        batches = -(-self._filled // size)
        rows = self._rows[: batches * size]
        if last and self._filled % size:
            pad_batch(rows[-size:], self._filled % size, packer.weight_at, packer.fill_at)
        self._step = (self._step + batches) % self._source.steps
        done = self._out.put(rows.reshape(batches, size, packer.width))
        self._new()
        return done


def pad_batch(batch: np.ndarray, real: int, weight_at: int, fill_at: int) -> None:
    """Fills a last batch up with its own rows at weight 0; the real ones weigh B / real more.

    Args:
        batch: int32 [B, width]; the first `real` rows are there. Changed in place.
        real: How many, 0 < real < B.
        weight_at: Packed column of the weight.
        fill_at: Packed column of the fill.
    """
    size = len(batch)
    batch[real:] = batch[np.arange(size - real) % real]
    floats = batch.view(np.float32)
    floats[:real, weight_at] *= np.float32(size / real)
    floats[real:, weight_at] = 0.0
    floats[:, fill_at] = real / size
