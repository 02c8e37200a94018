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
from trainer.run.record import Result
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
    calibration = fit_temperature(task, labels, logits)
    z = np.concatenate([np.zeros_like(logits), logits], axis=1) if task == "binary" else logits
    rows = np.arange(len(z))

    def log_loss(log_t: float) -> float:
        return -log_softmax(z / np.exp(log_t), axis=1)[rows, labels.astype(int)].mean()

    best = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    assert calibration is not None
    assert calibration.temperature == pytest.approx(np.exp(best.x), rel=1e-4)
    assert calibration.temperature == pytest.approx(temperature, rel=0.1)
    assert calibration.applied
    assert calibration.brier_after < calibration.brier_before
    assert calibration.log_loss_after == pytest.approx(best.fun, rel=1e-6)
    if task == "binary":
        p = 1 / (1 + np.exp(-logits[:, 0]))
        assert calibration.brier_before == pytest.approx(value("brier", "binary", labels, p))
        assert calibration.log_loss_before == pytest.approx(value("loss", "binary", labels, p))


def test_a_temperature_that_does_not_lower_the_brier_score_is_not_applied():
    """A few rows that are surely wrong cost much log loss and little Brier score."""
    z = np.concatenate([np.full(990, 3.0), np.full(10, 40.0)])
    labels = np.concatenate([np.ones(943), np.zeros(47), np.zeros(10)])
    calibration = fit_temperature("binary", labels, z[:, None])
    assert calibration is not None
    assert (calibration.log_loss_after < calibration.log_loss_before, calibration.applied) == (True, False)
    assert "not calibrated" in str(calibration)


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


@pytest.fixture
def fit_own(tmp_path, monkeypatch):
    """Fits a model of one's own: the module's name, its lines, and further keys of `run.model`."""

    def fit_it(module: str, *lines: str, **model: str) -> Result:
        noisy(tmp_path, "binary")
        (tmp_path / f"{module}.py").write_text("\n".join(["import keras", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        own = {"entrypoint": f"{module}:build", **model}
        return fit(job(tmp_path, "binary", model=own), run_id="r", devices="cpu")

    return fit_it


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_an_overconfident_run_is_calibrated_and_its_export_says_what_the_result_says(tmp_path, task):
    noisy(tmp_path, task)
    result = fit(job(tmp_path, task), run_id="r", devices="cpu").document
    calibration = result["calibration"]
    assert calibration["applied"]
    assert calibration["temperature"] > 1.2
    assert calibration["brier_after"] < calibration["brier_before"]
    assert calibration["rows"] == 800
    scored = evaluate(f"{tmp_path}/models/runs/r", str(tmp_path / "held"))["metrics"]
    assert scored["loss"] == pytest.approx(calibration["log_loss_after"], rel=1e-5)
    assert scored["loss"] == pytest.approx(result["metrics"]["validation"]["loss"], rel=1e-5)
    assert scored["accuracy"] == pytest.approx(result["metrics"]["validation"]["accuracy"], rel=1e-6)
    page = (tmp_path / "models/runs/r/report.html").read_text()
    assert f"calibrated by temperature {calibration['temperature']:.3g}" in page


def test_a_model_of_ones_own_is_calibrated_too(tmp_path, fit_own):
    result = fit_own(
        "own_dense",
        "def build(features):",
        "    inputs = features.inputs()",
        "    hidden = keras.layers.Dense(512, 'relu')(features.encode(inputs))",
        "    return keras.Model(inputs, keras.layers.Dense(1, features.activation)(hidden))",
    ).document
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


def test_a_model_that_is_compiled_with_another_loss_is_refused_before_training(fit_own):
    lines = [
        "def build():",
        "    model = keras.Sequential([keras.layers.Dense(8, 'relu'), keras.layers.Dense(1, 'sigmoid')])",
        "    model.compile(loss='hinge')",
        "    return model",
    ]
    with pytest.raises(ConfigError, match="the model is compiled with a loss"):
        fit_own("own_compiled", *lines, inputs="encoded")


def test_a_model_of_ones_own_that_hides_its_logits_is_refused_before_training(fit_own):
    lines = [
        "def build(features):",
        "    inputs = features.inputs()",
        "    logits = keras.layers.Dense(1)(features.encode(inputs))",
        "    return keras.Model(inputs, keras.layers.Activation('sigmoid', name='end')(logits))",
    ]
    with pytest.raises(ConfigError, match="the model ends in Activation 'end'") as caught:
        fit_own("hides_logits", *lines)
    assert "features.activation" in caught.value.remedy
