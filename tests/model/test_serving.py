"""What is exported answers raw rows as the run answers packed ones."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.model.packed_sets import every_kind, make_config
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.serving import export, serving_model
from trainer.model.trainable import compile_model

RELOAD = """
import sys, numpy as np
import keras
sys.modules["trainer"] = None
folder = sys.argv[1]
raw = dict(np.load(folder + "/raw.npz", allow_pickle=True))
import tensorflow as tf
raw = {name: tf.constant(value.tolist() if value.dtype == object else value) for name, value in raw.items()}
model = keras.models.load_model(folder + "/model.keras")
served = tf.saved_model.load(folder + "/saved_model").signatures["serving_default"]
answer = served(**{name.replace(" ", "_"): value for name, value in raw.items()})["prediction"]
predicted = model.predict(tf.data.Dataset.from_tensors(raw), verbose=0)
np.savez(folder + "/answers.npz", keras=model(raw), predicted=predicted, saved_model=answer)
"""


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_raw_rows_give_what_packed_rows_give_in_a_process_without_trainer(tmp_path, task):
    train = every_kind(200, task=task)
    config = make_config(task)
    features = Features(train.layout, config, train.statistics)
    trained = compile_model(build(features, config), config, steps_total=10)
    fresh = every_kind(200, seed=1, task=task, unseen=True)
    inside = trained.predict(fresh.x, verbose=0)
    export(serving_model(features, trained, train.layout), tmp_path, train.layout)
    np.savez(tmp_path / "raw.npz", **fresh.raw)
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", RELOAD, str(tmp_path)], check=True, cwd=tmp_path)
    assert np.isfinite(inside).all()
    for answer in np.load(tmp_path / "answers.npz").values():
        np.testing.assert_allclose(answer, inside, rtol=1e-5, atol=1e-6)


def test_the_packing_in_front_of_the_export_is_the_feeds():
    made = every_kind(300, seed=3, unseen=True)

    class Echo(keras.layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x["numbers"], keras.ops.cast(x["codes"], "float32")], axis=1)

    inputs = Features(made.layout, make_config(), made.statistics).inputs()
    front = serving_model(None, keras.Model(inputs, Echo()(inputs)), made.layout)
    packed = front({name: tf.constant(v.tolist() if v.dtype == object else v) for name, v in made.raw.items()})
    np.testing.assert_allclose(packed, np.concatenate([made.x["numbers"], made.x["codes"]], axis=1), rtol=1e-6)
