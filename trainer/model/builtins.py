"""The models that come with the trainer."""

from __future__ import annotations

from typing import Any

import keras

from trainer.config import Builtin
from trainer.errors import ConfigError
from trainer.model.features import Features


def build_builtin(features: Features, wanted: Builtin) -> keras.Model:
    """`linear` or `mlp` on the encoded features.

    Returns:
        Uncompiled, packed inputs -> float32 [B, features.outputs].

    Raises:
        ConfigError: An activation that Keras does not know.
    """
    inputs = features.inputs()
    hidden = features.encode(inputs)
    if wanted.builtin == "mlp":
        for depth, units in enumerate(wanted.hidden, start=1):
            hidden = _hidden(hidden, units, depth, wanted)
    # float32 whatever the policy: half-precision probabilities ruin loss and metrics.
    output = keras.layers.Dense(
        features.outputs, features.activation, kernel_regularizer=_l2(wanted), dtype="float32", name="prediction"
    )(hidden)
    return keras.Model(inputs, output, name=wanted.builtin)


def _hidden(before: Any, units: int, depth: int, wanted: Builtin) -> Any:
    after = keras.layers.Dense(units, kernel_regularizer=_l2(wanted), name=f"hidden_{depth}")(before)
    after = keras.layers.Activation(_activation(wanted.activation), name=f"activation_{depth}")(after)
    if wanted.dropout:
        after = keras.layers.Dropout(wanted.dropout, name=f"dropout_{depth}")(after)
    if not wanted.residual:
        return after
    if before.shape[-1] != units:
        before = keras.layers.Dense(units, use_bias=False, kernel_regularizer=_l2(wanted), name=f"project_{depth}")(
            before
        )
    return keras.layers.Add(name=f"residual_{depth}")([before, after])


def _activation(name: str) -> str:
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise ConfigError(
            f"activation {name!r} is not known to Keras",
            where="run.model.activation",
            remedy="Take one of relu, gelu, silu, elu, selu, tanh, sigmoid.",
        ) from error
    return name


def _l2(wanted: Builtin) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(wanted.l2) if wanted.l2 else None
