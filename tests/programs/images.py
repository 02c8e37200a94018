"""Images with a subclassed model that has a train_step of its own; `python images.py FOLDER` trains it."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf


class Digits(keras.Model):
    def __init__(self, filters=8, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.rescale = keras.layers.Rescaling(1 / 255)
        self.convolve = keras.layers.Conv2D(filters, 3, activation="relu")
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(10, activation="softmax")

    def call(self, pixels):
        return self.head(self.flatten(self.convolve(self.rescale(pixels))))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=predicted)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted)
        return {metric.name: metric.result() for metric in self.metrics}

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def build(filters=8):
    keras.utils.set_random_seed(7)
    model = Digits(filters)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def images(path):
    table = pd.read_parquet(path)
    pixels = np.stack([tf.io.decode_png(one, channels=1).numpy() for one in table["image"]])
    return pixels, table["digit"].to_numpy()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = build()
    fitted = model.fit(*images(folder / "train.parquet"), batch_size=32, epochs=2, shuffle=False, verbose=0)
    metrics = model.evaluate(*images(folder / "held.parquet"), batch_size=32, return_dict=True, verbose=0)
    print(json.dumps({"train": {k: v[-1] for k, v in fitted.history.items()}, "validation": metrics}))
