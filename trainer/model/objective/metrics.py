"""The metrics of a job, exact for padded batches and any number of replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from trainer.config import Config, WatchedMetric, metrics_of
from trainer.errors import ConfigError
from trainer.model.objective.keras_inputs import Inputs, arguments_of, inputs_of
from trainer.model.objective.losses import refused
from trainer.schema import LabelField

# Thresholds of the area metrics. Keras's 200 are off by up to 1e-2 where most predictions lie close together.
_THRESHOLDS = 4001


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


class _OfKeras(_Float64Sums):
    """A metric of Keras that is given labels and predictions as it takes them, and answers with one number."""

    inputs: Inputs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().update_state(*self.inputs(y_true, y_pred), sample_weight=sample_weight)

    def result(self) -> Any:
        value = super().result()
        return ops.squeeze(value) if tuple(value.shape) == (1,) else value


def make_metrics(config: Config, label: LabelField) -> list[keras.metrics.Metric]:
    """The job's metrics, by the names they have in logs.

    Raises:
        ConfigError: Keras refuses an argument.
    """
    short = _METRICS[config.task]
    wanted = metrics_of(config.task, config.fit.metrics)
    return [short[metric.name]() if metric.is_short else _of_keras(metric, label) for metric in wanted]


def _of_keras(wanted: WatchedMetric, label: LabelField) -> keras.metrics.Metric:
    arguments = arguments_of(label, wanted.name, wanted.arguments)
    arguments.pop("as", None)
    kind = type(wanted.name, (_OfKeras, getattr(keras.metrics, wanted.name)), {})
    try:
        metric = kind(**arguments, name=wanted.log_name, dtype="float64")
    except (TypeError, ValueError) as error:
        raise refused(wanted.name, "run.fit.metrics", error) from error
    metric.inputs = inputs_of(label, wanted.name, arguments)
    return metric


def check_one_number(metrics: list[keras.metrics.Metric]) -> None:
    """Raises ConfigError where a metric, which has seen a batch's shapes, answers with several numbers."""
    for metric in metrics:
        if shape := tuple(ops.shape(metric.result())):
            raise ConfigError(
                f"{metric.name} answers with {shape[0]} numbers; a metric is one number",
                where="run.fit.metrics",
                remedy="set the argument that averages them (average, class_aggregation)",
            )
