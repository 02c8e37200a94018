"""The model `fit` is called on: exact losses and metrics for padded batches on any number of replicas."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import Config
from trainer.model.label_scale import from_learnt, loss_unit, to_learnt
from trainer.model.objective import make_loss, make_metrics
from trainer.model.optimizer import make_optimizer
from trainer.model.upstream import BuildsOnce, mean_over_replicas
from trainer.model.workers import mean_of_logs
from trainer.schema import LabelField


class Trainable(BuildsOnce):
    """Trains the model it wraps on batches (x, y, w) as `trainer.schema` describes them.

    The loss uses the rows' weights w[:, 0]; metrics count every row with a weight above 0 once; the
    loss of an epoch weighs each batch by its fill w[:, 1]. The gradient is that of the loss in the learnt
    scale of a regression's label; loss and metrics are reported in the label's own units.

    Args:
        model: Uncompiled, packed inputs -> float32 [B, outputs], a regression's in the learnt scale.
        label: What is predicted, and its scale.
        loss_unit: What a loss in the learnt scale is multiplied by to be reported.
    """

    def __init__(self, model: keras.Model, label: LabelField, loss_unit: float = 1.0) -> None:
        super().__init__(name="trainable")
        self.model = model
        self.clips = False
        self._label, self._loss_unit = label, loss_unit

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The wrapped model's output: float32 [B, outputs]."""
        return self.model(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Runs one training step on a replica's part of a batch."""
        x, y, w = data
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

    def test_step(self, data: Any) -> dict[str, Any]:
        """Runs one evaluation step on a replica's part of a batch."""
        x, y, w = data
        y_pred = self(x, training=False)
        self._track_loss(self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=w, training=False), w)
        return mean_of_logs(self.compute_metrics(x, y, y_pred, sample_weight=w))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of one replica's rows: sum of weight * loss / rows, plus what regularizers add."""
        learnt = to_learnt(self._label, _as_column(y))
        return super().compute_loss(x, learnt, y_pred, sample_weight[:, 0], training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The metrics so far: rows of weight 0 are padding, all others count once."""
        real = ops.cast(sample_weight[:, 0] > 0, "float32")
        answers = from_learnt(self._label, y_pred)
        logs: dict[str, Any] = super().compute_metrics(x, _as_column(y), answers, real)
        return logs

    def _track_loss(self, loss: Any, w: Any) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        # Keras hands every replica its share of the loss; the epoch's mean is over whole losses.
        # A batch counts by its fill on any number of replicas together: a run may go on with more or fewer.
        self._loss_tracker.update_state(loss * (replicas * self._loss_unit), sample_weight=w[0, 1] / replicas)


def compile_model(model: keras.Model, config: Config, steps_total: int, label: LabelField | None = None) -> Trainable:
    """Prepares a model for `fit` and creates all its variables, so that no batch is needed to build it.

    Args:
        model: From `build`, in the scope of the strategy that will train it.
        config: The job.
        steps_total: Steps of the whole run, a schedule's default length.
        label: The label and its scale. Default: a label that is not scaled.

    Raises:
        ConfigError: A metric that does not go with the task, or a schedule with reduce_on_plateau.
    """
    strategy = model.distribute_strategy
    label = label or LabelField(config.data.label.column, "", config.task)
    with strategy.scope():
        trainable = Trainable(model, label, loss_unit(label, config.fit.loss))
        trainable.compile(
            optimizer=make_optimizer(config.fit, steps_total, strategy.num_replicas_in_sync),
            loss=make_loss(config),
            weighted_metrics=make_metrics(config),
            jit_compile=config.fit.jit_compile,
            steps_per_execution=config.fit.steps_per_execution,
        )
        trainable.clips = _clips(config)
        trainable._symbolic_build(data_batch=_batch_spec(model, config))
        trainable.optimizer.build(trainable.trainable_variables)
    return trainable


def _clips(config: Config) -> bool:
    wanted = config.fit.optimizer
    return any(clip is not None for clip in (wanted.clip_norm, wanted.global_clip_norm, wanted.clip_value))


def _batch_spec(model: keras.Model, config: Config) -> tuple[Any, Any, Any]:
    x = {tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs}
    label = tf.int32 if config.task == "multiclass" else tf.float32
    return x, tf.TensorSpec((None,), label), tf.TensorSpec((None, 2), tf.float32)


def _as_column(y: Any) -> Any:
    """[B] -> [B, 1], the shape of what the model returns."""
    return ops.expand_dims(y, -1) if len(y.shape) == 1 else y
