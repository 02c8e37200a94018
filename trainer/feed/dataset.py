"""A split as a `tf.data.Dataset` of packed batches, and the resource behind it."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.config import Config
from trainer.errors import ConfigError
from trainer.feed.memory import check_budget, default_budget
from trainer.feed.pack import Packer
from trainer.feed.plan import Plan, make_plan
from trainer.feed.prepare import Prepared, SplitName, prepare
from trainer.feed.reader import Reader
from trainer.feed.stream import CHUNK_BYTES, CHUNKS_AHEAD, Rounds, Source, Stream
from trainer.feed.threads import Pool
from trainer.feed.weights import class_weights
from trainer.schema import Layout

__all__ = ["Feed", "class_weights", "dataset"]

#: What is read at a time where nothing is shuffled.
_UNSHUFFLED_BYTES = 32 * 1024**2
_LOCAL_THREADS = 4
_REMOTE_THREADS = 8
_BATCHES_AHEAD = 2


class Feed:
    """Batches of one split. Owns threads: close it, or use it as a context manager.

    Args:
        prepared: What is known of the data.
        split: Which rows.
        batch_size: Rows of a global batch, B.
        seed: Decides the order together with the epoch.
        shuffle: False: the order of files.
        class_weight: Label index -> factor of the row's weight; training only.
        epoch: Of the first iterator, from 0. step: where in it.

    Attributes:
        rows: Rows an epoch. steps: batches an epoch.
        error: What went wrong in a thread; tf.data only passes on its text.

    Raises:
        ConfigError: No such split, or the feed needs more memory than it may hold.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: SplitName,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        class_weight: Mapping[int, float] | None = None,
        epoch: int = 0,
        step: int = 0,
    ) -> None:
        if not prepared.rows.get(split):
            raise ConfigError(f"there is no {split} split", where="run.data", remedy="set data.validation")
        self._layout = prepared.layout
        packer = Packer(prepared.layout, class_weight)
        plan = plan_of(prepared, split, packer.width, shuffle=shuffle)
        by = [prepared.rule.by] if prepared.rule.kind in ("value", "days") and prepared.rule.by else []
        reader = Reader(
            [*packer.names, *(b for b in by if b not in packer.names)], prepared.partition_types, packer.encoded
        )
        self._source = Source(prepared.shards, split, prepared.rule, plan, reader, packer, seed, batch_size, shuffle)
        self._threads = _threads(prepared)
        _check_memory(prepared.config, self._source, self._threads)
        self.rows, self.steps = plan.total_rows, self._source.steps
        self.error: BaseException | None = None
        self._cursor = (epoch, step)
        self._pool: Pool | None = None
        self._rounds: Rounds | None = None
        self._streams: set[Stream] = set()
        self._idle: Stream | None = None
        self._closed = False
        self._waited = _Accumulator()

    @property
    def wait_s(self) -> float:
        """Seconds that the consumer waited for batches, so far."""
        return self._waited.read()

    def seek(self, epoch: int, step: int = 0) -> None:
        """Lets the next iterator begin there."""
        self._cursor = (epoch, step)

    def dataset(self) -> tf.data.Dataset:
        """Batches `(x, y, w)` of `trainer.schema`; each new iterator is the next epoch.

        Returns:
            x["numbers"] float32 [B, N], x["codes"] int32 [B, C], y [B], w float32 [B, 2]; B is static.
        """
        width, size = self._source.packer.width, self._source.batch_size
        chunks = tf.data.Dataset.from_generator(
            self._chunks, output_signature=tf.TensorSpec([None, size, width], tf.int32)
        )
        # [k, B, width] -> [B, width]: slices that share the chunk's memory, where `unbatch` copies each.
        # Under determinism tf.data would turn a parallel map into this one itself, with an error on stderr.
        parallel = None if _is_deterministic() else 2
        batches = chunks.flat_map(tf.data.Dataset.from_tensor_slices).map(
            lambda rows: _unpacked(rows, self._layout),
            num_parallel_calls=parallel,
            deterministic=True if parallel else None,
        )
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return self._timed(batches.prefetch(_BATCHES_AHEAD)).with_options(options)

    def _timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Adds up in the graph how long each batch was waited for."""

        def clock(_: Any) -> tf.Tensor:
            # Determinism forbids the timestamp operation; Python's clock costs some 20 µs instead.
            return tf.numpy_function(time.time, [], tf.float64) if deterministic else tf.timestamp()

        deterministic = _is_deterministic()

        ticks = tf.data.Dataset.counter()
        # zip asks its parts one after another: clock, batch, clock.
        timed = tf.data.Dataset.zip(ticks.map(clock), batches, ticks.map(clock))

        def add(before: tf.Tensor, batch: Any, after: tf.Tensor) -> Any:
            with tf.control_dependencies([self._waited.add(after - before)]):
                return tf.nest.map_structure(tf.identity, batch)

        return timed.map(add)

    def _chunks(self) -> Iterator[np.ndarray]:
        epoch, step = self._cursor
        self._cursor = (epoch + 1, 0)
        stream: Stream | None = None
        try:
            stream = self._stream(epoch, step)
            while step < self.steps:
                chunk = stream.next()
                if chunk is None:
                    return
                step += len(chunk)
                yield chunk
            # The thread goes on with the next epoch while this one is validated.
            self._idle, stream = stream, None
        except Exception as error:
            self.error = error
            raise
        finally:
            if stream is not None:
                self._end(stream)

    def _stream(self, epoch: int, step: int) -> Stream:
        if self._closed:
            raise RuntimeError("the feed is closed")
        idle, self._idle = self._idle, None
        if idle is not None:
            if idle.position == (epoch, step):
                return idle
            self._end(idle)
        if self._pool is None or self._rounds is None:
            self._pool = Pool(self._threads, "kfit-feed-decode")
            self._rounds = Rounds(self._source, self._pool)
        stream = Stream(self._source, self._rounds, epoch, step)
        self._streams.add(stream)
        return stream

    def _end(self, stream: Stream) -> None:
        stream.close()
        self._streams.discard(stream)

    def close(self) -> None:
        """Ends every thread. A second time does nothing."""
        self._closed = True
        self._idle = None
        for stream in list(self._streams):
            self._end(stream)
        if self._pool is not None:
            self._pool.close()
            self._pool = self._rounds = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Accumulator:
    """A float64 sum that a graph adds to. A raw resource: a `tf.Variable` would join the strategy's scope."""

    def __init__(self) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._handle = tf.raw_ops.VarHandleOp(dtype=tf.float64, shape=[], shared_name=f"kfit_wait_{id(self)}")
            tf.raw_ops.AssignVariableOp(resource=self._handle, value=tf.constant(0.0, tf.float64))

    def add(self, value: tf.Tensor) -> tf.Operation:
        return tf.raw_ops.AssignAddVariableOp(resource=self._handle, value=value)

    def read(self) -> float:
        with tf.device("CPU:0"):
            return float(tf.raw_ops.ReadVariableOp(resource=self._handle, dtype=tf.float64))


