"""The strategy of several workers: what Keras cannot do with TensorFlow's own, and our stand-in for it."""

import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer

from trainer.model.strategy import make_strategy
from trainer.model.workers import local_replicas, mean_of_logs, several_workers


def test_keras_still_cannot_reduce_the_logs_of_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """keras#20585. On the day this fails, `trainer.model.workers` may use MultiWorkerMirroredStrategy itself."""
    strategy = make_strategy("cpu:2")
    logs = strategy.run(lambda: {"loss": tf.constant(1.0)})
    assert float(keras_trainer.reduce_per_replica(logs, strategy, "auto")["loss"]) == 1.0
    monkeypatch.setattr(keras_trainer, "_collective_all_reduce_multi_worker", lambda _: True)
    with pytest.raises(ValueError, match="Invalid reduction dimension 0"):
        keras_trainer.reduce_per_replica(logs, strategy, "auto")


def test_with_one_worker_logs_are_left_to_keras() -> None:
    strategy = make_strategy("cpu:2")
    assert not several_workers(strategy)
    assert local_replicas(strategy) == 2
    loss = tf.constant(1.0)
    with strategy.scope():
        assert mean_of_logs({"loss": loss})["loss"] is loss
