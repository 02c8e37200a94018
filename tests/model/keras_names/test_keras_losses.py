"""Every loss of Keras, by its name in the job file: as plain Keras on one device."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.keras_names.keras_oracle import CLOSE, REPLICAS, ours, plain
from trainer.config import keras_names

#: Losses that compare classes stand with multiclass, those of counts and sizes with regression.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "BinaryCrossentropy": ("binary", {"label_smoothing": 0.1}),
    "BinaryFocalCrossentropy": ("binary", {"gamma": 2.0, "apply_class_balancing": True}),
    "CategoricalCrossentropy": ("multiclass", {"label_smoothing": 0.1}),
    "CategoricalFocalCrossentropy": ("multiclass", {"gamma": 1.5}),
    "CategoricalGeneralizedCrossEntropy": ("multiclass", {"q": 0.7}),
    "CategoricalHinge": ("multiclass", {}),
    "Circle": ("multiclass", {"gamma": 2.0}),
    "CosineSimilarity": ("multiclass", {}),
    "Dice": ("binary", {}),
    "Hinge": ("binary", {}),
    "Huber": ("regression", {"delta": 0.3}),
    "KLDivergence": ("multiclass", {}),
    "LogCosh": ("regression", {}),
    "MeanAbsoluteError": ("regression", {}),
    "MeanAbsolutePercentageError": ("regression", {}),
    "MeanSquaredError": ("regression", {}),
    "MeanSquaredLogarithmicError": ("regression", {}),
    "Poisson": ("regression", {}),
    "SparseCategoricalCrossentropy": ("multiclass", {}),
    "SquaredHinge": ("binary", {}),
    "Tversky": ("multiclass", {"alpha": 0.3}),
}


@cache
def expected_of_loss(name: str, reduction: str) -> tuple[list[float], list[np.ndarray]]:
    task, arguments = LOSSES[name]
    model = plain(task, loss=getattr(keras.losses, name)(**arguments, reduction=reduction))
    return model.history.history["loss"], model.get_weights()


def assert_loss_is_kerass(name: str, replicas: int, reduction: str = "sum_over_batch_size") -> None:
    task, arguments = LOSSES[name]
    losses, weights = expected_of_loss(name, reduction)
    trained = ours(task, {"loss": {"name": name, **arguments, "reduction": reduction}, "metrics": []}, replicas)
    np.testing.assert_allclose(trained.history.history["loss"], losses, **CLOSE)
    for a, b in zip(trained.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("name", keras_names.table()["losses"])
def test_a_loss_of_keras_is_that_of_plain_keras_on_one_device(name, replicas):
    assert_loss_is_kerass(name, replicas)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_a_loss_is_reduced_as_keras_reduces_it(reduction, replicas):
    assert_loss_is_kerass("BinaryFocalCrossentropy", replicas, reduction)


@pytest.mark.parametrize("replicas", [1, 4])
def test_rows_of_a_class_that_is_ignored_do_not_count(replicas):
    loss = {"ignore_class": 2}
    expected = plain("multiclass", loss=keras.losses.SparseCategoricalCrossentropy(**loss))
    found = ours("multiclass", {"loss": {"name": "SparseCategoricalCrossentropy", **loss}, "metrics": []}, replicas)
    np.testing.assert_allclose(found.history.history["loss"], expected.history.history["loss"], **CLOSE)
