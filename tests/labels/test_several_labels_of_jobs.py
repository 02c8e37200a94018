"""A job with several labels, from the rows to predictions, gate and report; killed and gone on with."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
import tensorflow as tf

import trainer
from tests import sets, trainer_process
from trainer.config import Config
from trainer.errors import ConfigError, ModelCodeError
from trainer.serving import published_model
from trainer.serving.evaluation import evaluate
from trainer.serving.prediction import predict

ROWS = 1200
LABELS = {"late": {"task": "binary", "class_weight": "balanced"}, "minutes": {"task": "regression", "weight": 0.2}}
#: Large values are stored minus an offset.
START = 3e8


def write(folder: Path) -> Path:
    """Two shards with x, what follows from it, and fresh rows."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=ROWS)
    minutes = START + 20 * x + rng.normal(0, 2, ROWS)
    table = pa.table({"x": x, "late": (x + rng.normal(0, 0.5, ROWS) > 1).astype(np.int8), "minutes": minutes})
    (folder / "data").mkdir(parents=True)
    for i in range(2):
        pq.write_table(table.slice(i * ROWS // 2, ROWS // 2), folder / f"data/{i}.parquet", row_group_size=200)
    pq.write_table(table, folder / "fresh.parquet")
    return folder


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    return sets.job(
        folder / "data",
        folder / "out",
        **{
            "data__label": None,
            "task": None,
            "data__labels": LABELS,
            "data__features": {"x": {"kind": "numeric"}},
            "model": {"builtin": "mlp", "hidden": [16], "numbers": "none"},
            "fit": {"epochs": 24, "batch_size": 24},
            "output__tensorboard": False,
            **changes,
        },
    )


def config(folder: Path, **changes: Any) -> Config:
    return Config.model_validate(job(folder, **changes)["run"])


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def run(workshop: Path) -> Any:
    rules = {"metric": "late_auc", "limits": {"minutes_rmse": 5}}
    return trainer.fit(config(workshop, data__holdout=str(workshop / "fresh.parquet"), promote=rules))


@pytest.fixture(scope="module")
def answers(workshop: Path, run: Any) -> pa.Table:
    predict(run.uri, str(workshop / "data"), str(workshop / "answers"))
    return pq.read_table(workshop / "answers")


def test_predictions_have_a_column_for_each_label(answers: pa.Table):
    assert answers.column_names == ["x", "late", "minutes", "late_prediction", "minutes_prediction"]
    assert sklearn.metrics.roc_auc_score(answers["late"], answers["late_prediction"]) > 0.9
    assert np.abs(answers["minutes"].to_numpy() - answers["minutes_prediction"].to_numpy()).mean() < 4


def test_evaluate_gate_and_report_speak_of_each_label(workshop: Path, run: Any, answers: pa.Table):
    late, p = answers["late"].to_numpy(), answers["late_prediction"].to_numpy().astype(np.float64)
    errors = answers["minutes"].to_numpy() - answers["minutes_prediction"].to_numpy()
    scored = evaluate(run.uri, str(workshop / "data"))["metrics"]
    expected = {
        "late_auc": sklearn.metrics.roc_auc_score(late, p),
        "late_loss": -np.where(late, np.log(p), np.log1p(-p)).mean(),
        "minutes_loss": np.square(errors).mean(),
        "minutes_mae": np.abs(errors).mean(),
    }
    assert {name: scored[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    decision, baseline = run.document["decision"], run.document["baseline"]
    assert decision["promoted"]
    assert decision["metrics"]["late_auc"] == pytest.approx(scored["late_auc"], rel=1e-6)
    assert decision["metrics"]["minutes_rmse"] == pytest.approx(scored["minutes_rmse"], rel=1e-6)
    validation = run.document["metrics"]["validation"]
    assert {"loss", "late_loss", "late_auc", "minutes_loss", "minutes_mae", "minutes_r2"} <= validation.keys()
    assert validation["minutes_rmse"] < baseline["minutes_rmse"] / 3
    assert baseline["late_auc"] == 0.5
    page = Path(run.uri, "report.html").read_text()
    for words in ("predicts late, minutes", "late: ROC", "minutes: Residuals", "late: what the model goes by", "RMSE"):
        assert words in page


def test_a_gate_by_a_metric_of_one_label_compares_that_label(workshop: Path, run: Any):
    rules = {"metric": "minutes_rmse", "slices": ["late"]}
    fresh = str(workshop / "fresh.parquet")
    worse = config(workshop, data__holdout=fresh, promote=rules, fit__epochs=1, data__unchanged="fit")
    decision = trainer.fit(worse).document["decision"]
    assert decision["gain"]["metric"] == "minutes_rmse"
    assert decision["gain"]["champion"] == pytest.approx(run.document["decision"]["metrics"]["minutes_rmse"])
    assert decision["gain"]["gain"] < 0
    assert not decision["promoted"]
    assert {one["column"] for one in decision["slices"]} == {"late"}


def test_both_forms_of_the_export_answer_by_label(run: Any, answers: pa.Table):
    x = {"x": tf.constant(answers["x"].to_numpy())}
    model = keras.models.load_model(f"{run.uri}/model/model.keras")
    signature = tf.saved_model.load(f"{run.uri}/model/saved_model").signatures["serving_default"]
    for found in (model(x), signature(**x)):
        assert sorted(found) == ["late", "minutes"]
        np.testing.assert_allclose(found["late"][:, 0], answers["late_prediction"], rtol=1e-5)
        minutes = answers["minutes_prediction"].to_numpy()
        np.testing.assert_allclose(found["minutes"][:, 0] - START, minutes - START, rtol=1e-4, atol=1e-3)
    layout = published_model.load(run.uri).layout
    assert [label.name for label in layout.labels] == ["late", "minutes"]
    assert layout.label_offset[0] == 0.0
    assert layout.label_offset[1] == pytest.approx(START, abs=10)


def test_a_warm_start_takes_the_same_labels(workshop: Path, run: Any):
    again = trainer.fit(config(workshop, fit__warm_start=run.uri, fit__epochs=1))
    assert again.document["metrics"]["validation"]["minutes_rmse"] < 5
    other = {"late": {"task": "binary"}, "x": {"task": "regression"}}
    features = {"minutes": {"kind": "numeric"}}
    with pytest.raises(ConfigError, match="has no feature"):
        trainer.fit(config(workshop, data__labels=other, data__features=features, fit__warm_start=run.uri))


def test_a_run_that_is_killed_ends_with_the_same_weights(workshop: Path):
    """Every bit: both go on from a checkpoint, or from none."""
    document = job(workshop, fit={"epochs": 20, "batch_size": 24}, output__checkpoint={"every": "1 epoch"})
    sets.write_job(workshop / "job.yaml", document)
    words = ("fit", str(workshop / "job.yaml"), "--run")
    whole = trainer_process.trainer(workshop, *words, "whole")
    assert whole.returncode == 0, whole.stderr
    killed = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words, "cut"],
        env=trainer_process.environment(workshop),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints = workshop / "out/runs/cut/checkpoints"
    while not (checkpoints.exists() and any(checkpoints.iterdir())) and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -9, "it ended before it was killed"
    cut = trainer_process.trainer(workshop, *words, "cut")
    assert cut.returncode == 0, cut.stderr
    runs = [workshop / "out/runs" / name for name in ("whole", "cut")]
    models = [keras.models.load_model(one / "model/model.keras").get_weights() for one in runs]
    assert all(np.array_equal(a, b) for a, b in zip(*models, strict=True))
    assert [(one / "metrics.jsonl").read_text().count("minutes_rmse") > 0 for one in runs] == [True, True]


MODELS = """
import keras
def named(features):
    inputs = features.inputs()
    hidden = keras.layers.Dense(8, "relu")(features.encode(inputs))
    ends = {head.label: keras.layers.Dense(head.outputs, head.activation)(hidden) for head in features.heads}
    return keras.Model(inputs, ends)
def logits(features):
    inputs = features.inputs()
    return keras.Model(inputs, [keras.layers.Dense(1)(features.encode(inputs)) for _ in features.heads])
def one(features):
    inputs = features.inputs()
    return keras.Model(inputs, keras.layers.Dense(1)(features.encode(inputs)))
def compiled(features):
    model = named(features)
    model.compile(loss={"late": "binary_crossentropy", "minutes": "mse"})
    return model
"""


def test_a_model_of_one_s_own_returns_an_output_for_each_label(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "label_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)

    def fit(name: str) -> Any:
        return trainer.fit(config(workshop, model={"entrypoint": f"label_models:{name}"}, data__labels=LABELS))

    assert fit("named").document["metrics"]["validation"]["late_auc"] > 0.8
    for name, what in {
        "logits": "ends in layer .* without activation, expected sigmoid",
        "one": "expected shape .None, 2., or a dict of late, minutes",
        "compiled": "is compiled, which goes with one label; the job has 2",
    }.items():
        with pytest.raises(ModelCodeError, match=what):
            fit(name)
