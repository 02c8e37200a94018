"""`model.from`: training goes on with a saved model, from a `.keras` file or a published run, local and in S3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests import sets
from tests.trainer_process import environment
from trainer import storage
from trainer.config import Config
from trainer.errors import ConfigError, KfitError, ModelCodeError
from trainer.progress.progress import make_progress
from trainer.run.fit import fit
from trainer.run.nightly_hooks import _digest
from trainer.run.preflight import check
from trainer.serving import published_model

FEATURES = {"x": {"kind": "numeric"}, "city": {"kind": "categorical"}}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFIT_CACHE", str(tmp_path / "cache"))


@keras.saving.register_keras_serializable("fine_tuning")
class Halved(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2


def base(cities: list[str] | None = None, outputs: int = 1) -> keras.Model:
    keras.utils.set_random_seed(1)
    x, city = keras.Input((1,), name="x"), keras.Input((1,), name="city", dtype="string")
    codes = keras.layers.StringLookup(vocabulary=cities or ["bonn", "ulm"], output_mode="one_hot")(city)
    hidden = keras.layers.Dense(4, "relu", name="body")(keras.layers.Concatenate()([Halved()(x), codes]))
    return keras.Model([x, city], keras.layers.Dense(outputs, "sigmoid", name="head")(hidden))


def saved(folder: str, model: keras.Model, tmp_path: Path) -> str:
    """The model as a file in a folder or bucket."""
    model.save(tmp_path / "local.keras")
    uri = storage.join(folder, "base.keras")
    storage.write_file(uri, tmp_path / "local.keras")
    return uri


def job(tmp_path: Path, output: str, model: dict[str, Any], **changes: Any) -> Config:
    data = tmp_path / "data"
    if not data.exists():
        sets.write(data)
    changes = {"data__features": FEATURES, "fit__epochs": 1, "fit__early_stopping": None, **changes}
    return Config.model_validate(sets.job(data, output, model=model, **changes)["run"])


def run(config: Config, name: str) -> str:
    return fit(config, run_id=name, devices="cpu", progress=make_progress(None)).uri


def weights(model: Any) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in model._flatten_layers() if layer.name in ("body", "head")}


def test_a_keras_file_is_trained_on_and_frozen_layers_stay(tmp_path: Path, output: str) -> None:
    before = base()
    uri = saved(output, before, tmp_path)
    end = run(job(tmp_path, output, {"from": uri, "freeze": ["body"]}), "tuned")
    first, after = weights(before), weights(published_model.load(end).model)
    np.testing.assert_array_equal(first["body"], after["body"])
    assert 0 < np.abs(first["head"] - after["head"]).max() < 0.5


def test_a_published_run_is_trained_on_with_its_vocabulary(tmp_path: Path, output: str) -> None:
    """Where nothing is learnt the model predicts what the first did, for rows of another set with other cities."""
    first = run(job(tmp_path, output, {"builtin": "mlp", "hidden": [4]}), "first")
    sets.write(tmp_path / "data", shards=2)  # the second half of the set stays: shares of the cities change
    still = {"optimizer": {"name": "sgd", "learning_rate": 1e-12}, "epochs": 1, "batch_size": 64}
    second = run(job(tmp_path, output, {"from": first}, fit=still), "second")
    third = run(job(tmp_path, output, {"from": f"{second}/model/model.keras"}, fit=still), "third")
    rows = {"x": np.linspace(-2, 2, 6, dtype="float32"), "city": np.array(["bonn", "ulm", "köln", "", "rom", "ulm"])}
    models = [published_model.load(uri) for uri in (first, second, third)]
    answers = [model.predict(rows) for model in models]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-5)
    depths = [len(list(model.trained._flatten_layers())) for model in models]
    assert depths[2] == depths[1]  # a chain of fine-tunings does not grow


def only_x() -> keras.Model:
    x = keras.Input((1,), name="x")
    return keras.Model(x, keras.layers.Dense(1, "sigmoid", name="head")(keras.layers.Dense(4, name="body")(x)))


@pytest.mark.parametrize(("made", "columns"), [(base, ["x", "city"]), (only_x, ["x"])])
def test_a_published_model_of_raw_columns_is_trained_on(
    tmp_path: Path, made: Callable[[], keras.Model], columns: list[str]
) -> None:
    out, features = str(tmp_path / "out"), {name: FEATURES[name] for name in columns}
    models: list[dict[str, Any]] = [{"entrypoint": f"{__name__}:{made.__name__}", "inputs": "raw"}]
    for name in ("first", "second", "third"):
        end = run(job(tmp_path, out, models[-1], data__features=features), name)
        models.append({"from": end, "freeze": ["body"]})
    first, third = (weights(published_model.load(f"{out}/runs/{name}").model) for name in ("first", "third"))
    np.testing.assert_array_equal(first["body"], third["body"])
    assert np.abs(first["head"] - third["head"]).max() > 0


def test_what_would_run_code_is_refused(tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((1,), name="x")
    halved = keras.layers.Lambda(lambda x: x / 2)(inputs)
    uri = saved(output, keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(halved)), tmp_path)
    with pytest.raises(ModelCodeError, match=r"Keras does not load the model: .*[Ll]ambda") as refused:
        run(job(tmp_path, output, {"from": uri}, data__features={"x": FEATURES["x"]}), "code")
    assert refused.value.where == uri

    (tmp_path / "elsewhere.py").write_text("import keras\n\n\nclass Own(keras.layers.Layer):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from elsewhere import Own

    uri = saved(output + "/2", keras.Sequential([inputs, Own(), keras.layers.Dense(1, "sigmoid")]), tmp_path)
    (tmp_path / "elsewhere.py").unlink()
    sys.modules.pop("elsewhere")
    monkeypatch.undo()
    monkeypatch.setenv("KFIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelCodeError, match="No module named 'elsewhere'"):
        run(job(tmp_path, output, {"from": uri}, data__features={"x": FEATURES["x"]}), "unknown")


@pytest.mark.parametrize(
    ("model", "changes", "where", "says"),
    [
        ({"inputs": "raw"}, {"data__features": {"x": FEATURES["x"]}}, "run.model.inputs", "has the inputs city"),
        ({"inputs": "packed"}, {}, "run.model.from", "has the inputs x, city; packed inputs are numbers, codes"),
        ({"freeze": ["boddy"]}, {}, "run.model.freeze", "has no layer 'boddy'; did you mean 'body'"),
        ({"outputs": 3}, {}, "run.model.from", r"\(None, 3\), expected shape \(None, 1\)"),
        (
            {"width": 1},
            {"data__features": {"profile": {"kind": "vector", "size": 3}}},
            "run.model.from",
            "an input profile",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_columns_is_one_clear_error(
    tmp_path: Path, model: dict[str, Any], changes: dict[str, Any], where: str, says: str
) -> None:
    model = dict(model)
    made = base(outputs=model.pop("outputs", 1))
    if width := model.pop("width", 0):  # Keras itself takes three columns for an input of one, until the first step
        profile = keras.Input((width,), name="profile")
        made = keras.Model(profile, keras.layers.Dense(1, "sigmoid")(profile))
    uri = saved(str(tmp_path), made, tmp_path)
    with pytest.raises(KfitError, match=says) as refused:
        run(job(tmp_path, str(tmp_path / "out"), {"from": uri, **model}, **changes), "r")
    assert refused.value.where == where


def test_a_model_that_is_not_there_is_told_by_the_check_before_data_is_read(tmp_path: Path, output: str) -> None:
    refusals = {f"{output}/no.keras": "there is no file", output: "no published model there", "m.h5": "no .keras file"}
    for uri, says in refusals.items():
        with pytest.raises(ConfigError, match=says):
            check(job(tmp_path, output, {"from": uri}))
    (tmp_path / "half.keras").write_bytes(b"PK")
    with pytest.raises(ModelCodeError, match="Keras does not load the model") as refused:
        run(job(tmp_path, output, {"from": str(tmp_path / "half.keras")}), "half")
    assert refused.value.remedy == "give a whole file that model.save('….keras') has written"


def test_other_columns_than_the_published_ones_are_named(tmp_path: Path) -> None:
    first = run(job(tmp_path, str(tmp_path / "out"), {"builtin": "linear"}), "first")
    features = {**FEATURES, "n": {"kind": "numeric", "impute": "mean"}}
    with pytest.raises(ConfigError, match="run first has no feature 'n'") as refused:
        run(job(tmp_path, str(tmp_path / "out"), {"from": first}, data__features=features), "second")
    assert refused.value.where == "run.model.from"
    with pytest.raises(ConfigError, match="what a published model takes is known"):
        check(job(tmp_path, str(tmp_path / "out"), {"from": first, "inputs": "raw"}))


def test_two_starts_are_refused_and_the_files_content_decides_what_is_unchanged(tmp_path: Path) -> None:
    uri = saved(str(tmp_path), base(), tmp_path)
    with pytest.raises(ValueError, match="leave one of them out"):
        job(tmp_path, str(tmp_path / "out"), {"from": uri}, fit__warm_start="runs/r")
    config = job(tmp_path, str(tmp_path / "out"), {"from": uri})
    assert config.model_dump(mode="json")["model"] == {"from": uri, "inputs": None, "freeze": []}
    digests = [_digest(config, "f", {}), _digest(config, "f", {})]
    saved(str(tmp_path), base(cities=["bonn"]), tmp_path)
    digests.append(_digest(config, "f", {}))
    assert [digests.index(digest) for digest in digests] == [0, 0, 2]


OWN = """
import keras
from keras import ops


