"""Measurements beside throughput: memory, start-up, and `fit` from the stream against `fit` from memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.feed.alternation import StepReporter
from benchmarks.feed.sets import config_of
from benchmarks.feed.sides import Measured, Task

#: Shards in a shuffle window: a dataset of 16, 48 or 160 shards is a whole number of windows of one size.
_WINDOW_SHARDS = 4
#: `data.memory` for a row group larger than it.
BUDGET_BYTES = 448 * 1024**2
_HIDDEN = [512, 512, 256]


def memory(task: Task) -> Measured:
    """Peak resident memory of one and a half epochs, in bytes above an interpreter that has imported TensorFlow."""
    shape = task.shape
    packed = 4 * (shape.floats + shape.ints + shape.words + 3)
    # The same window for every size of dataset.
    return _peak(task, {"shuffle": -(-shape.rows // shape.shards) * _WINDOW_SHARDS * packed})


def large_group(task: Task) -> Measured:
    """Peak resident memory for a row group larger than `data.memory`, with a validation split by content."""
    budget = {"memory": BUDGET_BYTES, "shuffle": 32 * 1024**2}
    return _peak(task, {**budget, "validation": {"fraction": 0.1, "by": "i000"}})


def _peak(task: Task, data: dict[str, Any]) -> Measured:
    import tensorflow as tf

    from trainer.config import Config
    from trainer.feed.pipeline.dataset import Feed
    from trainer.feed.statistics.prepare import prepare

    document = config_of(task.shape, task.folder, task.batch_size).model_dump(exclude_unset=True)
    document["data"] |= data
    prepared = prepare(Config.model_validate(document), cache=task.cache)
    # Start TensorFlow's threads and first kernels now: they are not the feed's memory.
    list(tf.data.Dataset.range(4).map(lambda x: x + 1).prefetch(2))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _peak_bytes()
    with Feed(prepared, "train", batch_size=task.batch_size, seed=0, shuffle=True) as feed:
        rows = 0
        for _, y, _ in feed.dataset().repeat().take(feed.steps * 3 // 2):
            rows += int(y.shape[0])
    return {"rows": float(rows), "bytes": float(_peak_bytes() - before)}


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def first_batch(task: Task) -> Measured:
    """Seconds from the configuration to the first batch, with cached statistics."""
    import tensorflow as tf

    from trainer.feed.pipeline.dataset import Feed
    from trainer.feed.statistics.prepare import prepare

    tf.constant(0)
    config = config_of(task.shape, task.folder, task.batch_size)
    started = time.perf_counter()
    prepared = prepare(config, cache=task.cache)
    opened = time.perf_counter()
    with Feed(prepared, "train", batch_size=task.batch_size, seed=0, shuffle=True) as feed:
        next(iter(feed.dataset()))
        seconds = time.perf_counter() - started
    return {"rows": float(task.batch_size), "seconds": seconds, "open_seconds": opened - started}


def statistics(task: Task) -> Measured:
    """Seconds of the statistics pass over a dataset without a cache."""
    from trainer.feed.statistics.prepare import prepare

    started = time.perf_counter()
    prepare(config_of(task.shape, task.folder, task.batch_size))
    return {"rows": float(task.shape.rows), "seconds": time.perf_counter() - started}


def fit(task: Task, *, in_memory: bool) -> Measured:
    """Runs `model.fit` from the feed, or on one epoch of its batches in memory, until the process is killed."""
    import keras
    import tensorflow as tf

    from trainer.feed.pipeline.dataset import Feed
    from trainer.feed.statistics.prepare import prepare
    from trainer.model.build import build
    from trainer.model.features import Features
    from trainer.model.trainable import compile_model

    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    keras.utils.set_random_seed(0)
    kind = {"builtin": "mlp", "hidden": _HIDDEN}
    config = config_of(task.shape, task.uri or task.folder, task.batch_size, model=kind)
    prepared = prepare(config, cache=task.cache)
    report = StepReporter(Path(task.progress_file))

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            nonlocal steps
            steps += 1
            report(steps, feed.wait_s)

    steps = 0
    with Feed(prepared, "train", batch_size=task.batch_size, seed=0, shuffle=True) as feed:
        dataset = feed.dataset()
        if in_memory:
            batches = [tf.nest.map_structure(tf.identity, batch) for batch in dataset]
            stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)
            del batches
            feed.close()
            dataset = tf.data.Dataset.from_tensor_slices(stacked)
        features = Features(prepared.layout, config, prepared.statistics["train"])
        model = compile_model(build(features, config), config, feed.steps)
        model.fit(dataset.repeat(), epochs=1_000_000, steps_per_epoch=feed.steps, verbose=0, callbacks=[Clock()])
    return {}


PROBES: dict[str, Callable[[Task], Measured]] = {
    "memory": memory,
    "large_group": large_group,
    "first_batch": first_batch,
    "statistics": statistics,
    "fit_stream": partial(fit, in_memory=False),
    "fit_memory": partial(fit, in_memory=True),
}
