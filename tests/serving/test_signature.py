"""What is exported answers raw rows as the run answers packed ones."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.model.packed_sets import every_kind, make_config
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.trainable import compile_model
from trainer.schema import Column, LabelField, Layout, NumberField
from trainer.serving.signature import export, input_names, serving_model

RELOAD = """
import sys, pathlib, numpy as np, keras, tensorflow as tf
sys.modules["trainer"] = None
for folder in pathlib.Path(sys.argv[1]).iterdir():
    raw = dict(np.load(folder / "raw.npz", allow_pickle=True))
    raw = {name: tf.constant(value.tolist() if value.dtype == object else value) for name, value in raw.items()}
    model = keras.models.load_model(folder / "model.keras")
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    answer = served(**raw)["prediction"]
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
    serving = serving_model(trained, train.layout)
    export(serving, folder, train.layout)
    np.savez(folder / "raw.npz", **{serving.inputs[name]: values for name, values in fresh.raw.items()})
    return trained.predict(fresh.x, verbose=0)


def test_the_packing_in_front_of_the_export_is_the_feeds():
    made = every_kind(300, seed=3, unseen=True)

    class Echo(keras.layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x["numbers"], keras.ops.cast(x["codes"], "float32")], axis=1)

    inputs = Features(made.layout, make_config(), made.statistics).inputs()
    front = serving_model(keras.Model(inputs, Echo()(inputs)), made.layout)
    packed = front.predict(made.raw)
    np.testing.assert_allclose(packed, np.concatenate([made.x["numbers"], made.x["codes"]], axis=1), rtol=1e-6)


NAMES = [
    "a/b", "a b", "a_b", "é", "日本語", "x.y", "2z", "_u", "/", "\n", "", " ", "A", "a", "self", "class", "None",
    "inner", "kfit_packing", "serving", "stack", "cast", "string_lookup", "prediction", "numbers", "codes", "training",
    "mask", "args", "kwargs", "inputs", "name", "cls", "__index_level_0__", "x" * 3000, "a_1", "A_1", "\0", "a:0", "^a",
    "column__",
]  # fmt: skip


def test_any_column_name_has_an_input_of_its_own_in_both_forms_of_the_export(tmp_path):
    columns = [Column(name, "numeric", "?", "float32") for name in NAMES]
    layout = Layout(tuple(NumberField(c, i) for i, c in enumerate(columns)), (), LabelField("y", "?", "binary"))
    numbers = keras.Input((len(columns),), name="numbers")
    inner = keras.Model({"numbers": numbers}, keras.layers.Dense(1)(numbers), name="inner")
    serving = serving_model(inner, layout)
    export(serving, tmp_path, layout)
    names = serving.inputs
    assert list(names) == NAMES
    assert len({name.casefold() for name in names.values()}) == len(NAMES)
    kept = [name for name in NAMES if names[name] == name]
    assert kept == ["a_b", "A", "stack", "cast", "string_lookup", "prediction", "numbers", "codes", "training", "mask",
                    "args", "kwargs", "inputs", "name", "cls", "a_1", "column__"]  # fmt: skip
    raw = {name: np.array([float(i)], np.float32) for i, name in enumerate(NAMES)}
    expected = inner({"numbers": np.arange(len(NAMES), dtype=np.float32)[None]})
    np.testing.assert_allclose(serving.predict(raw), expected, rtol=1e-5)
    tensors = {names[name]: tf.constant(values) for name, values in raw.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(tensors), expected, rtol=1e-5)
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(served(**tensors)["prediction"], expected, rtol=1e-5)


def test_input_names_do_not_depend_on_the_order_of_columns_they_can_keep():
    def layout(*names: str) -> Layout:
        fields = (NumberField(Column(name, "numeric", "?", "float32"), i) for i, name in enumerate(names))
        return Layout(tuple(fields), (), LabelField("y", "?", "binary"))

    assert input_names(layout("a b", "a_b")) == {"a b": "a_b_2", "a_b": "a_b"}
    assert input_names(layout("a_b", "a b")) == {"a_b": "a_b", "a b": "a_b_2"}
    assert input_names(layout("mlp", "x"), ["mlp"]) == {"mlp": "mlp_2", "x": "x"}


def test_an_answer_needs_every_required_number_and_no_other():
    """A relu inside the model makes 0 of NaN; the export knows by the input that there is no answer."""
    columns = [
        NumberField(Column("vector", "vector", "?", "float32", size=2), 0, required=True),
        NumberField(Column("imputed", "numeric", "?", "float64"), 2),
        NumberField(Column("whole", "numeric", "?", "int64"), 3, required=True),
    ]
    layout = Layout(tuple(columns), (), LabelField("y", "?", "binary"))
    numbers = keras.Input((4,), name="numbers")
    filled = keras.ops.where(keras.ops.isnan(numbers), 0.0, numbers)
    inner = keras.Model({"numbers": numbers}, keras.layers.Dense(1, "sigmoid")(filled))
    rows = {
        "vector": np.array([[1, 2], [np.nan, 2], [1, np.nan], [1, 2]], np.float32),
        "imputed": np.array([1, 1, 1, np.nan]),
        "whole": np.array([1, 1, 1, 1]),
    }
    assert np.isnan(serving_model(inner, layout).predict(rows)[:, 0]).tolist() == [False, True, True, False]