class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.scale


class Wide(keras.Model):
    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units, self.scaled = units, Scaled()
        self.deep, self.head = keras.layers.Dense(units, "relu"), keras.layers.Dense(1, "sigmoid", name="head")

    def call(self, columns):
        return self.head(self.deep(self.scaled(ops.concatenate([columns["x"], columns["city"]], axis=-1))))

    def get_config(self):
        return {**super().get_config(), "units": self.units}
"""


def test_a_model_of_ones_own_classes_is_trained_on_in_another_process(tmp_path: Path) -> None:
    """Found by name in the working folder: Keras itself knows neither class there."""
    (tmp_path / "own_wide.py").write_text(OWN)
    sets.write(tmp_path / "data")
    model = {"entrypoint": "own_wide:Wide", "inputs": "encoded"}
    still = {"epochs": 1, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e-12}}
    first = str(tmp_path / "out/runs/first")
    jobs = {
        "first": {"model": model, "fit__epochs": 1},
        "warm": {"model": model, "fit": {**still, "warm_start": first}},
        "from": {"model": {"from": first}, "fit": still},
    }
    metrics = {}
    for (name, changes), devices in zip(jobs.items(), ("cpu", "cpu", "cpu:2"), strict=True):
        document = sets.job(tmp_path / "data", tmp_path / "out", data__features=FEATURES, **changes)
        path = sets.write_job(tmp_path / f"{name}.yaml", document)
        done = subprocess.run(
            [sys.executable, "-m", "trainer", "fit", str(path), "--run", name, "--devices", devices],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            cwd=tmp_path,
            env=environment(tmp_path),
        )
        assert done.returncode == 0, done.stderr
        metrics[name] = json.loads((tmp_path / f"out/runs/{name}/result.json").read_text())["metrics"]["validation"]
    assert metrics["warm"] == pytest.approx(metrics["first"], abs=1e-4)
    assert metrics["from"] == pytest.approx(metrics["first"], abs=1e-4)
