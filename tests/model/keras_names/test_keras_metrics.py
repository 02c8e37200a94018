"""Every metric of Keras, by its name in the job file: as plain Keras on one device."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.keras_names.keras_oracle import CLOSE, LABELS, REPLICAS, WEIGHTS, X, labels_for, ours
from trainer.config import keras_names
from trainer.model.objective.keras_inputs import arguments_of
from trainer.schema import LabelField

CLASSES = {"num_classes": 3}
METRICS: dict[str, tuple[str, dict[str, Any]]] = {
    "AUC": ("binary", {"curve": "PR", "num_thresholds": 57}),
    "Accuracy": ("multiclass", {}),
    "BinaryAccuracy": ("binary", {"threshold": 0.6}),
    "BinaryCrossentropy": ("binary", {}),
    "BinaryIoU": ("binary", {"threshold": 0.45}),
    "CategoricalAccuracy": ("multiclass", {}),
    "CategoricalCrossentropy": ("multiclass", {}),
    "CategoricalHinge": ("multiclass", {}),
    "ConcordanceCorrelation": ("multiclass", {}),
    "CosineSimilarity": ("multiclass", {}),
    "F1Score": ("binary", {"threshold": 0.5}),
    "FBetaScore": ("multiclass", {"average": "macro", "beta": 2.0}),
    "FalseNegatives": ("binary", {}),
    "FalsePositives": ("binary", {}),
    "Hinge": ("binary", {}),
    "IoU": ("multiclass", {**CLASSES, "target_class_ids": [1]}),
    "KLDivergence": ("multiclass", {}),
    "LogCoshError": ("regression", {}),
    "MeanAbsoluteError": ("regression", {}),
    "MeanAbsolutePercentageError": ("regression", {}),
    "MeanIoU": ("multiclass", CLASSES),
    "MeanSquaredError": ("regression", {}),
    "MeanSquaredLogarithmicError": ("regression", {}),
    "OneHotIoU": ("multiclass", {**CLASSES, "target_class_ids": [0, 2]}),
    "OneHotMeanIoU": ("multiclass", CLASSES),
    "PearsonCorrelation": ("multiclass", {}),
    "Poisson": ("regression", {}),
    "Precision": ("binary", {"thresholds": 0.4}),
    "PrecisionAtRecall": ("binary", {"recall": 0.6}),
    "R2Score": ("regression", {}),
    "Recall": ("binary", {"thresholds": 0.4}),
    "RecallAtPrecision": ("binary", {"precision": 0.5}),
    "RootMeanSquaredError": ("regression", {}),
    "SensitivityAtSpecificity": ("binary", {"specificity": 0.5}),
    "SparseCategoricalAccuracy": ("multiclass", {}),
    "SparseCategoricalCrossentropy": ("multiclass", {}),
    "SparseTopKCategoricalAccuracy": ("multiclass", {"k": 2}),
    "SpecificityAtSensitivity": ("binary", {"sensitivity": 0.5}),
    "SquaredHinge": ("binary", {}),
    "TopKCategoricalAccuracy": ("multiclass", {"k": 2}),
    "TrueNegatives": ("binary", {}),
    "TruePositives": ("binary", {}),
}


@cache
def logs_of_all_metrics(task: str, replicas: int) -> tuple[dict[str, float], np.ndarray]:
    metrics = [{"name": n, "as": f"own_{n}", **arguments} for n, (of, arguments) in METRICS.items() if of == task]
    model = ours(task, {"metrics": metrics}, replicas)
    return model.second_pass(), model({"numbers": X}).numpy()


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("name", keras_names.table()["metrics"])
def test_a_metric_of_keras_is_that_of_plain_keras_on_one_device(name, replicas):
    task, arguments = METRICS[name]
    logs, predictions = logs_of_all_metrics(task, replicas)
    label = LabelField("y", "", task)
    metric = getattr(keras.metrics, name)(**arguments_of(label, name, arguments))
    metric.update_state(labels_for(task, name), predictions)
    np.testing.assert_allclose(logs[f"own_{name}"], np.squeeze(metric.result()), **CLOSE)


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_regression_by_keras_sees_labels_in_their_own_units(replicas):
    """Learnt on another scale and stored minus an offset, as timestamps are."""
    label = LabelField("y", "", "regression", transform="standard", offset=1000.0, mean=1001.5, deviation=0.5)
    fit = {"loss": "MeanAbsolutePercentageError", "metrics": ["MeanAbsolutePercentageError", "MeanSquaredError"]}
    model = ours("regression", fit, replicas, label)
    p = model({"numbers": X}).numpy()[:, 0].astype("float64") * 0.5 + 1001.5
    y = LABELS["regression"].astype("float64") + 1000.0
    seen = model.second_pass()
    errors = 100 * np.abs(y - p) / y
    assert seen["mean_absolute_percentage_error"] == pytest.approx(errors.mean(), rel=1e-6)
    assert seen["mean_squared_error"] == pytest.approx(np.square(y - p).mean(), rel=1e-6)
    assert seen["loss"] == pytest.approx((errors * WEIGHTS).mean(), rel=1e-5)
