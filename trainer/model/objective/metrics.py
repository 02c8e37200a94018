"""The metrics of a job, exact for padded batches and any number of replicas."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import OwnCode, Target, WatchedMetric, direction, metrics_of
from trainer.errors import ConfigError
from trainer.model import own_code
from trainer.model.objective.compiled import NOTHING, Compiled
from trainer.model.objective.keras_inputs import Inputs, arguments_of, inputs_of, inputs_of_object, inputs_of_own
from trainer.model.objective.losses import as_column, construct, pinball
from trainer.schema import LabelField, LabelPlace

# Thresholds of the area metrics. Keras's 200 are off by up to 1e-2 where most predictions lie close together.
_THRESHOLDS = 4001
#: Keras's, of its Poisson loss.
_LEAST_COUNT = 1e-7
#: Of the areas of many classes, each of which keeps four counts for every threshold.
_THRESHOLDS_BY_CLASS = 1001
#: Metrics of Keras that count elements: of several classes a row they take weights [B, 1], where others take [B].
_BY_ELEMENT = re.compile(r"AUC|Precision|Recall|True|False|Sensitivity|Specificity")


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


def _with_float64_sums(kind: type) -> type:
    return type(kind.__name__, (_Float64Sums, kind), {})


# float64: a float32 sum stops counting single rows at 16.7 million, and r2 subtracts two large sums.
_METRICS: dict[str, dict[str, Callable[[LabelField], keras.metrics.Metric]]] = {
    "binary": {
        "auc": lambda _: _AUC(num_thresholds=_THRESHOLDS, name="auc", dtype="float64"),
        "pr_auc": lambda _: _AUC(num_thresholds=_THRESHOLDS, curve="PR", name="pr_auc", dtype="float64"),
        "accuracy": lambda _: keras.metrics.BinaryAccuracy(name="accuracy", dtype="float64"),
        "precision": lambda _: _with_float64_sums(keras.metrics.Precision)(name="precision", dtype="float64"),
        "recall": lambda _: _with_float64_sums(keras.metrics.Recall)(name="recall", dtype="float64"),
    },
    "multiclass": {
        "accuracy": lambda _: keras.metrics.SparseCategoricalAccuracy(name="accuracy", dtype="float64"),
        "top5": lambda _: keras.metrics.SparseTopKCategoricalAccuracy(k=5, name="top5", dtype="float64"),
    },
    "multilabel": {
        "auc": lambda label: _by_element(_with_float64_sums(keras.metrics.AUC))(
            num_thresholds=_THRESHOLDS_BY_CLASS, multi_label=True, num_labels=label.outputs, name="auc", dtype="float64"
        ),
        "accuracy": lambda _: keras.metrics.BinaryAccuracy(name="accuracy", dtype="float64"),
        "exact_match": lambda _: _mean_of_rows(_is_exact, "exact_match"),
    },
    "regression": {
        "mae": lambda _: keras.metrics.MeanAbsoluteError(name="mae", dtype="float64"),
        "rmse": lambda _: keras.metrics.RootMeanSquaredError(name="rmse", dtype="float64"),
        "r2": lambda _: _with_float64_sums(keras.metrics.R2Score)(name="r2", dtype="float64"),
    },
    "count": {
        "deviance": lambda _: _mean_of_rows(_deviance, "deviance"),
        "mae": lambda _: keras.metrics.MeanAbsoluteError(name="mae", dtype="float64"),
        "rmse": lambda _: keras.metrics.RootMeanSquaredError(name="rmse", dtype="float64"),
    },
    "quantile": {
        "pinball": lambda label: _mean_of_rows(functools.partial(pinball, label.quantiles), "pinball"),
        "coverage": lambda _: _mean_of_rows(_is_covered, "coverage"),
    },
}


def _mean_of_rows(function: Callable[[Any, Any], Any], name: str) -> keras.metrics.Metric:
    """A metric of labels [B, 1] and predictions [B, outputs], both in float64: the mean of `function`, [B]."""
    in_float64 = lambda y, p: function(ops.cast(y, "float64"), ops.cast(p, "float64"))  # noqa: E731
    return keras.metrics.MeanMetricWrapper(in_float64, name=name, dtype="float64")


def _deviance(y: Any, p: Any) -> Any:
    """Poisson's deviance of each row; see `trainer.metrics`."""
    p = p + _LEAST_COUNT
    return 2 * ops.squeeze(ops.where(y > 0, y * ops.log(ops.maximum(y, _LEAST_COUNT) / p), 0.0) - y + p, -1)


def _is_exact(y: Any, p: Any) -> Any:
    """Whether all classes of a row are right: 1 or 0 of each row."""
    return ops.cast(ops.all(ops.equal(p > 0.5, y > 0.5), axis=-1), "float64")


