"""Models with no word of kfit in their code are trained, published, loaded again and scored, by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import sets

CODE = """
import keras
from keras import ops


class WideAndDeep(keras.Model):
    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.place = keras.layers.Embedding(8, 3)
        self.deep = keras.layers.Dense(units, "relu")
        self.head = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        place = ops.squeeze(self.place(inputs["city"]), 1)
        numbers = ops.concatenate([inputs["x"], inputs["n"], inputs["profile"]], axis=-1)
        return self.head(self.deep(ops.concatenate([numbers, place], axis=-1)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def compiled():
    x, city = keras.Input((1,), name="x"), keras.Input((1,), name="city", dtype="string")
    codes = keras.layers.StringLookup(vocabulary=["bonn", "ulm"], output_mode="one_hot")(city)
    joined = keras.layers.Concatenate()([x, codes])
    model = keras.Model({"x": x, "city": city}, keras.layers.Dense(1, "sigmoid")(joined))
    model.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryFocalCrossentropy(), metrics=["accuracy"])
    return model
"""


@pytest.mark.parametrize(
    ("model", "metrics"),
    [
        ({"entrypoint": "own:WideAndDeep", "inputs": "encoded", "args": {"units": 4}}, {"auc", "pr_auc", "accuracy"}),
        ({"entrypoint": "own:compiled", "inputs": "raw"}, {"accuracy"}),
    ],
    ids=["subclass", "compiled"],
)
def test_a_model_as_people_write_it_is_published_and_scored(tmp_path: Path, model: dict[str, Any], metrics: set[str]):
    (tmp_path / "own.py").write_text(CODE)
    document = sets.job(sets.write(tmp_path / "data"), tmp_path / "out", model=model, fit__epochs=15)
    sets.write_job(tmp_path / "job.yaml", document)

    def trainer(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "KFIT_CACHE": str(tmp_path / "cache")},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    trainer("fit", "job.yaml", "--run", "r")
    result = json.loads((tmp_path / "out/runs/r/result.json").read_text())
    assert set(result["metrics"]["validation"]) == {"loss", *metrics}
    assert result["metrics"]["validation"]["accuracy"] > 0.6
    scored = json.loads(
        trainer("evaluate", str(tmp_path / "out/runs/r"), "--data", str(tmp_path / "data"), "-o", "json")
    )
    assert scored["metrics"]["accuracy"] > 0.6