def _is_deterministic() -> bool:
    """Whether `tf.config.experimental.enable_op_determinism` is on; TensorFlow has no public way to ask."""
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())


def _unpacked(rows: tf.Tensor, layout: Layout) -> Any:
    """Splits packed rows int32 [B, width] into a batch of `trainer.schema`."""
    widths = [layout.numbers_width, layout.codes_width, 1, 2]
    numbers, codes, label, weight = tf.split(rows, widths, axis=1)
    x = {}
    if layout.numbers_width:
        x["numbers"] = tf.bitcast(numbers, tf.float32)
    if layout.codes_width:
        x["codes"] = codes
    label = tf.squeeze(label, axis=1)
    y = label if layout.label.task == "multiclass" else tf.bitcast(label, tf.float32)
    return x, y, tf.bitcast(weight, tf.float32)


def plan_of(prepared: Prepared, split: SplitName, width: int, *, shuffle: bool) -> Plan:
    """The pieces of a split, with a window of `data.shuffle` bytes of packed rows."""
    budget = prepared.config.data.shuffle if shuffle else False
    window_bytes = _UNSHUFFLED_BYTES if budget is False else budget
    return make_plan(
        [s.group_rows for s in prepared.shards],
        [s.rows_of(split) for s in prepared.shards],
        window_rows=max(1, window_bytes // (4 * width)),
    )


def _check_memory(config: Config, source: Source, threads: int) -> None:
    row_bytes = 4 * source.packer.width
    rounds = source.rounds(0)
    largest_piece = int((source.plan.stop - source.plan.start).max())
    # A row group is there twice while it is packed: as Arrow columns and as numpy ones.
    other = 2 * min(threads, len(source.plan)) * largest_piece * row_bytes + (CHUNKS_AHEAD + 2) * max(
        CHUNK_BYTES, source.batch_size * row_bytes
    )
    window = max(r.rows for r in rounds) * row_bytes
    check_budget(config.data.memory or default_budget(), window if len(rounds) > 1 else window // 2, other)


def _threads(prepared: Prepared) -> int:
    remote = any(storage.local_path(s.uri) is None for s in prepared.shards)
    return _REMOTE_THREADS if remote else min(_LOCAL_THREADS, os.cpu_count() or 1)


def dataset(
    config: Config, split: SplitName = "train", *, packed: bool = False, cache: Path | None = None
) -> tf.data.Dataset:
    """A split for your own `model.fit`; each pass over it is the next epoch.

    Args:
        config: The configuration.
        split: Which rows.
        packed: True: batches of `trainer.schema`, as the trainer's own models take them.
        cache: Where statistics are kept between runs.

    Returns:
        Batches `(x, y, w)`: x by column name, numbers float32 [B] or [B, size] (float64 for large integers
        and timestamps) with NaN for null, categories int32 codes [B]; y [B]; w float32 [B].

    Raises:
        KfitError: As `prepare`.
    """
    prepared = prepare(config, cache=cache)
    feed = Feed(
        prepared,
        split,
        batch_size=config.fit.batch_size,
        seed=config.fit.seed,
        shuffle=split == "train" and config.data.shuffle is not False,
        class_weight=class_weights(config, prepared) if split == "train" else None,
    )
    atexit.register(_close, weakref.ref(feed))
    batches = feed.dataset()
    return batches if packed else batches.map(lambda x, y, w: (_by_column(x, prepared.layout), y, w[:, 0]))


def _close(feed: weakref.ref[Feed]) -> None:
    if (open_feed := feed()) is not None:
        open_feed.close()


def _by_column(x: Mapping[str, tf.Tensor], layout: Layout) -> dict[str, tf.Tensor]:
    out = {}
    for field in layout.numbers:
        values = x["numbers"][:, field.start : field.start + field.column.size]
        if field.offset:
            values = tf.cast(values, tf.float64) + field.offset
        out[field.column.name] = values if field.column.kind == "vector" else values[:, 0]
    for code in layout.codes:
        out[code.column.name] = x["codes"][:, code.start]
    return out
