"""The loss of a job, exact for padded batches and any number of replicas.

Keras averages over the rows of a replica's share of a batch. Here the last batch of an epoch holds rows that are
padding, so a loss is taken row by row and reduced in one place, `RunLoss`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import Config, OwnCode, Target
from trainer.errors import ConfigError, ModelCodeError
from trainer.model import own_code
from trainer.model.objective.compiled import NOTHING, Compiled
from trainer.model.objective.keras_inputs import Inputs, arguments_of, inputs_of, inputs_of_object, inputs_of_own
from trainer.model.objective.label_scale import from_learnt, in_order, loss_unit, to_learnt
from trainer.schema import LabelField, LabelPlace

_SHORT = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
}
_BY_TASK = {
    "binary": keras.losses.BinaryCrossentropy,
    "multilabel": keras.losses.BinaryCrossentropy,
    "multiclass": keras.losses.SparseCategoricalCrossentropy,
    "regression": keras.losses.MeanSquaredError,
}


class RunLoss:
    """The loss of one replica's share of a batch; the sum over all replicas is the loss of the batch.

    Args:
        keras_loss: The loss. One without a value for each row, such as Dice over the whole batch, is taken of all
            replicas' rows together.
        inputs: Labels [B, 1] and what the model returns -> both as the loss takes them.
        unit: What the loss is multiplied by to be reported.
        compares_rows: Whether a row's value depends on the other rows.
    """

    def __init__(
        self, keras_loss: keras.losses.Loss, inputs: Inputs, unit: float = 1.0, compares_rows: bool = False
    ) -> None:
        self.keras_loss, self.unit = keras_loss, unit
        self._inputs, self._compares_rows, self._reduction = inputs, compares_rows, keras_loss.reduction

    def __call__(self, y: Any, y_pred: Any, w: Any) -> Any:
        """The loss, a float32 scalar.

        Args:
            y: Labels [B, 1].
            y_pred: What the model returns, [B, outputs].
            w: [B, 2], see `trainer.schema`: the rows' weights and the batch's fill.
        """
        y, y_pred = self._inputs(y, y_pred)
        if not self._compares_rows:
            values = self._values(y, y_pred)
            if len(values.shape):
                return self._reduced(values, w)
        return self._of_whole_batch(y, y_pred, w)

    def _values(self, y: Any, y_pred: Any) -> Any:
        """What the loss gives before it is reduced: [B], [B, …], or a scalar."""
        # Not on a copy: Keras copies by serializing, which an own class may not bear.
        self.keras_loss.reduction = "none"
        try:
            return self.keras_loss(y, y_pred)
        finally:
            self.keras_loss.reduction = self._reduction

    def _reduced(self, values: Any, w: Any) -> Any:
        """Weighted values reduced as Keras does for the batch without its padding.

        A weight holds the factor B / real rows, so that a mean over B is one over the real rows; a sum takes it out.
        """
        weights = w[:, 0]
        total = ops.sum(_by_row(values) * weights)
        if self._reduction == "sum":
            return total * w[0, 1]
        if self._reduction == "mean_with_sample_weight":
            context = tf.distribute.get_replica_context()
            return ops.divide_no_nan(total, context.all_reduce(tf.distribute.ReduceOp.SUM, ops.sum(weights)))
        return total / ops.cast(ops.shape(w)[0] * _replicas(), "float32")

    def _of_whole_batch(self, y: Any, y_pred: Any, w: Any) -> Any:
        """What Keras makes of the rows of all replicas that are no padding; every replica takes its part of it."""
        context = tf.distribute.get_replica_context()
        together = [y, y_pred, w[:, 0] * w[0, 1]]
        if _replicas() > 1:
            together = [context.all_gather(part, axis=0) for part in together]
        y, y_pred, weights = (tf.boolean_mask(part, together[-1] > 0) for part in together)
        loss = self.keras_loss(y, y_pred, sample_weight=weights)
        # Keras has divided a mean by the number of replicas, and nothing else.
        return ops.cast(loss / _replicas() if self._reduction == "sum" else loss, "float32")


def _replicas() -> int:
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def _by_row(values: Any) -> Any:
    """[B, …] -> [B], float32: Keras's mean over a batch is over all elements."""
    values = ops.cast(values, "float32")
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values


class LabelLoss:
    """The loss of one label: its rows' part of all labels and predictions, its classes' weights, its share of the sum.

    Args:
        place: Where the label stands.
        loss: Its loss.
        weight: Factor in the sum.
        class_weight: Class index -> factor of the row's weight in training, where there are several labels: where
            there is one, the feed has multiplied the rows' weights by them.
    """

    def __init__(
        self, place: LabelPlace, loss: RunLoss, weight: float = 1.0, class_weight: Mapping[int, float] | None = None
    ) -> None:
        self.place, self.loss, self.weight = place, loss, weight
        if class_weight and place.prefix:
            self._factors = [class_weight.get(i, 1.0) for i in range(max(class_weight) + 1)]
        else:
            self._factors = []

    def __call__(self, y: Any, y_pred: Any, w: Any, *, training: bool) -> Any:
        """The loss of one replica's share of a batch; see `RunLoss`."""
        place = self.place
        y = as_column(place.labels(y))
        if place.label.task == "multiclass":
            y = ops.cast(y, "int32")
        if self._factors and training:
            factors = ops.take(ops.convert_to_tensor(self._factors, "float32"), ops.cast(y[:, 0], "int32"))
            w = ops.stack([w[:, 0] * factors, w[:, 1]], axis=1)
        return self.loss(y, place.predictions(y_pred), w)


