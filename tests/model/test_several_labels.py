"""Several labels of one model: as plain Keras with several outputs, on one device.

The last batch is padded, rows have weights, one label has class weights, and 1, 2 and 4 replicas share a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.packed_sets import batches, make_config
from tests.model.test_targets import BATCH, CLOSE, ROWS, WEIGHTS, X
from trainer import metrics
from trainer.config import Config
from trainer.model.objective.label_scale import all_predicted
from trainer.model.strategy import make_strategy
from trainer.model.trainable import Trainable, compile_model
from trainer.schema import LabelField, label_places

RNG = np.random.default_rng(5)
KIND = RNG.integers(0, 3, ROWS)
LATE = (RNG.random(ROWS) < 0.3).astype("float32")
MINUTES = RNG.normal(20.0, 30.0, ROWS).astype("float32")
TAGS = (RNG.random((ROWS, 2)) < 0.5).astype("float32")
#: In the order of the job file's names.
LABELS = (
    LabelField("kind", "", "multiclass", classes=("a", "b", "c")),
    LabelField("late", "", "binary"),
    LabelField("minutes", "", "regression", transform="standard", offset=5.0, mean=20.0, deviation=30.0),
    LabelField("tags", "", "multilabel", classes=("x", "y")),
)
PLACES = label_places(LABELS)
#: Packed labels lack the offset.
Y = np.column_stack([KIND, LATE, MINUTES - 5.0, TAGS]).astype("float32")
CLASS_WEIGHTS = {0: 0.5, 1: 3.0}
WANTED = {
    "kind": {"task": "multiclass", "weight": 0.5},
    "late": {"task": "binary", "metrics": ["auc", "accuracy", "Precision"], "class_weight": CLASS_WEIGHTS},
    "minutes": {"task": "regression", "weight": 0.2, "metrics": ["mae", "MeanSquaredError"]},
    "tags": {"task": "multilabel", "loss": {"name": "BinaryFocalCrossentropy", "gamma": 1.5}},
}


def config() -> Config:
    document = make_config(fit={"optimizer": {"name": "sgd", "learning_rate": 0.05}}).model_dump(mode="json")
    document["data"] |= {"label": None, "labels": WANTED}
    return Config.model_validate({**document, "task": None})


def heads() -> tuple[Any, list[Any]]:
    """An input, and each label's last layer in the order of their names."""
    inputs = keras.Input((5,), name="numbers")
    hidden = keras.layers.Dense(4, "tanh", kernel_initializer=keras.initializers.GlorotUniform(seed=1))(inputs)
    ends = [("kind", 3, "softmax"), ("late", 1, "sigmoid"), ("minutes", 1, None), ("tags", 2, "sigmoid")]
    return inputs, [
        keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=at), name=name)(
            hidden
        )
        for at, (name, units, activation) in enumerate(ends)
    ]


def ours(replicas: int) -> tuple[Trainable, dict[str, float]]:
    with make_strategy(f"cpu:{replicas}").scope():
        inputs, outputs = heads()
        network = keras.Model({"numbers": inputs}, keras.layers.Concatenate()(outputs))
        weights = (None, CLASS_WEIGHTS, None, None)
        model = compile_model(network, config(), steps_total=6, labels=LABELS, class_weights=weights)
    data = batches({"numbers": X}, Y, BATCH, WEIGHTS)
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    return model, model.evaluate(data, verbose=0, return_dict=True)


