"""Keras's own callbacks, as the configuration asks for them."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from trainer.config import Config
from trainer.config.training import mode_of, monitor_fault
from trainer.errors import ConfigError


def check_monitors(config: Config, directions: Mapping[str, str], *, validation: bool) -> None:
    """Checks that the metrics that callbacks watch exist, those of code of one's own among them.

    `directions` says of each metric in which direction it is better.

    Raises:
        ConfigError: A `monitor` names no metric of the run, or one without a direction.
    """
    if fault := monitor_fault(config.fit, directions, validation=validation):
        raise ConfigError(fault.what, where=f"run.{fault.key}", remedy=fault.remedy)


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
