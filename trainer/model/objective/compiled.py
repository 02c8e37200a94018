"""What a model brings that its code has compiled already: used where the job file is silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from trainer.config import Fit, Loss, Optimizer
from trainer.errors import ModelCodeError

#: Said once, when the model is built.
_OWN_STEP = (
    "{name}.train_step is used: what it makes of weights, clips and several replicas is its own; on several replicas "
    "the padding of an epoch's last batch is part of it; a regression's training figures are on the learnt scale"
)
_WHERE = "run.model.entrypoint"


@dataclass(frozen=True)
class OwnStep:
    """A model with a `train_step` of its own.

    Attributes:
        model: The model as its code gives it.
        front: Packed inputs -> what it is called on.
    """

    model: keras.Model
    front: keras.Model

    def compile(self, optimizer: keras.optimizers.Optimizer, loss: Any) -> None:
        """Gives the model the optimizer that the run trains with, and a loss where it brings none."""
        if not self.model.compiled:
            self.model.compile(loss=loss)
        self.model.optimizer = optimizer


@dataclass(frozen=True)
class Compiled:
    """Arguments of `model.compile`; None where they are not used.

    Attributes:
        loss: A Keras loss or a function.
        metrics: Keras metrics, functions, and the name `accuracy`.
        optimizer: A Keras optimizer.
        own_step: The model, where it has a `train_step` of its own.
        notes: What of it the job file overrides, a line each.
    """

    loss: Any = None
    metrics: tuple[Any, ...] | None = None
    optimizer: keras.optimizers.Optimizer | None = None
    own_step: OwnStep | None = None
    notes: tuple[str, ...] = ()


NOTHING = Compiled()


def compiled_by(made: keras.Model, fit: Fit, own_step: OwnStep | None = None) -> Compiled:
    """What a job uses of the `compile` of a model, as the model's code gives it.

    Raises:
        ModelCodeError: It is compiled for several outputs.
    """
    step_notes = (_OWN_STEP.format(name=type(made).__name__),) if own_step else ()
    if not made.compiled:
        return Compiled(own_step=own_step, notes=step_notes)
    loss = _one(keras.losses.get, made.loss, "loss")
    held = made._compile_metrics
    asked = [*_flat(held._user_metrics), *_flat(held._user_weighted_metrics)] if held is not None else []
    metrics = tuple(one if one in ("accuracy", "acc") else _one(keras.metrics.get, one, "metrics") for one in asked)
    brought = {"loss": loss, "metrics": metrics or None, "optimizer": made.optimizer}
    silent = {
        "loss": isinstance(fit.loss, Loss) and fit.loss.name == "auto",
        "metrics": fit.metrics is None,
        "optimizer": fit.optimizer == Optimizer(),
    }
    notes = [
        f"fit.{name} of the job file is used, and not the one that the model is compiled with"
        for name, value in brought.items()
        if value is not None and not silent[name]
    ]
    used = {name: value for name, value in brought.items() if silent[name]}
    return Compiled(**used, own_step=own_step, notes=(*step_notes, *notes))


def _flat(metrics: Any) -> list[Any]:
    return list(metrics) if isinstance(metrics, list | tuple) else [] if metrics is None else [metrics]


def _one(get: Any, value: Any, name: str) -> Any:
    if isinstance(value, dict | list | tuple):
        raise ModelCodeError(
            f"the model is compiled with {name} for several outputs, and a job has one",
            where=_WHERE,
            remedy=f"compile it with one {name}, or leave compile to the job file",
        )
    return get(value)
