"""The feeds that are compared, a function each; every one runs alone in a process (`python -m benchmarks.feed.side`).

A side reads one dataset and returns rows and seconds. Sides that end in TensorFlow are drained by the same loop in a
graph, as a training step takes its batches; the first batches are a warm-up and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.feed.sets import SetShape, config_of

SHUFFLE_ROWS = 100_000


@dataclass(frozen=True)
class Task:
    """Arguments of a side.

    Attributes:
        shape: The dataset.
        folder: Its folder.
        cache: Folder of statistics and converted copies.
        batch_size: Rows of a batch.
        seconds: Longest measurement; a slower side is stopped before a full pass.
        uri: Another place of the same dataset; empty: none.
        progress_file: File that an endless training writes its progress to; empty: none.
        threads: Compute threads of a training; 0: all processors.
    """

    shape: SetShape
    folder: Path
    cache: Path
    batch_size: int
    seconds: float
    uri: str = ""
    progress_file: str = ""
    threads: int = 0


Measured = dict[str, float]


def arrow(task: Task) -> Measured:
    """The limit: all columns of all shards into Arrow tables, by the faster of two APIs."""
    files = sorted(task.folder.glob("*.parquet"))

    def by_shard() -> None:
        for file in files:
            pq.read_table(file)

    def by_folder() -> None:
        ds.dataset(task.folder, format="parquet").to_table()

    seconds, cpu = min(_mean(by_shard), _mean(by_folder))
    return {"rows": float(task.shape.rows), "seconds": seconds, "cpu_seconds": cpu}


def _mean(read: Callable[[], None], repeats: int = 3) -> tuple[float, float]:
    """Mean wall and processor seconds of a call, after one call to warm up."""
    read()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        read()
    return (time.perf_counter() - started) / repeats, (time.process_time() - cpu) / repeats


def ours(task: Task) -> Measured:
    """Shuffled batches of our feed, over three epochs."""
    from trainer.feed.pipeline.dataset import Feed
    from trainer.feed.statistics.prepare import prepare

    config = config_of(task.shape, task.folder, task.batch_size)
    prepared = prepare(config, cache=task.cache)
    with Feed(prepared, "train", batch_size=task.batch_size, seed=0, shuffle=True) as feed:
        return drain(feed.dataset().repeat(), feed.steps, task, epochs=3)


def drain(dataset: Any, steps: int, task: Task, *, epochs: int = 1) -> Measured:
    """Takes batches in a graph and returns rows, wall and processor seconds.

    The first epoch, or as much of it as fits in a quarter of `task.seconds`, is a warm-up.
    """
    import tensorflow as tf

    @tf.function
    def take(batches: Any, count: tf.Tensor) -> tf.Tensor:
        rows = tf.constant(0)
        for _ in tf.range(count):
            rows += tf.shape(tf.nest.flatten(next(batches))[-1])[0]
        return rows

    iterator = iter(dataset)
    chunk = tf.constant(min(64, max(1, steps // 8)))
    started = time.perf_counter()
    done = 0
    while done < steps and (done == 0 or time.perf_counter() - started < task.seconds / 4):
        take(iterator, chunk)
        done += int(chunk)
    rows, seconds = 0, 0.0
    started, cpu = time.perf_counter(), time.process_time()
    while rows < epochs * steps * task.batch_size and seconds < task.seconds:
        rows += int(take(iterator, chunk))
        seconds = time.perf_counter() - started
    return {"rows": float(rows), "seconds": seconds, "cpu_seconds": time.process_time() - cpu}


def in_memory(task: Task) -> Measured:
    """`from_tensor_slices().shuffle().batch()` over packed arrays that are already in memory."""
    import tensorflow as tf

    arrays = _packed(pq.read_table(task.folder), task.shape)
    dataset = tf.data.Dataset.from_tensor_slices(arrays).shuffle(SHUFFLE_ROWS).batch(task.batch_size)
    return drain(dataset.prefetch(2).repeat(), _steps(task), task)


def tfrecord(task: Task) -> Measured:
    """Packed Examples in TFRecord files: interleave, shuffle, batch, `parse_example`."""
    import tensorflow as tf

    shape, folder = task.shape, task.cache / f"tfrecord-{task.folder.name}"
    if not (folder / "_COMPLETE").exists():
        _write_tfrecords(task, folder)
    spec = {
        "floats": tf.io.FixedLenFeature([shape.floats], tf.float32),
        "ints": tf.io.FixedLenFeature([shape.ints], tf.int64),
        "label": tf.io.FixedLenFeature([1], tf.int64),
    }
    files = tf.data.Dataset.list_files(str(folder / "*.tfrecord"), shuffle=True)
    rows = files.interleave(tf.data.TFRecordDataset, cycle_length=4, num_parallel_calls=tf.data.AUTOTUNE)
    batches = rows.shuffle(SHUFFLE_ROWS).batch(task.batch_size)
    parsed = batches.map(lambda b: tf.io.parse_example(b, spec), num_parallel_calls=tf.data.AUTOTUNE)
    return drain(parsed.prefetch(2).repeat(), _steps(task), task)


def _write_tfrecords(task: Task, folder: Path) -> None:
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(task.folder.glob("*.parquet")):
        floats, ints, label = _packed(pq.read_table(file), task.shape)
        with tf.io.TFRecordWriter(str(folder / f"{file.stem}.tfrecord")) as out:
            for row in range(len(label)):
                feature = {
                    "floats": tf.train.Feature(float_list=tf.train.FloatList(value=floats[row])),
                    "ints": tf.train.Feature(int64_list=tf.train.Int64List(value=ints[row])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=label[row : row + 1])),
                }
                out.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    (folder / "_COMPLETE").touch()


def ray(task: Task) -> Measured:
    """Ray Data: `read_parquet().iter_batches` behind `to_tf`, with its local shuffle."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    names = _names(task.shape)
    dataset = ray.data.read_parquet(str(task.folder)).to_tf(
        names, "label", batch_size=task.batch_size, local_shuffle_buffer_size=SHUFFLE_ROWS
    )
    return drain(dataset.repeat(), _steps(task), task)


