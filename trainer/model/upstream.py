"""Repairs of faults in Keras. A test beside each fails on the day upstream has fixed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class BuildsOnce(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model whose `fit` and `evaluate` draw no batch to build what is built already.

    `Trainer._maybe_symbolic_build` (Keras 3.15) takes a batch from the data and throws it away whenever
    the model was made in the scope of a strategy. On a feed that is a window of rows decoded for nothing.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self.compiled and self._is_built():
            return
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _is_built(self) -> bool:
        return all(layer.built for layer in self._flatten_layers()) and self.optimizer.built


def mean_over_replicas(gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[tf.Tensor | None]:
    """Each gradient's mean over the replicas, the same on every one of them.

    Keras (3.15) clips a replica's own gradient and sums afterwards, so what is clipped depends on how
    many replicas there are. With the mean on every replica and a clip divided by the number of replicas,
    that sum is the clipped sum: clip(mean, c / R) * R = clip(sum, c). An embedding's gradient comes as
    slices, one for each time a code occurs, and Keras clips those one by one: so they are added up first.
    """
    replica = tf.distribute.get_replica_context()
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
    means = iter(replica.all_reduce(tf.distribute.ReduceOp.MEAN, dense))
    return [None if gradient is None else next(means) for gradient in gradients]
