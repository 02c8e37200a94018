"""Measures how long a consumer waits for batches, inside the pipeline, at a few microseconds a batch.

tf.data's own latency statistics do it in native code. A clock in the graph cost 180 µs a batch, and under
determinism, where that operation is forbidden, a call into Python and its lock.
"""

from __future__ import annotations

import itertools

import tensorflow as tf

_TAG = "wait"
_numbers = itertools.count()


class Stopwatch:
    """Sums the time that `next` takes on the datasets that it times."""

    def __init__(self) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._aggregator = tf.raw_ops.StatsAggregatorHandle(shared_name=f"kfit_wait_{next(_numbers)}")

    def timed(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the same batches, timed."""
        spec = dataset.element_spec
        flat = tf.nest.flatten(spec)
        types, shapes = [s.dtype for s in flat], [s.shape for s in flat]
        with tf.device("CPU:0"):
            asked = tf.raw_ops.LatencyStatsDataset(
                input_dataset=tf.data.experimental.to_variant(dataset), tag=_TAG, output_types=types,
                output_shapes=shapes,
            )  # fmt: skip
            added = tf.raw_ops.SetStatsAggregatorDataset(
                input_dataset=asked, stats_aggregator=self._aggregator, tag="", counter_prefix="", output_types=types,
                output_shapes=shapes,
            )  # fmt: skip
        timed = tf.data.experimental.from_variant(added, spec)
        # A dataset made of a variant does not refer to its inputs, and the generator behind them would be freed.
        timed.kept_alive = dataset
        return timed

    def read(self) -> float:
        """Returns the seconds so far."""
        with tf.device("CPU:0"):
            summary = tf.compat.v1.Summary.FromString(
                tf.raw_ops.StatsAggregatorSummary(iterator=self._aggregator).numpy()
            )
        return float(sum(v.histo.sum for v in summary.value if v.tag.endswith(_TAG))) / 1e6
