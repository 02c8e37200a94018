"""What is exported answers raw rows as the run answers packed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.model.packed_sets import every_kind, make_config
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.trainable import compile_model
from trainer.schema import Column, LabelField, Layout, NumberField
from trainer.serving.signature import export, serving_model, signature_names

RELOAD = """
import sys, pathlib, numpy as np, keras, tensorflow as tf
sys.modules["trainer"] = None
for folder in pathlib.Path(sys.argv[1]).iterdir():
    raw = dict(np.load(folder / "raw.npz", allow_pickle=True))
    raw = {name: tf.constant(value.tolist() if value.dtype == object else value) for name, value in raw.items()}
    model = keras.models.load_model(folder / "model.keras")
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    answer = served(**{name.replace(" ", "_"): value for name, value in raw.items()})["prediction"]
    predicted = model.predict(tf.data.Dataset.from_tensors(raw), verbose=0)
    np.savez(folder / "answers.npz", keras=model(raw), predicted=predicted, saved_model=answer)
"""


def test_raw_rows_give_what_packed_rows_give_in_a_process_without_trainer(tmp_path):
    inside = {task: exported(task, tmp_path / task) for task in ("binary", "multiclass", "regression")}
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", RELOAD, str(tmp_path)], check=True, cwd=tmp_path)
    for task, expected in inside.items():
        assert np.isfinite(expected).all()
        answers = np.load(tmp_path / task / "answers.npz")
        assert sorted(answers) == ["keras", "predicted", "saved_model"]
        for name, answer in answers.items():
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6, err_msg=f"{task} {name}")


def exported(task: str, folder: Path) -> np.ndarray:
    """Exports a model and rows with unseen values; returns what the run says of these rows."""
    train = every_kind(200, task=task)
    config = make_config(task)
    features = Features(train.layout, config, train.statistics)
    trained = compile_model(build(features, config), config, steps_total=10)
    fresh = every_kind(200, seed=1, task=task, unseen=True)
    export(serving_model(features, trained, train.layout), folder, train.layout)
    np.savez(folder / "raw.npz", **fresh.raw)
    return trained.predict(fresh.x, verbose=0)


def test_the_packing_in_front_of_the_export_is_the_feeds():
    made = every_kind(300, seed=3, unseen=True)

    class Echo(keras.layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x["numbers"], keras.ops.cast(x["codes"], "float32")], axis=1)

    inputs = Features(made.layout, make_config(), made.statistics).inputs()
    front = serving_model(None, keras.Model(inputs, Echo()(inputs)), made.layout)
    packed = front({name: tf.constant(v.tolist() if v.dtype == object else v) for name, v in made.raw.items()})
    np.testing.assert_allclose(packed, np.concatenate([made.x["numbers"], made.x["codes"]], axis=1), rtol=1e-6)


def test_any_column_name_has_an_input_and_a_name_of_its_own_in_the_signature(tmp_path):
    columns = [Column(name, "numeric", "?", "float32") for name in ("a/b", "a b", "a_b", "é", "x.y", "2z", "_u")]
    layout = Layout(tuple(NumberField(c, i) for i, c in enumerate(columns)), (), LabelField("y", "?", "binary"))
    numbers = keras.Input((len(columns),), name="numbers")
    inner = keras.Model({"numbers": numbers}, keras.layers.Dense(1)(numbers))
    model = serving_model(None, inner, layout)
    export(model, tmp_path, layout)
    names = signature_names(layout)
    assert list(names.values()) == ["a_b_2", "a_b_3", "a_b", "column__", "x_y", "column_2z", "column__u"]
    values = {name: tf.constant([float(i)]) for i, name in enumerate(names)}
    expected = inner({"numbers": tf.range(7.0)[None]})
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    answer = served(**{names[name]: value for name, value in values.items()})["prediction"]
    np.testing.assert_allclose(model(values), expected)
    np.testing.assert_allclose(answer, expected)
