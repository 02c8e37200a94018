"""The models that come with the trainer: `linear`, `mlp` and `dcn`, of stock Keras layers alone.

What `mlp` does by default, and where it is from:

* Numbers are scaled by median and interquartile range and bent at ±3 (`trainer.model.scaling`): RealMLP, in
  Holzmüller, Grinsztajn and Steinwart 2024, "Better by Default".
* Each number also becomes a few learnt features, of its sines (`periodic`) or of its place between quantiles
  (`piecewise`): Gorishniy, Rubachev and Babenko 2022, "On Embeddings for Numerical Features in Tabular Deep Learning".
* Few categories are one-hot, more have an embedding; three layers with dropout; AdamW with a warm-up and a cosine
  (`trainer.model.objective.optimizer`), as in both papers.

`dcn` is DCN-v2 (Wang et al. 2021, "DCN V2"): cross layers beside the hidden ones, for products of many categories.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from trainer.config import Builtin
from trainer.errors import ConfigError
from trainer.model.features import Features, plain_name

#: More numeric columns than this are not embedded: their number alone gives a network enough to bend.
MOST_EMBEDDED_NUMBERS = 256


def build_builtin(features: Features, spec: Builtin) -> keras.Model:
    """The builtin model on the encoded features.

    Returns:
        Uncompiled, packed inputs -> float32 [B, features.outputs].

    Raises:
        ConfigError: An activation that Keras does not know.
    """
    inputs = features.inputs()
    if spec.builtin == "linear":
        last = features.encode(inputs)
    else:
        encoded = features.encode(inputs, _number_embedding(features, spec))
        last = encoded
        for depth, units in enumerate(spec.hidden, start=1):
            last = _hidden(last, units, depth, spec)
        if spec.builtin == "dcn":
            last = ops.concatenate([_crossed(encoded, spec), last], axis=1)
    # float32 whatever the policy: half-precision probabilities ruin loss and metrics.
    outputs = [
        keras.layers.Dense(
            head.outputs,
            head.activation,
            bias_initializer=keras.initializers.Constant(list(head.bias)) if any(head.bias) else "zeros",
            kernel_regularizer=_l2(spec),
            dtype="float32",
            name="prediction" if len(features.heads) == 1 else f"prediction_{at}_{plain_name(head.label)}",
        )(last)
        for at, head in enumerate(features.heads)
    ]
    return keras.Model(inputs, side_by_side(outputs), name=spec.builtin)


def side_by_side(outputs: list[Any]) -> Any:
    """Predictions of each label [B, outputs] -> of all [B, sum of outputs]."""
    return outputs[0] if len(outputs) == 1 else keras.layers.Concatenate(dtype="float32", name="predictions")(outputs)


def _number_embedding(features: Features, spec: Builtin) -> Any:
    """What `Features.encode` puts beside the scaled numbers: a function [B, K] -> [B, K * number_size], or None."""
    columns = features.numeric_columns
    if spec.numbers == "none" or not 0 < columns <= MOST_EMBEDDED_NUMBERS:
        return None
    return _periodic(columns, spec) if spec.numbers == "periodic" else _piecewise(features, spec)


def _periodic(columns: int, spec: Builtin) -> Any:
    """PLR: relu(W cos(2π f x + b) + c) with frequencies f, phases b and weights of each column's own."""

    def embed(numbers: Any) -> Any:
        width, size = spec.frequencies, spec.number_size
        waves = keras.layers.EinsumDense(
            "bk,kf->bkf",
            output_shape=(columns, width),
            bias_axes="kf",
            kernel_initializer=keras.initializers.RandomNormal(stddev=2 * math.pi * spec.frequency_scale),
            bias_initializer=keras.initializers.RandomUniform(-math.pi, math.pi),
            dtype="float32",
            name="number_frequencies",
        )(numbers)
        mixed = keras.layers.EinsumDense(
            "bkf,kfe->bke",
            output_shape=(columns, size),
            bias_axes="ke",
            activation="relu",
            kernel_initializer=keras.initializers.RandomUniform(-(width**-0.5), width**-0.5),
            dtype="float32",
            name="number_embeddings",
        )(ops.cos(waves))
        return ops.reshape(mixed, (-1, columns * size))

    return embed


def _piecewise(features: Features, spec: Builtin) -> Any:
    """PLE: of each bin between two quantiles, which part of it lies below the number, from 0 to 1."""
    bins = spec.number_size
    edges = features.scaled_quantiles(bins)  # [K, bins + 1]
    widths = np.diff(edges, axis=1)
    low = edges[:, :-1].astype("float32")
    # A quantile that repeats makes a bin of no width: its value says whether the number lies above.
    slopes = (1.0 / np.maximum(widths, 1e-3)).astype("float32")

    def embed(numbers: Any) -> Any:
        parts = ops.clip((ops.expand_dims(numbers, -1) - low) * slopes, 0.0, 1.0)  # [B, K, bins]
        return ops.reshape(parts, (-1, len(edges) * bins))

    return embed


def _crossed(encoded: Any, spec: Builtin) -> Any:
    """DCN-v2's cross network: x_{l+1} = x_0 * (W x_l + b) + x_l, [B, width] -> [B, width]."""
    crossed = encoded
    for depth in range(1, spec.cross_layers + 1):
        mixed = keras.layers.Dense(
            encoded.shape[-1], kernel_regularizer=_l2(spec), dtype="float32", name=f"cross_{depth}"
        )(crossed)
        crossed = encoded * mixed + crossed
    return crossed


def _hidden(before: Any, units: int, depth: int, spec: Builtin) -> Any:
    after = keras.layers.Dense(units, kernel_regularizer=_l2(spec), name=f"hidden_{depth}")(before)
    after = keras.layers.Activation(_activation(spec.activation), name=f"activation_{depth}")(after)
    if spec.dropout:
        after = keras.layers.Dropout(spec.dropout, name=f"dropout_{depth}")(after)
    if not spec.residual:
        return after
    if before.shape[-1] != units:
        before = keras.layers.Dense(units, use_bias=False, kernel_regularizer=_l2(spec), name=f"project_{depth}")(
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


def _l2(spec: Builtin) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(spec.l2) if spec.l2 else None
