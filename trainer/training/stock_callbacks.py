"""Keras's own callbacks, as the configuration asks for them."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from trainer.config import Config, EarlyStopping, ReduceOnPlateau
from trainer.errors import ConfigError


def mode_of(directions: Mapping[str, str], monitor: str, mode: str) -> str:
    """Returns `min` or `max`: the direction in which a metric of that name is better; `auto` where nobody knows."""
    return mode if mode != "auto" else directions.get(monitor.removeprefix("val_")) or "auto"


def check_monitors(config: Config, directions: Mapping[str, str], *, validation: bool) -> None:
    """Checks that the metrics that callbacks watch exist; `directions` says which way each metric is better.

    Raises:
        ConfigError: A `monitor` names no metric of the run, or one without a direction.
    """
    names = list(directions)
    available = names + ([f"val_{n}" for n in names] if validation else [])
    for key in ("early_stopping", "reduce_on_plateau"):
        part: EarlyStopping | ReduceOnPlateau | None = getattr(config.fit, key)
        if part is not None and part.monitor not in available:
            raise ConfigError(
                f"there is no metric {part.monitor!r}",
                where=f"run.fit.{key}.monitor",
                remedy=f"choose one of {', '.join(available)}",
            )
        if part is not None and mode_of(directions, part.monitor, part.mode) == "auto":
            raise ConfigError(
                f"nobody knows whether less or more of {part.monitor} is better",
                where=f"run.fit.{key}.mode",
                remedy="set mode: min or mode: max",
            )


def keras_callbacks(
    config: Config, directions: Mapping[str, str], tensorboard_folder: str | None
) -> list[keras.callbacks.Callback]:
    """Builds Keras's own callbacks that the configuration asks for; TensorBoard's where there is a folder for it."""
    made: list[keras.callbacks.Callback] = []
    if stop := config.fit.known_early_stopping:
        made.append(
            keras.callbacks.EarlyStopping(
                monitor=stop.monitor,
                patience=stop.patience,
                min_delta=stop.min_delta,
                mode=mode_of(directions, stop.monitor, stop.mode),
            )
        )
    if plateau := config.fit.reduce_on_plateau:
        made.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=plateau.monitor,
                factor=plateau.factor,
                patience=plateau.patience,
                min_delta=plateau.min_delta,
                cooldown=plateau.cooldown,
                min_lr=plateau.min_learning_rate,
                mode=mode_of(directions, plateau.monitor, plateau.mode),
            )
        )
    if tensorboard_folder is not None:
        made.append(keras.callbacks.TensorBoard(tensorboard_folder, write_graph=False, update_freq="epoch"))
    return made
