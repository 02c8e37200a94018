"""Counts, quantiles and several classes a row: as plain Keras on one device.

The last batch is padded, rows have weights, and 1, 2 and 4 replicas share a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.model.packed_sets import batches, make_config
from trainer import metrics
from trainer.model.objective.label_scale import predicted
from trainer.model.strategy import make_strategy
from trainer.model.trainable import Trainable, compile_model
from trainer.schema import LabelField

ROWS, BATCH = 41, 16
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
RNG = np.random.default_rng(11)
X = RNG.normal(size=(ROWS, 5)).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2.0, ROWS).astype("float32")
LEVELS = (0.1, 0.5, 0.8)
COUNT = LabelField("y", "", "count", transform="log", mean=1.2)
QUANTILE = LabelField("y", "", "quantile", transform="standard", mean=3.0, deviation=2.0, quantiles=LEVELS)
MULTILABEL = LabelField("y", "", "multilabel", classes=("a", "b", "c"))
COUNTS = RNG.poisson(3.0, ROWS).astype("float32")
NUMBERS = RNG.normal(3.0, 2.0, ROWS).astype("float32")
TAGS = (RNG.random((ROWS, 3)) < [0.2, 0.5, 0.7]).astype("float32")


def network(units: int, last: Callable[[Any], Any] = lambda z: z) -> keras.Model:
    inputs = keras.Input((5,), name="numbers")
    layer = keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    return keras.Model({"numbers": inputs}, last(layer(inputs)))


def ours(
    label: LabelField, y: np.ndarray, replicas: int, last: Any = lambda z: z, **fit: Any
) -> tuple[Trainable, dict[str, float]]:
    """Trained for two epochs by the job file's words, and the metrics of a second pass."""
    config = make_config(label.task, fit={"optimizer": {"name": "sgd", "learning_rate": 0.05}, **fit})
    with make_strategy(f"cpu:{replicas}").scope():
        model = compile_model(network(label.outputs, last), config, steps_total=6, labels=(label,))
    data = batches({"numbers": X}, y, BATCH, WEIGHTS)
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    return model, model.evaluate(data, verbose=0, return_dict=True)


def plain(model: keras.Model, loss: Any, y: np.ndarray) -> keras.Model:
    """Keras's own `fit` on one device, on batches that are not padded."""
    model.compile(keras.optimizers.SGD(0.05), loss)
    model.fit({"numbers": X}, y, BATCH, 2, sample_weight=WEIGHTS, shuffle=False, verbose=0)
    return model


def assert_same_training(found: Trainable, oracle: keras.Model, unit: float = 1.0) -> None:
    np.testing.assert_allclose(
        found.history.history["loss"], np.multiply(oracle.history.history["loss"], unit), **CLOSE
    )
    for a, b in zip(found.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_counts_are_trained_by_the_poisson_loss_of_plain_keras(replicas):
    oracle = plain(network(1, lambda z: ops.exp(z + 1.2)), keras.losses.Poisson(), COUNTS[:, None])
    found, logs = ours(COUNT, COUNTS, replicas)
    assert_same_training(found, oracle)
    expected = metrics.values("count", COUNTS, oracle({"numbers": X}).numpy(), ("deviance", "mae", "rmse"))
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def pinball_in_words(y: Any, z: Any) -> Any:
    """What lies above a quantile costs its level, what lies below costs the rest; rows [B], the mean over quantiles."""
    z = ops.sort(z, axis=-1)
    costs = [
        level * ops.relu(y[:, 0] - z[:, i]) + (1 - level) * ops.relu(z[:, i] - y[:, 0])
        for i, level in enumerate(LEVELS)
    ]
    return sum(costs) / len(LEVELS)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_quantiles_are_trained_by_a_pinball_loss_of_plain_keras(replicas):
    oracle = plain(network(3), pinball_in_words, ((NUMBERS - 3.0) / 2.0)[:, None])
    found, logs = ours(QUANTILE, NUMBERS, replicas)
    assert_same_training(found, oracle, unit=2.0)
    p = np.sort(oracle({"numbers": X}).numpy(), axis=1) * 2.0 + 3.0
    below = [
        np.maximum(level * (NUMBERS - p[:, i]), (level - 1) * (NUMBERS - p[:, i])) for i, level in enumerate(LEVELS)
    ]
    assert logs["pinball"] == pytest.approx(np.mean(below), rel=1e-6)
    assert logs["coverage"] == pytest.approx(np.mean((p[:, 0] <= NUMBERS) & (p[:, 2] >= NUMBERS)))


def test_no_quantile_crosses_another():
    z = np.array([[3.0, -1.0, 2.0]], "float32")
    np.testing.assert_allclose(predicted(QUANTILE, z), [[1.0, 7.0, 9.0]])


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_several_classes_a_row_are_trained_by_the_log_loss_of_plain_keras(replicas):
    watched = ["auc", "accuracy", "exact_match", {"name": "F1Score", "average": "macro", "threshold": 0.5}, "Precision"]
    oracle = plain(network(3, ops.sigmoid), keras.losses.BinaryCrossentropy(), TAGS)
    found, logs = ours(MULTILABEL, TAGS, replicas, last=ops.sigmoid, metrics=watched)
    assert_same_training(found, oracle)
    p = oracle({"numbers": X}).numpy()
    expected = metrics.values("multilabel", TAGS, p, ("accuracy", "exact_match"))
    for metric in (keras.metrics.F1Score(average="macro", threshold=0.5), keras.metrics.Precision()):
        metric.update_state(TAGS, p)
        expected[metric.name] = float(metric.result())
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert logs["auc"] == pytest.approx(metrics.values("multilabel", TAGS, p, ("auc",))["auc"], abs=2e-3)


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_loss_of_keras_takes_several_classes_a_row(replicas):
    loss = {"name": "BinaryFocalCrossentropy", "gamma": 1.5}
    oracle = plain(network(3, ops.sigmoid), keras.losses.BinaryFocalCrossentropy(gamma=1.5), TAGS)
    assert_same_training(ours(MULTILABEL, TAGS, replicas, last=ops.sigmoid, loss=loss)[0], oracle)