def as_column(y: Any) -> Any:
    """[B] -> [B, 1], the shape of what the model returns."""
    return ops.expand_dims(y, -1) if len(y.shape) == 1 else y


def make_loss(config: Config, target: Target, label: LabelField, compiled: Compiled = NOTHING) -> RunLoss:
    """The loss of a label: the one that the model is compiled with, else the one of the job file.

    Raises:
        ConfigError: Keras refuses an argument, or the loss cannot be compiled by XLA.
        ModelCodeError: The job's own loss does not import, raises, or is none.
    """
    spec, where = target.loss, f"run.{target.fit_key}.loss"
    compares_rows = False
    if compiled.loss is not None:
        loss, inputs = compiled.loss, inputs_of_object(label, compiled.loss)
        if not isinstance(loss, keras.losses.Loss):
            loss = _FunctionLoss(loss, getattr(loss, "__name__", "loss"), "run.model.entrypoint")
    elif isinstance(spec, OwnCode):
        loss, inputs = _own_loss(spec, where), inputs_of_own(label)
    elif spec.is_short:
        return _short_loss(label, spec.name)
    else:
        compares_rows = spec.name == "Circle" or spec.arguments.get("ignore_class") is not None
        sums_rows = spec.name in ("Dice", "Tversky") and spec.arguments.get("axis") is None
        if (compares_rows or sums_rows) and config.fit.jit_compile:
            raise ConfigError(
                f"{spec.name} compares the rows of a batch, and XLA cannot leave out those that are padding",
                where=where,
                remedy="leave jit_compile out" + (", or set axis: -1" if sums_rows else ""),
            )
        options = {**arguments_of(label, spec.name, spec.arguments), "dtype": "float64" if label.offset else None}
        loss = construct(getattr(keras.losses, spec.name), options, where)
        inputs = inputs_of(label, spec.name, spec.arguments)
    return RunLoss(loss, lambda y, z: inputs(y, from_learnt(label, z)), compares_rows=compares_rows)


def _short_loss(label: LabelField, name: str) -> RunLoss:
    """The loss of a short name, such as `auto` or `mae`: on the learnt scale, that of counts on their own."""
    if label.task == "count":
        return RunLoss(keras.losses.Poisson(), lambda y, z: (y, from_learnt(label, z)))
    if label.quantiles:
        loss = _FunctionLoss(functools.partial(pinball, label.quantiles), "pinball", "run.fit.loss")
    else:
        loss = _SHORT.get(name, _BY_TASK[label.task])()
    return RunLoss(loss, lambda y, z: (to_learnt(label, y), in_order(label, z)), loss_unit(label, name))


def pinball(quantiles: Sequence[float], y: Any, p: Any) -> Any:
    """Pinball loss of each row, the mean over quantiles (Koenker and Bassett 1978, "Regression Quantiles").

    Labels [B, 1] and predictions [B, quantiles] -> [B].
    """
    error = y - p
    levels = ops.convert_to_tensor(quantiles, error.dtype)
    return ops.mean(ops.maximum(levels * error, (levels - 1) * error), axis=-1)


def _own_loss(spec: OwnCode, where: str) -> keras.losses.Loss:
    function = own_code.load(spec.entrypoint, where, "y_true, y_pred")
    if isinstance(function, type):
        loss = own_code.make(spec.entrypoint, spec.args, where, keras.losses.Loss)
        own_code.check_takes(loss.call, f"{spec.entrypoint}.call", where, "y_true", "y_pred")
        return loss
    return _FunctionLoss(functools.partial(function, **spec.args), spec.entrypoint, where)


class _FunctionLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A function of labels and predictions as a loss."""

    def __init__(self, function: Callable[[Any, Any], Any], entrypoint: str, where: str) -> None:
        super().__init__(name=entrypoint.rpartition(":")[2])
        own_code.check_takes(function, entrypoint, where, "y_true", "y_pred")
        self._function, self._entrypoint, self._where = function, entrypoint, where

    def call(self, y_true: Any, y_pred: Any) -> Any:
        values = self._function(y_true, y_pred)
        if not hasattr(values, "shape"):
            raise ModelCodeError(
                f"{self._entrypoint} returned {own_code.describe(values)}, not a tensor",
                where=self._where,
                remedy="return a value for each row, [batch], or one for the batch",
            )
        if getattr(values.shape, "rank", True) and len(values.shape):  # what numpy computed has no known rank
            own_code.check_rows(values, y_true, self._entrypoint, self._where)
        return values


def construct(kind: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Makes an object of a Keras class.

    Raises:
        ConfigError: Keras refuses an argument.
    """
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        message = f"{kind.__name__}: {str(error).strip()}"
        raise ConfigError(message, where=where, remedy="docs/job-file.md lists the arguments") from error
