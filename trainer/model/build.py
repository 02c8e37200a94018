"""From the feature specification to an uncompiled model: a builtin, or the user's own code."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import keras

from trainer.config import Builtin, Config, SavedModel
from trainer.errors import ConfigError
from trainer.model.builtins import build_builtin
from trainer.model.entrypoint import build_entrypoint, build_saved
from trainer.model.features import Features
from trainer.model.objective.compiled import NOTHING, Compiled
from trainer.model.size import check_size


@dataclass(frozen=True)
class Built:
    """A model to train.

    Attributes:
        model: Uncompiled and functional: packed inputs -> float32 [B, features.outputs], a regression's in the learnt
            scale (`trainer.model.objective.label_scale`), several labels one after another.
        compiled: What its code compiled, as far as the job uses it.
    """

    model: keras.Model
    compiled: Compiled = NOTHING


def build(features: Features, config: Config) -> keras.Model:
    """The model to train, without what its code compiled; see `build_job`."""
    return build_job(features, config).model


def build_job(features: Features, config: Config, saved: keras.Model = None, takes: str = "packed") -> Built:
    """The model to train. Call it in the scope of the strategy.

    Where `model.from` names a model, `saved` is that one, and it `takes` `packed`, `encoded` or `raw` inputs.

    Raises:
        ConfigError: An activation that Keras does not know, a layer to freeze that is not there, or a model larger than
            memory.
        ModelCodeError: The user's code does not import, raises, or returns what cannot be trained.
    """
    check_size(features, config)
    if isinstance(config.model, Builtin):
        built = Built(build_builtin(features, config.model))
    elif isinstance(config.model, SavedModel):
        built = Built(*build_saved(features, saved, takes, config.model.uri, config.fit))
    else:
        built = Built(*build_entrypoint(features, config.model, config.fit))
    _freeze(built.model, config.model.freeze)
    return built


def _freeze(made: keras.Model, names: list[str]) -> None:
    layers = {layer.name: layer for layer in made._flatten_layers(include_self=False)}
    for name in names:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(layers)}"
            raise ConfigError(f"the model has no layer {name!r}; {hint}", where="run.model.freeze")
        layers[name].trainable = False
