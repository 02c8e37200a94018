"""From the feature specification to an uncompiled model: a builtin, or the user's own code."""

from __future__ import annotations

import keras

from trainer.config import Builtin, Config
from trainer.model.builtins import build_builtin
from trainer.model.entrypoint import build_entrypoint
from trainer.model.features import Features
from trainer.model.size import check_size


def build(features: Features, config: Config) -> keras.Model:
    """The model to train. Call it in the scope of the strategy.

    Returns:
        An uncompiled functional model: packed inputs -> float32 [B, features.outputs], a regression's in the
        learnt scale (`trainer.model.objective.label_scale`).

    Raises:
        ConfigError: An activation that Keras does not know, or a model larger than memory.
        ModelCodeError: The user's code does not import, raises, or returns what cannot be trained.
    """
    check_size(features, config)
    if isinstance(config.model, Builtin):
        return build_builtin(features, config.model)
    return build_entrypoint(features, config.model)
