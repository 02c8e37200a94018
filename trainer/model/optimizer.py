"""The optimizer and its learning rate, from the job file."""

from __future__ import annotations

from typing import Any

import keras

from trainer.config import Fit, Schedule
from trainer.errors import ConfigError

_CLASSES = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "lion": keras.optimizers.Lion,
}


def make_optimizer(fit: Fit, steps_total: int, replicas: int) -> keras.optimizers.Optimizer:
    """The optimizer a job asks for.

    Args:
        fit: The job's `fit`.
        steps_total: Steps of the whole run; a schedule's default length.
        replicas: The clips are divided by it; see `upstream.mean_over_replicas`.

    Raises:
        ConfigError: A schedule together with reduce_on_plateau.
    """
    wanted = fit.optimizer
    options: dict[str, Any] = {"learning_rate": _learning_rate(fit, steps_total)}
    if wanted.momentum:
        options["momentum"] = wanted.momentum
    if wanted.weight_decay is not None:
        options["weight_decay"] = wanted.weight_decay
    clips = {"clipnorm": wanted.clip_norm, "global_clipnorm": wanted.global_clip_norm, "clipvalue": wanted.clip_value}
    options |= {name: clip / replicas for name, clip in clips.items() if clip is not None}
    return _CLASSES[wanted.name](**options)


def _learning_rate(fit: Fit, steps_total: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    rate = fit.optimizer.learning_rate
    if not isinstance(rate, Schedule):
        return rate
    if fit.reduce_on_plateau is not None:
        raise ConfigError(
            f"reduce_on_plateau cannot lower the rate of a {rate.name} schedule",
            where="run.fit",
            remedy="Give learning_rate as a number, or leave reduce_on_plateau out.",
        )
    return _schedule(rate, steps_total)


def _schedule(wanted: Schedule, steps_total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    schedules = keras.optimizers.schedules
    if wanted.name == "piecewise":
        return schedules.PiecewiseConstantDecay(wanted.boundaries, [wanted.initial, *wanted.values])
    if wanted.name == "exponential":
        return schedules.ExponentialDecay(wanted.initial, wanted.decay_steps or max(1, steps_total), wanted.decay_rate)
    decay_steps = wanted.decay_steps or max(1, steps_total - wanted.warmup_steps)
    if not wanted.warmup_steps:
        return schedules.CosineDecay(wanted.initial, decay_steps, alpha=wanted.alpha)
    return schedules.CosineDecay(
        0.0, decay_steps, alpha=wanted.alpha, warmup_target=wanted.initial, warmup_steps=wanted.warmup_steps
    )
