"""Temperature scaling: the fit against SciPy, and the run, its export and its result against each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from trainer.config import Config
from trainer.errors import ConfigError
from trainer.metrics import value
from trainer.run.fit import fit
from trainer.serving.calibration import fit_temperature
from trainer.serving.evaluation import evaluate


def drawn(task: str, temperature: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow logits / temperature."""
    rng = np.random.default_rng(0)
    if task == "binary":
        z = rng.normal(0, 3, rows)
        return (rng.random(rows) < 1 / (1 + np.exp(-z / temperature))).astype(float), z[:, None]
    z = rng.normal(0, 3, (rows, 4))
    gumbel = rng.gumbel(size=z.shape)
    return (z / temperature + gumbel).argmax(axis=1), z


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("temperature", [0.4, 1.7, 6.0])
def test_the_temperature_is_the_one_that_scipy_finds_and_near_the_true_one(task, temperature):
    labels, logits = drawn(task, temperature)
    found = fit_temperature(task, labels, logits)
    z = np.concatenate([np.zeros_like(logits), logits], axis=1) if task == "binary" else logits
    rows = np.arange(len(z))

    def log_loss(log_t: float) -> float:
        return -log_softmax(z / np.exp(log_t), axis=1)[rows, labels.astype(int)].mean()

    best = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    assert found is not None
    assert found.temperature == pytest.approx(np.exp(best.x), rel=1e-4)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.applied
    assert found.brier_after < found.brier_before
    assert found.log_loss_after == pytest.approx(best.fun, rel=1e-6)
    if task == "binary":
        p = 1 / (1 + np.exp(-logits[:, 0]))
        assert found.brier_before == pytest.approx(value("brier", "binary", labels, p))
        assert found.log_loss_before == pytest.approx(value("loss", "binary", labels, p))


def test_a_temperature_that_does_not_lower_the_brier_score_is_not_applied():
    """A few rows that are surely wrong cost much log loss and little Brier score."""
    z = np.concatenate([np.full(990, 3.0), np.full(10, 40.0)])
    labels = np.concatenate([np.ones(943), np.zeros(47), np.zeros(10)])
    found = fit_temperature("binary", labels, z[:, None])
    assert found is not None
    assert (found.log_loss_after < found.log_loss_before, found.applied) == (True, False)
    assert "not calibrated" in str(found)


def test_rows_of_one_class_tell_no_temperature():
    assert fit_temperature("binary", np.ones(9), np.zeros((9, 1))) is None


def noisy(folder, task: str) -> None:
    rng = np.random.default_rng(3)
    for part, rows in (("train", 400), ("held", 800)):
        x = rng.normal(size=(rows, 4))
        score = x[:, 0] + rng.normal(0, 1.5, rows)
        label = (score > 0).astype("int8") if task == "binary" else np.digitize(score, [-1, 1])
        (folder / part).mkdir()
        pq.write_table(pa.table({**{f"x{i}": x[:, i] for i in range(4)}, "y": label}), folder / part / "a.parquet")


def job(folder, task: str, **changes) -> Config:
    document = {
        "data": {
            "train": str(folder / "train"),
            "validation": str(folder / "held"),
            "label": "y",
            "features": {f"x{i}": {"kind": "numeric"} for i in range(4)},
        },
        "task": task,
        "model": {"builtin": "mlp", "hidden": [256, 256]},
        "fit": {"epochs": 40, "batch_size": 50, "early_stopping": None, "calibrate": "temperature"},
        "output": {"uri": str(folder / "models")},
    }
    return Config.model_validate(document | changes)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_an_overconfident_run_is_calibrated_and_its_export_says_what_the_result_says(tmp_path, task):
    noisy(tmp_path, task)
    result = fit(job(tmp_path, task), run_id="r", devices="cpu").document
    found = result["calibration"]
    assert found["applied"]
    assert found["temperature"] > 1.2
    assert found["brier_after"] < found["brier_before"]
    assert found["rows"] == 800
    scored = evaluate(f"{tmp_path}/models/runs/r", str(tmp_path / "held"))["metrics"]
    assert scored["loss"] == pytest.approx(found["log_loss_after"], rel=1e-5)
    assert scored["loss"] == pytest.approx(result["metrics"]["validation"]["loss"], rel=1e-5)
    assert scored["accuracy"] == pytest.approx(result["metrics"]["validation"]["accuracy"], rel=1e-6)
    page = (tmp_path / "models/runs/r/report.html").read_text()
    assert f"calibrated by temperature {found['temperature']:.3g}" in page


def test_a_model_of_ones_own_is_calibrated_too(tmp_path, monkeypatch):
    noisy(tmp_path, "binary")
    (tmp_path / "own_dense.py").write_text(
        "import keras\n"
        "def build(features):\n"
        "    inputs = features.inputs()\n"
        "    hidden = keras.layers.Dense(512, 'relu')(features.encode(inputs))\n"
        "    return keras.Model(inputs, keras.layers.Dense(1, features.activation)(hidden))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = fit(job(tmp_path, "binary", model={"entrypoint": "own_dense:build"}), run_id="r", devices="cpu").document
    assert result["calibration"]["applied"]
    scored = evaluate(f"{tmp_path}/models/runs/r", str(tmp_path / "held"))["metrics"]
    assert scored["loss"] == pytest.approx(result["calibration"]["log_loss_after"], rel=1e-5)


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("regression", {}, "fit.calibrate goes with binary and multiclass"),
        ("binary", {"data": {"train": "x", "label": "y", "features": {"a": {"kind": "numeric"}}}}, "data.validation"),
        ("binary", {"fit": {"calibrate": "temperature", "loss": "BinaryFocalCrossentropy"}}, "not with BinaryFocal"),
        ("multiclass", {"fit": {"calibrate": "temperature", "loss": {"entrypoint": "a:loss"}}}, "not with a:loss"),
    ],
)
def test_calibration_without_what_it_needs_is_refused(tmp_path, task, changes, words):
    with pytest.raises(ValueError, match=words):
        job(tmp_path, task, **changes)


def test_a_model_that_is_compiled_with_another_loss_is_refused_before_training(tmp_path, monkeypatch):
    noisy(tmp_path, "binary")
    (tmp_path / "own_compiled.py").write_text(
        "import keras\n"
        "def build():\n"
        "    model = keras.Sequential([keras.layers.Dense(8, 'relu'), keras.layers.Dense(1, 'sigmoid')])\n"
        "    model.compile(loss='hinge')\n"
        "    return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"entrypoint": "own_compiled:build", "inputs": "encoded"}
    with pytest.raises(ConfigError, match="the model is compiled with a loss"):
        fit(job(tmp_path, "binary", model=own), run_id="r", devices="cpu")


def test_a_model_of_ones_own_that_hides_its_logits_is_refused_before_training(tmp_path, monkeypatch):
    noisy(tmp_path, "binary")
    (tmp_path / "hides_logits.py").write_text(
        "import keras\n"
        "def build(features):\n"
        "    inputs = features.inputs()\n"
        "    logits = keras.layers.Dense(1)(features.encode(inputs))\n"
        "    return keras.Model(inputs, keras.layers.Activation('sigmoid', name='end')(logits))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="the model ends in Activation 'end'") as caught:
        fit(job(tmp_path, "binary", model={"entrypoint": "hides_logits:build"}), run_id="r", devices="cpu")
    assert "features.activation" in caught.value.remedy
