"""A split as a `tf.data.Dataset` of packed batches, and the resource behind it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from trainer import storage
from trainer.errors import ConfigError
from trainer.feed.order.memory_budget import check_memory
from trainer.feed.order.worker_share import Worker
from trainer.feed.packing.images import augments, decoded, varied
from trainer.feed.pipeline.chunks import Chunk
from trainer.feed.pipeline.prefetch import Stream, WindowLoader
from trainer.feed.pipeline.source import source_of
from trainer.feed.pipeline.wait_time import Stopwatch
from trainer.feed.statistics.prepare import Prepared, SplitName
from trainer.feed.threads import Pool, yield_to_training
from trainer.schema import MISSING_CODE, ragged_key

#: AutoGraph would search these functions for Python control flow, and delay the first batch.
_as_is = tf.autograph.experimental.do_not_convert

_LOCAL_THREADS = 4
_REMOTE_THREADS = 8
_BATCHES_AHEAD = 2
#: Small batches are prefetched this far ahead, so that handing them between threads costs little.
_BYTES_AHEAD = 2 * 1024**2
_MOST_BATCHES_AHEAD = 64


class Feed:
    """Batches of one split. Owns threads: close it, or use it as a context manager.

    Args:
        prepared: The dataset and its statistics.
        split: Which rows.
        batch_size: Rows of a global batch, B.
        seed: Decides the order together with the epoch.
        shuffle: False: the order of files.
        class_weight: Class index -> factor of the row's weight, where there is one label; training only.
        epoch: Of the first iterator, from 0. step: where in it.
        worker: Which of several workers reads; batches are then its part of the global ones.

    Attributes:
        rows: Rows an epoch. steps: batches an epoch.
        error: The exception of a thread; tf.data passes on its text only.

    Raises:
        ConfigError: No such split, or the feed needs more memory than its budget.
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
        worker: Worker | None = None,
    ) -> None:
        if not prepared.rows.get(split):
            raise ConfigError(f"there is no {split} split", where="run.data", remedy="set data.validation")
        self._layout = prepared.layout
        self._source = source_of(
            prepared, split, batch_size=batch_size, seed=seed, shuffle=shuffle, class_weight=class_weight, worker=worker
        )
        self._augments = augments(prepared.config, prepared.layout.images) if split == "train" else {}
        self._remote = any(storage.local_path(s.uri) is None for s in prepared.shards)
        self._threads = _REMOTE_THREADS if self._remote else min(_LOCAL_THREADS, os.cpu_count() or 1)
        largest_images = [prepared.statistics[split].columns[c.name].maximum for c in prepared.layout.images]
        at_once = check_memory(
            prepared.config.data.memory,
            plan=self._source.plan,
            windows=self._source.windows(0),
            row_bytes=self._source.row_bytes,
            batch_size=batch_size,
            threads=self._threads,
            columns=len(self._source.packer.names),
            image_bytes=int(sum(largest_images)),
            image_threads=os.cpu_count() or 1,
        )
        self._source.reader.most_decoders, self._images_at_once = at_once.decoders, at_once.images
        self.rows, self.steps = self._source.plan.total_rows, self._source.steps
        self.error: BaseException | None = None
        self._cursor = _Cursor(epoch, step)
        self._idle_lock = threading.Lock()
        self._pool: Pool | None = None
        self._loader: WindowLoader | None = None
        self._streams: set[Stream] = set()
        self._idle: Stream | None = None
        self._closed = False
        self._waited = Stopwatch()
        ahead = min(_BYTES_AHEAD // (batch_size * self._source.row_bytes), self.steps, _MOST_BATCHES_AHEAD)
        self._batches_ahead = max(_BATCHES_AHEAD, ahead)

    @property
    def shared(self) -> bool:
        """Whether batches are one worker's part of the global ones."""
        return self._source.worker.workers > 1

    @property
    def wait_s(self) -> float:
        """Seconds that the consumer has waited for batches."""
        return self._waited.read()

    def seek(self, epoch: int, step: int = 0) -> None:
        """Lets the next dataset begin there; datasets made earlier keep their own position."""
        self._cursor = _Cursor(epoch, step)

    def start(self) -> None:
        """Begins to read where the next iterator will begin, so that its first batch is ready when it is requested."""
        if self._idle is None:
            self._keep_idle(self._stream(self._cursor.epoch, self._cursor.step))

    def dataset(self, *, padded: bool = True) -> tf.data.Dataset:
        """Batches `(x, y, w)` of `trainer.schema`; each new iterator is the next epoch.

        Args:
            padded: False: ragged sequences are RaggedTensors.

        Returns:
            x["numbers"] float32 [B, N], x["codes"] int32 [B, C], y [B], w float32 [B, 2]; B is static, but for one
            of several workers: the same in all batches of an epoch.
        """
        # TensorFlow never releases the function behind a generator, so the function must not refer to the feed.
        feed, cursor = weakref.ref(self), self._cursor

        def chunks_of() -> Iterator[Chunk]:
            if (open_feed := feed()) is None:
                raise RuntimeError("the feed is gone; keep the dataset that it gave")
            return open_feed._chunks(*cursor.advance())

        chunks = tf.data.Dataset.from_generator(chunks_of, output_signature=self._signature())
        # [k, B, …] -> [B, …]: slices that share the chunk's memory, where `unbatch` copies each.
        batches = chunks.flat_map(_as_is(lambda *parts: tf.data.Dataset.from_tensor_slices(self._batch(*parts))))
        if self._has_encoded:
            # Under determinism tf.data would turn a parallel map into this one itself, with an error on stderr.
            parallel = None if _is_deterministic() else self._images_at_once
            decode = _as_is(lambda batch, encoded: self._with_decoded(batch, encoded, padded=padded))
            batches = batches.map(decode, num_parallel_calls=parallel)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        timed = self._waited.timed(batches.prefetch(self._batches_ahead))
        timed.feed = self
        return timed.with_options(options)

    def _signature(self) -> tuple[tf.TensorSpec, ...]:
        layout = self._layout
        size = self._source.batch_size if self._source.worker.workers == 1 else None
        label = tf.int32 if layout.label_is_code else tf.float32
        plain = (
            tf.TensorSpec([None, size, layout.numbers_width], tf.float32),
            tf.TensorSpec([None, size, layout.codes_width], tf.int32),
            tf.TensorSpec([None, size, *layout.label_shape], label),
            tf.TensorSpec([None, size, 2], tf.float32),
        )
        encoded = tf.TensorSpec([None, size, len(layout.images) + len(layout.ragged)], tf.string)
        return (*plain, encoded, tf.TensorSpec([None, 2], tf.int64)) if self._has_encoded else plain

    @property
    def _has_encoded(self) -> bool:
        return bool(self._layout.images or self._layout.ragged)

    def _batch(
        self, numbers: tf.Tensor, codes: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, *encoded: tf.Tensor
    ) -> Any:
        x = {}
        if self._layout.numbers_width:
            x["numbers"] = numbers
        if self._layout.codes_width:
            x["codes"] = codes
        return ((x, label, weight), encoded) if encoded else (x, label, weight)

    def _with_decoded(self, batch: Any, encoded_and_place: Any, *, padded: bool) -> Any:
        (x, label, weight), (encoded, place) = batch, encoded_and_place
        images = self._layout.images
        # Rows are decoded in parallel within a batch, or batches are, never both.
        x = {**x, **decoded(images, encoded, self._images_at_once if _is_deterministic() else 1)}
        for index in range(len(self._layout.ragged)):
            x[ragged_key(index)] = _ragged(encoded[:, len(images) + index], padded=padded)
        return varied(x, self._augments, self._source.seed, place), label, weight

    def _chunks(self, epoch: int, step: int) -> Iterator[Chunk]:
        stream: Stream | None = None
        try:
            stream = self._stream(epoch, step)
            while step < self.steps:
                chunk = stream.next()
                if chunk is None:
                    return
                step += len(chunk[0])
                yield chunk if self._has_encoded else chunk[:4]
            # The stream reads on into the next epoch during validation.
            self._keep_idle(stream)
            stream = None
        except Exception as error:
            self.error = error
            raise
        finally:
            if stream is not None:
                self._end(stream)

    def _stream(self, epoch: int, step: int) -> Stream:
        if self._closed:
            raise RuntimeError("the feed is closed")
        idle = self._keep_idle(None)
        if idle is not None:
            if idle.position == (epoch, step):
                return idle
            self._end(idle)
        if self._pool is None or self._loader is None:
            self._pool = Pool(self._threads, "kfit-feed-decode")
            if self._remote:
                storage.on_io_thread(yield_to_training)
            self._loader = WindowLoader(self._source, self._pool)
        stream = Stream(self._source, self._loader, epoch, step)
        self._streams.add(stream)
        return stream

    def _keep_idle(self, stream: Stream | None) -> Stream | None:
        """Stores the stream for the next iterator, and returns the one stored before; None only takes it."""
        with self._idle_lock:
            before, self._idle = self._idle, stream
        if stream is not None and before is not None:
            self._end(before)
        return before

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
            self._pool = self._loader = None

    def __del__(self) -> None:
        # A dataset that is garbage collected ends its feed and the threads.
        if hasattr(self, "_closed"):
            self.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Cursor:
    """Where the next iterator of a dataset begins.

    An iterator that prefetches may request its next epoch at any time, so a dataset made before a `seek` keeps its
    own cursor.
    """

    def __init__(self, epoch: int, step: int) -> None:
        self.epoch, self.step = epoch, step
        self._lock = threading.Lock()

    def advance(self) -> tuple[int, int]:
        """Returns the epoch and step to begin at, and moves to the next epoch."""
        with self._lock:
            position = self.epoch, self.step
            self.epoch, self.step = self.epoch + 1, 0
        return position


def _is_deterministic() -> bool:
    """Whether `tf.config.experimental.enable_op_determinism` is on; TensorFlow has no public way to ask."""
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())


def _ragged(encoded: tf.Tensor, *, padded: bool) -> Any:
    """Decodes the bytes of rows' codes: string [B] -> int32 [B, longest], at least one wide, 0 after the last."""
    lengths = tf.strings.length(encoded) // 4
    codes = tf.io.decode_raw(tf.strings.reduce_join(encoded), tf.int32)
    ragged = tf.RaggedTensor.from_row_lengths(codes, lengths, validate=False)
    if not padded:
        return ragged
    dense = ragged.to_tensor(MISSING_CODE, shape=tf.stack([-1, tf.maximum(1, tf.reduce_max(lengths))]))
    return tf.ensure_shape(dense, [encoded.shape[0], None])
