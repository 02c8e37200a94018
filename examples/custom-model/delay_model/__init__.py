"""A model of one's own for the flights: wide and deep, with carrier and destination crossed.

The trainer does the rest: input pipeline, strategy, checkpoints, export with the preprocessing inside.
"""

from __future__ import annotations

from typing import Any

import keras


def build_model(features: Any, hidden: int = 32, depth: int = 2, bins: int = 500) -> keras.Model:
    """Builds the model; the job file's `args` are its keyword arguments.

    Args:
        features: What the trainer knows of the columns, see docs/job-file.md, Entrypoint.
        hidden: Units of each hidden layer.
        depth: Hidden layers.
        bins: Buckets of the crossing.

    Returns:
        An uncompiled model from the packed inputs to `features.outputs` units.
    """
    inputs = features.inputs()
    encoded = features.encode(inputs)
    columns = features.columns(inputs)

    # A code is a whole number for each value; a pair of them is one number again, hashed into a bin.
    pair = columns["carrier"] * features.cardinality("dest") + columns["dest"]
    wide = keras.layers.Embedding(bins, 4)(keras.ops.mod(pair, bins))

    deep = encoded
    for _ in range(depth):
        deep = keras.layers.Dense(hidden, activation="relu")(deep)
    joined = keras.layers.Concatenate()([deep, wide])
    return keras.Model(inputs, keras.layers.Dense(features.outputs, activation=features.activation)(joined))
