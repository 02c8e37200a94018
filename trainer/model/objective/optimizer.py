"""The optimizer and its learning rate, from the job file."""

from __future__ import annotations

from typing import Any

import keras

from trainer.config import Fit, KerasOptimizer, KerasSchedule, Optimizer, OwnCode, Schedule
from trainer.config.keras_names import CLIPS, entry
from trainer.errors import ConfigError
from trainer.model import own_code
from trainer.model.objective.compiled import NOTHING, Compiled
from trainer.model.objective.losses import construct

_ADAMW_DECAY = 0.05
#: Highest rates of `auto`; those of sgd and lion are the usual ten times and a tenth of Adam's.
_INITIAL_RATES = {"adam": 2e-3, "adamw": 2e-3, "rmsprop": 1e-3, "adagrad": 1e-2, "sgd": 2e-2, "lion": 2e-4}
_CLASSES = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "lion": keras.optimizers.Lion,
}


def make_optimizer(
    fit: Fit, steps_total: int, replicas: int, compiled: Compiled = NOTHING
) -> keras.optimizers.Optimizer:
    """The optimizer a job asks for.

    Args:
        fit: The job's `fit`.
        steps_total: Steps of the whole run; a schedule's default length.
        replicas: The clips are divided by it; see `upstream.mean_over_replicas`.
        compiled: What the model brings; used where it has an optimizer.

    Raises:
        ConfigError: A schedule together with reduce_on_plateau, or Keras refuses an argument.
    """
    settings = fit.optimizer
    if compiled.optimizer is not None:
        return _given(compiled.optimizer, fit, replicas)
    if isinstance(settings, OwnCode):
        made = own_code.make(settings.entrypoint, settings.args, "run.fit.optimizer", keras.optimizers.Optimizer)
        return _given(made, fit, replicas)
    clips = {name: clip / replicas for name, clip in settings.clips.items()}
    rate = _learning_rate(fit, settings, steps_total)
    if not isinstance(settings, KerasOptimizer):
        return _short(settings, clips, rate)
    options = {**settings.arguments, **clips, **({} if rate is None else {"learning_rate": rate})}
    return construct(getattr(keras.optimizers, settings.name), options, "run.fit.optimizer")


def _given(made: keras.optimizers.Optimizer, fit: Fit, replicas: int) -> keras.optimizers.Optimizer:
    schedule = isinstance(made._learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    if fit.reduce_on_plateau is not None and schedule:
        raise _no_plateau("learning-rate")
    for name in CLIPS:
        if (clip := getattr(made, name, None)) is not None:
            setattr(made, name, clip / replicas)
    return made


def clips(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer clips gradients; mixed precision may have wrapped it."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return any(getattr(inner, name, None) is not None for name in CLIPS)


def _no_plateau(schedule: str) -> ConfigError:
    return ConfigError(
        f"reduce_on_plateau cannot lower the rate of a {schedule} schedule",
        where="run.fit",
        remedy="Give learning_rate as a number, or leave reduce_on_plateau out.",
    )


def _short(settings: Optimizer, options: dict[str, Any], rate: Any) -> keras.optimizers.Optimizer:
    options["learning_rate"] = rate
    if settings.momentum:
        options["momentum"] = settings.momentum
    decay = _ADAMW_DECAY if settings.weight_decay is None and settings.name == "adamw" else settings.weight_decay
    if decay is not None:
        options["weight_decay"] = decay
    optimizer = _CLASSES[settings.name](**options)
    if decay:
        # Biases and embeddings are no slopes: pulling them to 0 moves the prior and forgets rare categories.
        optimizer.exclude_from_weight_decay(var_names=["bias", "embeddings"])
    return optimizer


def _learning_rate(
    fit: Fit, settings: Optimizer | KerasOptimizer, steps_total: int
) -> float | keras.optimizers.schedules.LearningRateSchedule | None:
    rate = settings.learning_rate
    if rate == "auto":
        rate = automatic_rate(fit, settings, steps_total)
    if not isinstance(rate, Schedule | KerasSchedule):
        return rate
    if fit.reduce_on_plateau is not None:
        raise _no_plateau(rate.name)
    if isinstance(rate, Schedule):
        return _schedule(rate, steps_total)
    kind = getattr(keras.optimizers.schedules, rate.name)
    return construct(kind, rate.arguments, "run.fit.optimizer.learning_rate")


def automatic_rate(fit: Fit, settings: Optimizer | KerasOptimizer, steps_total: int) -> float | Schedule:
    """What `learning_rate: auto` is: a short warm-up, then a cosine down to 0 at the run's last step.

    Where `reduce_on_plateau` lowers the rate, it begins constant.
    """
    if isinstance(settings, Optimizer):
        initial = _INITIAL_RATES[settings.name]
    else:
        initial = float(entry("optimizers", settings.name)["arguments"]["learning_rate"])
    if fit.reduce_on_plateau is not None:
        return initial
    return Schedule(name="cosine", initial=initial, warmup_steps=min(100, steps_total // 20))


def _schedule(settings: Schedule, steps_total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    schedules = keras.optimizers.schedules
    if settings.name == "piecewise":
        return schedules.PiecewiseConstantDecay(settings.boundaries, [settings.initial, *settings.values])
    if settings.name == "exponential":
        return schedules.ExponentialDecay(
            settings.initial, settings.decay_steps or max(1, steps_total), settings.decay_rate
        )
    decay_steps = settings.decay_steps or max(1, steps_total - settings.warmup_steps)
    if not settings.warmup_steps:
        return schedules.CosineDecay(settings.initial, decay_steps, alpha=settings.alpha)
    return schedules.CosineDecay(
        0.0, decay_steps, alpha=settings.alpha, warmup_target=settings.initial, warmup_steps=settings.warmup_steps
    )
