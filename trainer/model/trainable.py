"""The model `fit` is called on: exact losses and metrics for padded batches on any number of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import Config
from trainer.model.objective.compiled import NOTHING, Compiled, OwnStep
from trainer.model.objective.label_scale import all_from_learnt, to_learnt
from trainer.model.objective.losses import LabelLoss, as_column, make_loss
from trainer.model.objective.metrics import check_one_number, directions, make_metrics
from trainer.model.objective.optimizer import clips, make_optimizer
from trainer.model.upstream import BuildsOnce, mean_over_replicas
from trainer.model.workers import mean_of_logs
from trainer.schema import LabelField, LabelPlace, label_places


class Trainable(BuildsOnce):
    """Trains the model it wraps on batches (x, y, w) as `trainer.schema` describes them.

    The loss uses the rows' weights w[:, 0]; metrics count every row with a weight above 0 once; the
    loss of an epoch weighs each batch by its fill w[:, 1]. The gradient is that of the loss in the learnt
    scale of a regression's label; loss and metrics are reported in the label's own units.

    Args:
        model: Uncompiled, packed inputs -> float32 [B, outputs], a regression's in the learnt scale.
        losses: What is minimised: the sum of a loss for each label.
        own_step: The user's model, where its own `train_step` is used.
        weighted: Whether that is given the rows' weights.

    Attributes:
        directions: The metrics of its logs, and in which direction each is better; see `metrics.directions`.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: Sequence[LabelLoss],
        own_step: OwnStep | None = None,
        weighted: bool = False,
    ) -> None:
        super().__init__(name="trainable")
        self.model = model
        self.clips = False
        self.directions: dict[str, str] = {}
        self._label_losses = tuple(losses)
        self._places = [one.place for one in losses]
        #: Of several labels: the mean of each one's loss in an epoch.
        self._trackers = {
            one.place.prefix: keras.metrics.Mean(name=f"{one.place.prefix}loss") for one in losses if one.place.prefix
        }
        # Losses of several labels are summed on their learnt scales.
        self._unit = losses[0].loss.unit if len(losses) == 1 else 1.0
        self._own_step, self._weighted = own_step, weighted

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The wrapped model's output: float32 [B, outputs]."""
        return self.model(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Runs one training step on a replica's part of a batch."""
        x, y, w = data
        if self._own_step is not None:
            return mean_of_logs(self._own_step.model.train_step(self._own_data(self._own_step, x, y, w)))
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=w, training=True)
            self._track_loss(loss, w)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        if self.clips:
            gradients = mean_over_replicas(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return mean_of_logs(self.compute_metrics(x, y, y_pred, sample_weight=w))

    def _own_data(self, own: OwnStep, x: Any, y: Any, w: Any) -> tuple[Any, ...]:
        """A batch as a user's `train_step` takes it: (x, y), or (x, y, weights); without padding on one replica."""
        weights = w[:, 0] * w[0, 1]
        data = (own.front(x), to_learnt(self._places[0].label, as_column(y)), *([weights] if self._weighted else []))
        if tf.distribute.get_strategy().num_replicas_in_sync > 1 or self.jit_compile:
            return data
        return tuple(tf.nest.map_structure(lambda part: tf.boolean_mask(part, weights > 0), data))

    def reset_metrics(self) -> None:
        """Begins the metrics of an epoch."""
        super().reset_metrics()
        if self._own_step is not None:
            self._own_step.model.reset_metrics()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Runs one evaluation step on a replica's part of a batch."""
        x, y, w = data
        y_pred = self(x, training=False)
        self._track_loss(self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=w, training=False), w)
        return mean_of_logs(self.compute_metrics(x, y, y_pred, sample_weight=w))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of one replica's rows, plus what regularizers add; over all replicas the loss of the batch."""
        weighted = []
        for one in self._label_losses:
            loss = one(y, y_pred, sample_weight, training=training)
            if (tracker := self._trackers.get(one.place.prefix)) is not None:
                _track(tracker, loss, one.loss.unit, sample_weight)
            weighted.append(loss * one.weight)
        return ops.sum([*weighted, *(self._aggregate_additional_loss(one) for one in self.losses)])

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The metrics so far: rows of weight 0 are padding, all others count once."""
        real = ops.cast(sample_weight[:, 0] > 0, "float32")
        answers = all_from_learnt(self._places, y_pred)
        logs: dict[str, Any] = super().compute_metrics(x, as_column(y), answers, real)
        return logs

    def finish_weights(self) -> None:
        """Takes the optimizer's moving average of the weights, where it keeps one, as the run's last step."""
        type(self.optimizer).finalize_variable_values(self.optimizer, self.trainable_weights)

    def _track_loss(self, loss: Any, w: Any) -> None:
        _track(self._loss_tracker, loss, self._unit, w)


def _track(tracker: keras.metrics.Mean, loss: Any, unit: float, w: Any) -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    # Keras hands every replica its share of the loss; the epoch's mean is over whole losses.
    # A batch counts by its fill on any number of replicas together: a run may go on with more or fewer.
    tracker.update_state(loss * (replicas * unit), sample_weight=w[0, 1] / replicas)


def compile_model(
    model: keras.Model,
    config: Config,
    steps_total: int,
    labels: Sequence[LabelField] = (),
    compiled: Compiled = NOTHING,
    class_weights: Sequence[Mapping[int, float] | None] = (),
) -> Trainable:
    """Prepares a model for `fit` and creates all its variables, so that no batch is needed to build it.

    Args:
        model: From `build`, in the scope of the strategy that will train it.
        config: The job.
        steps_total: Steps of the whole run, a schedule's default length.
        labels: What is predicted, and on which scales. Default: labels that are not scaled.
        compiled: What the model's code has compiled; its parts are used in place of the job file's.
        class_weights: Of each label: class index -> factor, where there are several labels.

    Raises:
        ConfigError: Keras refuses an argument, a metric is no single number, or a schedule with reduce_on_plateau.
    """
    strategy = model.distribute_strategy
    targets = config.targets
    places = label_places(labels or [LabelField(one.label.column, "", one.task) for one in targets])
    weights = class_weights or [None] * len(targets)
    with strategy.scope():
        metrics = make_metrics(targets, places, compiled)
        losses = [
            LabelLoss(place, make_loss(config, target, place.label, compiled), target.weight, factors)
            for target, place, factors in zip(targets, places, weights, strict=True)
        ]
        weighted = config.data.sample_weight is not None or config.fit.class_weight is not None
        trainable = Trainable(model, losses, compiled.own_step, weighted)
        trainable.compile(
            optimizer=make_optimizer(config.fit, steps_total, strategy.num_replicas_in_sync, compiled),
            weighted_metrics=metrics,
            jit_compile=config.fit.jit_compile,
            steps_per_execution=config.fit.steps_per_execution,
        )
        trainable.clips = clips(trainable.optimizer)
        trainable._symbolic_build(data_batch=_batch_spec(model, places))
        check_one_number(metrics)
        trainable.directions = directions(targets, metrics)
        trainable.optimizer.build(trainable.trainable_variables)
        if compiled.own_step is not None:
            compiled.own_step.compile(trainable.optimizer, losses[0].loss.keras_loss)
        # Keras would at the end of every call of `fit`, and a run that goes on has several; see `finish_weights`.
        trainable.optimizer.finalize_variable_values = lambda _: None
    return trainable


def _batch_spec(model: keras.Model, places: Sequence[LabelPlace]) -> tuple[Any, Any, Any]:
    x = {tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs}
    first = places[0].label
    several = len(places) > 1
    dtype = tf.int32 if first.task == "multiclass" and not several else tf.float32
    shape = (sum(place.label.width for place in places),) if several else first.shape
    return x, tf.TensorSpec((None, *shape), dtype), tf.TensorSpec((None, 2), tf.float32)
