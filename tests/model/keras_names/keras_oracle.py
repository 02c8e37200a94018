"""The same small model trained by a job file's words, and by plain Keras on one device.

The last batch is padded, rows have weights, and 1, 2 and 4 replicas share a batch. With 4 the last replica's share of
the last batch is padding alone.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.model.packed_sets import batches, make_config
from trainer.model.strategy import make_strategy
from trainer.model.trainable import Trainable, compile_model
from trainer.schema import LabelField

ROWS, BATCH = 41, 16
REPLICAS = (1, 2, 4)
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 5)).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2.0, ROWS).astype("float32")
LABELS = {
    "binary": (RNG.random(ROWS) < 0.4).astype("float32"),
    "multiclass": RNG.integers(0, 3, ROWS).astype("int32"),
    "regression": RNG.uniform(0.5, 3.0, ROWS).astype("float32"),
}
#: Plain Keras takes one-hot rows where ours are made of class indices.
INDICES = ("Sparse", "IoU", "MeanIoU")


def network(task: str) -> keras.Model:
    inputs = keras.Input((5,), name="numbers")
    units, activation = {"binary": (1, "sigmoid"), "multiclass": (3, "softmax"), "regression": (1, "softplus")}[task]
    layer = keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    return keras.Model({"numbers": inputs}, layer(inputs))


def ours(task: str, fit: dict[str, Any], replicas: int, label: LabelField | None = None, y: Any = None) -> Trainable:
    """Trained by the job file's words for two epochs of padded batches; `second_pass` evaluates them."""
    config = make_config(task, fit={"optimizer": {"name": "sgd", "learning_rate": 0.05}, **fit})
    with make_strategy(f"cpu:{replicas}").scope():
        model = compile_model(network(task), config, steps_total=6, labels=() if label is None else (label,))
    data = batches({"numbers": X}, LABELS[task] if y is None else y, BATCH, WEIGHTS)
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    model.second_pass = lambda: model.evaluate(data, verbose=0, return_dict=True)
    return model


def plain(task: str, *, loss: keras.losses.Loss, optimizer: Any = None) -> keras.Model:
    """Keras's own `fit` on one device, on batches that are not padded."""
    model = network(task)
    model.compile(optimizer or keras.optimizers.SGD(0.05), loss)
    y = labels_for(task, type(loss).__name__)
    model.fit({"numbers": X}, y, BATCH, 2, sample_weight=WEIGHTS, shuffle=False, verbose=0)
    return model


def labels_for(task: str, name: str) -> np.ndarray:
    y = LABELS[task]
    if name in ("CategoricalGeneralizedCrossEntropy", "Circle"):
        return y
    return np.eye(3, dtype="float32")[y] if task == "multiclass" and not name.startswith(INDICES) else y[:, None]