def plain() -> keras.Model:
    """Keras's own `fit` of a model with four outputs, on batches that are not padded."""
    inputs, outputs = heads()
    model = keras.Model({"numbers": inputs}, dict(zip(WANTED, outputs, strict=True)))
    model.compile(
        keras.optimizers.SGD(0.05),
        {
            "kind": keras.losses.SparseCategoricalCrossentropy(),
            "late": keras.losses.BinaryCrossentropy(),
            "minutes": keras.losses.MeanSquaredError(),
            "tags": keras.losses.BinaryFocalCrossentropy(gamma=1.5),
        },
        loss_weights={name: wanted.get("weight", 1.0) for name, wanted in WANTED.items()},
        run_eagerly=True,  # in a graph Keras (3.15) takes a short last batch for a whole one in an output's own loss
    )
    y = {"kind": KIND, "late": LATE[:, None], "minutes": ((MINUTES - 20.0) / 30.0)[:, None], "tags": TAGS}
    weights = dict.fromkeys(y, WEIGHTS) | {"late": WEIGHTS * np.where(LATE > 0.5, 3.0, 0.5).astype("float32")}
    model.fit({"numbers": X}, y, BATCH, 2, sample_weight=weights, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_several_labels_are_trained_as_several_outputs_of_plain_keras(replicas):
    oracle = plain()
    found, logs = ours(replicas)
    for a, b in zip(found.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
    history, expected = found.history.history, oracle.history.history
    for name, unit in {"loss": 1, "kind_loss": 1, "late_loss": 1, "minutes_loss": 900, "tags_loss": 1}.items():
        np.testing.assert_allclose(np.divide(history[name], unit), expected[name], **CLOSE, err_msg=name)
    packed = np.asarray(found({"numbers": X}))
    p = np.asarray(all_predicted(PLACES, packed))
    y = np.column_stack([KIND, LATE, MINUTES, TAGS]).astype("float64")
    asked = {"kind": ("accuracy",), "late": ("accuracy",), "minutes": ("mae",), "tags": ("accuracy", "exact_match")}
    for at in PLACES:
        scored = metrics.values(at.label.task, at.labels(y), at.predictions(p), asked[at.label.name])
        assert {name: logs[f"{at.prefix}{name}"] for name in scored} == pytest.approx(scored, rel=1e-6)
    assert logs["minutes_mean_squared_error"] == pytest.approx(np.square(MINUTES - p[:, 4]).mean(), rel=1e-6)
    assert logs["late_auc"] == pytest.approx(metrics.values("binary", LATE, p[:, 3], ("auc",))["auc"], abs=1e-3)
    late = -np.where(LATE > 0.5, np.log(p[:, 3]), np.log1p(-p[:, 3]))
    assert logs["late_loss"] == pytest.approx((WEIGHTS * late).mean(), rel=1e-5)  # class weights never touch validation


def test_directions_have_the_label_s_name_in_front():
    found, _ = ours(1)
    assert found.directions == {
        **{"loss": "min", "kind_loss": "min", "late_loss": "min", "minutes_loss": "min", "tags_loss": "min"},
        **{"kind_accuracy": "max", "late_auc": "max", "late_accuracy": "max", "late_precision": "max"},
        **{"minutes_mae": "min", "minutes_mean_squared_error": "min"},
        **{"tags_auc": "max", "tags_accuracy": "max", "tags_exact_match": "max"},
    }


def test_labels_may_be_called_what_tensorflow_takes_as_no_scope():
    """r2 makes its variables in the graph, in a scope of its name."""
    wanted = {f"Δ {name}/1": {**one, "metrics": None} for name, one in WANTED.items()}
    document = {**config().model_dump(mode="json"), "task": None}
    document["data"]["labels"] = wanted
    named = [replace(label, name=f"Δ {label.name}/1") for label in LABELS]
    inputs, outputs = heads()
    network = keras.Model({"numbers": inputs}, keras.layers.Concatenate()(outputs))
    model = compile_model(network, Config.model_validate(document), steps_total=6, labels=named)
    logs = model.evaluate(batches({"numbers": X}, Y, BATCH, WEIGHTS), verbose=0, return_dict=True)
    assert {"Δ minutes/1_r2", "Δ minutes/1_loss", "Δ late/1_auc", "Δ kind/1_accuracy"} <= logs.keys()
