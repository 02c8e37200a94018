"""What is minimised and what is reported: the loss and the metrics of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from trainer.config import Config
from trainer.errors import ConfigError

# Thresholds of the area metrics. Keras's 200 are off by up to 1e-2 where most predictions lie close together.
_THRESHOLDS = 4001
_DEFAULTS = {"binary": ["auc", "pr_auc", "accuracy"], "multiclass": ["accuracy"], "regression": ["mae", "rmse", "r2"]}


class _Float64Sums(keras.metrics.Metric):  # type: ignore[misc]  # Keras has no types
    """Keras (3.15) keeps some metrics' sums in float32 whatever their dtype; this one follows the dtype."""

    def add_variable(self, shape: Any, initializer: Any, dtype: Any = None, **options: Any) -> Any:
        return super().add_variable(shape, initializer, dtype=dtype or self.dtype, **options)


class _AUC(_Float64Sums, keras.metrics.AUC):  # type: ignore[misc]
    """Keras's area, and NaN where all rows are of one class: Keras (3.15) says 0 there."""

    def result(self) -> Any:
        positives = self.true_positives[0] + self.false_negatives[0]
        negatives = self.false_positives[0] + self.true_negatives[0]
        return ops.where(ops.minimum(positives, negatives) > 0, super().result(), float("nan"))


class _Precision(_Float64Sums, keras.metrics.Precision):  # type: ignore[misc]
    pass


class _Recall(_Float64Sums, keras.metrics.Recall):  # type: ignore[misc]
    pass


class _R2(_Float64Sums, keras.metrics.R2Score):  # type: ignore[misc]
    pass


# float64: a float32 sum stops counting single rows at 16.7 million, and r2 subtracts two large sums.
_METRICS: dict[str, dict[str, Callable[[], keras.metrics.Metric]]] = {
    "binary": {
        "auc": lambda: _AUC(num_thresholds=_THRESHOLDS, name="auc", dtype="float64"),
        "pr_auc": lambda: _AUC(num_thresholds=_THRESHOLDS, curve="PR", name="pr_auc", dtype="float64"),
        "accuracy": lambda: keras.metrics.BinaryAccuracy(name="accuracy", dtype="float64"),
        "precision": lambda: _Precision(name="precision", dtype="float64"),
        "recall": lambda: _Recall(name="recall", dtype="float64"),
    },
    "multiclass": {
        "accuracy": lambda: keras.metrics.SparseCategoricalAccuracy(name="accuracy", dtype="float64"),
        "top5": lambda: keras.metrics.SparseTopKCategoricalAccuracy(k=5, name="top5", dtype="float64"),
    },
    "regression": {
        "mae": lambda: keras.metrics.MeanAbsoluteError(name="mae", dtype="float64"),
        "rmse": lambda: keras.metrics.RootMeanSquaredError(name="rmse", dtype="float64"),
        "r2": lambda: _R2(name="r2", dtype="float64"),
    },
}


def make_loss(config: Config) -> keras.losses.Loss:
    """The job's loss, averaged over the rows of a batch."""
    if config.task == "binary":
        return keras.losses.BinaryCrossentropy()
    if config.task == "multiclass":
        return keras.losses.SparseCategoricalCrossentropy()
    losses = {"mae": keras.losses.MeanAbsoluteError, "huber": keras.losses.Huber}
    return losses.get(config.fit.loss, keras.losses.MeanSquaredError)()


def make_metrics(config: Config) -> list[keras.metrics.Metric]:
    """The job's metrics, by the names they have in logs.

    Raises:
        ConfigError: A metric that does not go with the task.
    """
    known = _METRICS[config.task]
    wanted = _DEFAULTS[config.task] if config.fit.metrics is None else config.fit.metrics
    if strange := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"{', '.join(strange)} cannot be measured on a {config.task} task",
            where="run.fit.metrics",
            remedy=f"Take some of {', '.join(known)}.",
        )
    return [known[name]() for name in dict.fromkeys(wanted)]
