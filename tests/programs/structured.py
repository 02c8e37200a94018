"""Structured data with a functional model and preprocessing layers; `python structured.py FOLDER` trains it."""

import json
import sys
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf


def build(mean=0.0, variance=1.0):
    keras.utils.set_random_seed(7)
    x = keras.Input((1,), name="x")
    city = keras.Input((1,), name="city", dtype="string")
    scaled = keras.layers.Normalization(mean=mean, variance=variance)(x)
    codes = keras.layers.StringLookup(vocabulary=["bonn", "köln", "ulm"], output_mode="one_hot")(city)
    joined = keras.layers.Concatenate()([scaled, codes])
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(16, activation="relu")(joined))
    model = keras.Model({"x": x, "city": city}, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    return model


def dataset(path):
    table = pd.read_parquet(path)
    x = {"x": table["x"].to_numpy("float32")[:, None], "city": table["city"].fillna("").to_numpy(str)[:, None]}
    return tf.data.Dataset.from_tensor_slices((x, table["label"].to_numpy("float32"))).batch(32)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = build(mean=0.1, variance=1.2)
    history = model.fit(dataset(folder / "train.parquet"), epochs=3, verbose=0).history
    held = model.evaluate(dataset(folder / "held.parquet"), return_dict=True, verbose=0)
    print(json.dumps({"train": {name: values[-1] for name, values in history.items()}, "validation": held}))