def hugging_face(task: Task) -> Measured:
    """Hugging Face datasets: `to_tf_dataset(shuffle=True)` over the memory-mapped copy that it makes."""
    import datasets

    files = str(task.folder / "*.parquet")
    data = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(task.cache / "hf"))
    batches = data.to_tf_dataset(
        batch_size=task.batch_size, shuffle=True, columns=_names(task.shape), label_cols="label"
    )
    return drain(batches.repeat(), _steps(task), task)


def petastorm(task: Task) -> Measured:
    """Petastorm's recipe: `make_batch_reader`, `make_petastorm_dataset`, unbatch, shuffle, batch."""
    from petastorm import make_batch_reader
    from petastorm.tf_utils import make_petastorm_dataset

    with make_batch_reader(f"file://{task.folder.resolve()}", num_epochs=None) as reader:
        rows = make_petastorm_dataset(reader).unbatch().shuffle(SHUFFLE_ROWS)
        return drain(rows.batch(task.batch_size), _steps(task), task)


SIDES: dict[str, Callable[[Task], Measured]] = {
    "arrow": arrow,
    "ours": ours,
    "in_memory": in_memory,
    "tfrecord": tfrecord,
    "ray": ray,
    "hugging_face": hugging_face,
    "petastorm": petastorm,
}


def _steps(task: Task) -> int:
    return -(-task.shape.rows // task.batch_size)


def _names(shape: SetShape) -> list[str]:
    return [f"f{i:03d}" for i in range(shape.floats)] + [f"i{i:03d}" for i in range(shape.ints)]


def _packed(table: pa.Table, shape: SetShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 [N, floats], int32 [N, ints], label int64 [N]."""
    floats = np.empty((len(table), shape.floats), np.float32)
    ints = np.empty((len(table), shape.ints), np.int32)
    for i, name in enumerate(_names(shape)):
        target, at = (floats, i) if i < shape.floats else (ints, i - shape.floats)
        target[:, at] = table[name].to_numpy()
    return floats, ints, table["label"].to_numpy().astype(np.int64)