def _by_element(kind: type) -> type:
    """A class of metrics that count elements, given a weight a row."""

    def update_state(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        weights = None if sample_weight is None else ops.expand_dims(sample_weight, -1)
        return kind.update_state(self, y_true, y_pred, sample_weight=weights)  # type: ignore[attr-defined]

    return type(kind.__name__, (kind,), {"update_state": update_state})


def _is_covered(y: Any, p: Any) -> Any:
    """Whether a label lies between the lowest and the highest quantile: 1 or 0 of each row."""
    return ops.cast(ops.logical_and(y[:, 0] >= p[:, 0], y[:, 0] <= p[:, -1]), "float64")


class _OfKeras(_Float64Sums):
    """A metric of Keras that is given labels and predictions as it takes them, and answers with one number."""

    inputs: Inputs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().update_state(*self.inputs(y_true, y_pred), sample_weight=sample_weight)

    def result(self) -> Any:
        value = super().result()
        return ops.squeeze(value) if tuple(value.shape) == (1,) else value


def make_metrics(
    targets: Sequence[Target], places: Sequence[LabelPlace], compiled: Compiled = NOTHING
) -> list[keras.metrics.Metric]:
    """The metrics of each label, by the names they have in logs: those that the model is compiled with, or the job's.

    Raises:
        ConfigError: Keras refuses an argument, or two have one name.
        ModelCodeError: A metric of the job's own does not import, raises, or is none.
    """
    made: list[keras.metrics.Metric] = []
    for target, place in zip(targets, places, strict=True):
        for metric in _of_label(target, place.label, compiled):
            if place.prefix:
                _takes_part(metric, place)
                metric.name = place.prefix + metric.name
            made.append(metric)
    _check_names([metric.name for metric in made])
    return made


def _of_label(target: Target, label: LabelField, compiled: Compiled) -> list[keras.metrics.Metric]:
    short = _METRICS[label.task]
    if compiled.metrics is not None:
        return [short["accuracy"](label) if isinstance(one, str) else _object(one, label) for one in compiled.metrics]
    where = f"run.{target.fit_key}.metrics"
    return [
        _own(metric, label, f"{where}[{index}]")
        if isinstance(metric, OwnCode)
        else short[metric.name](label)
        if metric.is_short
        else _of_keras(metric, label, where)
        for index, metric in enumerate(metrics_of(label.task, target.metrics))
    ]


def _takes_part(metric: keras.metrics.Metric, place: LabelPlace) -> None:
    """Gives a metric its label's part of all labels and predictions.

    Some make their variables at the first batch, in a scope of the metric's name: TensorFlow takes no label there that
    has blanks or accents, so they are made under the name that the metric has here.
    """
    update, add_variable, own_name = metric.update_state, metric.add_variable, metric.name

    def make_variable(*args: Any, **options: Any) -> Any:
        shown, metric.name = metric.name, own_name
        try:
            return add_variable(*args, **options)
        finally:
            metric.name = shown

    def update_state(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y = as_column(place.labels(y_true))
        y = ops.cast(y, "int32") if place.label.task == "multiclass" else y
        return update(y, place.predictions(y_pred), sample_weight=sample_weight)

    metric.update_state, metric.add_variable = update_state, make_variable


def directions(targets: Sequence[Target], metrics: list[keras.metrics.Metric]) -> dict[str, str]:
    """The names of a run's metrics in its logs, and in which direction each is better: min, max, or nobody knows."""
    known = {"up": "max", "down": "min"}
    asked = {
        one.prefix + metric.log_name: metric
        for one in targets
        for metric in metrics_of(one.task, one.metrics)
        if isinstance(metric, WatchedMetric)
    }
    by_name = {"loss": "min", **{f"{one.prefix}loss": "min" for one in targets}}
    for metric in metrics:
        named = direction(asked[metric.name]) if metric.name in asked else ""
        by_name[metric.name] = named or known.get(getattr(metric, "_direction", ""), "")
    return by_name


def _check_names(names: list[str]) -> None:
    """A metric of one's own has a name that only its object knows."""
    for name, count in Counter(names).items():
        if count > 1 or name in ("loss", "learning_rate") or name.startswith("val_"):
            raise ConfigError(
                f"the name {name!r} is taken",
                where="run.fit.metrics",
                remedy="give the metric another one: `as` of Keras's, `name` of your own",
            )


def _own(spec: OwnCode, label: LabelField, where: str) -> keras.metrics.Metric:
    function = own_code.load(spec.entrypoint, where, "y_true, y_pred")
    if isinstance(function, type):
        metric = own_code.make(spec.entrypoint, spec.args, where, keras.metrics.Metric)
        own_code.check_takes(metric.update_state, f"{spec.entrypoint}.update_state", where, "y_true", "y_pred")
    else:
        metric = _of_function(functools.partial(function, **spec.args), spec.entrypoint.partition(":")[2], where)
    return _adapted(metric, inputs_of_own(label))


def _object(one: Any, label: LabelField) -> keras.metrics.Metric:
    """A metric or a function that the model is compiled with."""
    is_metric = isinstance(one, keras.metrics.Metric)
    metric = one if is_metric else _of_function(one, one.__name__, "run.model.entrypoint")
    return _adapted(metric, inputs_of_object(label, one))


def _of_function(function: Callable[[Any, Any], Any], name: str, where: str) -> keras.metrics.Metric:
    return keras.metrics.MeanMetricWrapper(own_code.row_by_row(function, name, where), name=name, dtype="float64")


def _adapted(metric: keras.metrics.Metric, inputs: Inputs) -> keras.metrics.Metric:
    update = metric.update_state
    takes_weights = "sample_weight" in inspect.signature(update).parameters

    def update_state(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y, p = inputs(y_true, y_pred)
        if takes_weights or sample_weight is None:
            return update(y, p, **({} if sample_weight is None else {"sample_weight": sample_weight}))
        real = sample_weight > 0  # the others are padding
        return update(tf.boolean_mask(y, real), tf.boolean_mask(p, real))

    metric.update_state = update_state
    return metric


def _of_keras(spec: WatchedMetric, label: LabelField, where: str) -> keras.metrics.Metric:
    arguments = arguments_of(label, spec.name, spec.arguments)
    arguments.pop("as", None)
    base = getattr(keras.metrics, spec.name)
    base = _by_element(base) if label.task == "multilabel" and _BY_ELEMENT.search(spec.name) else base
    kind = type(spec.name, (_OfKeras, base), {})
    metric = construct(kind, {**arguments, "name": spec.log_name, "dtype": "float64"}, where)
    metric.inputs = inputs_of(label, spec.name, arguments)
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
