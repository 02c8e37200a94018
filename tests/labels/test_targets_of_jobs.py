"""Jobs that predict counts, quantiles or several classes a row, from the rows to predictions, gate and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics

import trainer
from tests import sets
from trainer.config import Config
from trainer.errors import ConfigError, DataError
from trainer.serving import published_model
from trainer.serving.evaluation import evaluate
from trainer.serving.prediction import predict

ROWS = 1200
X = np.random.default_rng(0).normal(size=ROWS)
RATE = np.exp(1 + X)
COUNTS = np.random.default_rng(1).poisson(RATE)
#: The larger X, the wider they spread: deviation exp(X / 2).
SPREAD = 2 * X + np.random.default_rng(2).normal(size=ROWS) * np.exp(X / 2)


def tagged(tag: str, at: float, x: float, row: int) -> bool:
    return bool(row % 2) if tag == "odd" else x < at if tag == "low" else x > at


def config(folder: Path, label: Any, task: str, **changes: Any) -> Config:
    if not (folder / "data").exists():
        (folder / "data").mkdir(parents=True)
        table = pa.table({"x": X, "label": label})
        for i in range(2):
            pq.write_table(table.slice(i * ROWS // 2, ROWS // 2), folder / f"data/{i}.parquet", row_group_size=200)
        pq.write_table(table, folder / "fresh.parquet")
    document = sets.job(
        folder / "data",
        folder / "out",
        data__features={"x": {"kind": "numeric"}},
        data__holdout=str(folder / "fresh.parquet"),
        task=task,
        model={"builtin": "mlp", "hidden": [16], "numbers": "none"},
        fit={"epochs": 12, "batch_size": 48},
        promote={},
        output__tensorboard=False,
        **changes,
    )
    return Config.model_validate(document["run"])


def answers(folder: Path, uri: str) -> pa.Table:
    predict(uri, str(folder / "data"), str(folder / "answers"))
    return pq.read_table(folder / "answers")


def test_counts_are_learnt_scored_promoted_and_predicted(tmp_path: Path):
    result = trainer.fit(config(tmp_path, COUNTS, "count"))
    table = answers(tmp_path, result.uri)
    p, y = table["prediction"].to_numpy(), table["label"].to_numpy()
    assert table.column_names == ["x", "label", "prediction"]
    assert (p >= 0).all()
    assert np.corrcoef(np.log(p), table["x"].to_numpy())[0, 1] > 0.99
    validation, baseline = result.document["metrics"]["validation"], result.document["baseline"]
    assert validation["deviance"] < 1.5 < baseline["deviance"] / 2  # of Poisson rows about 1
    scored = evaluate(result.uri, str(tmp_path / "data"))["metrics"]
    logs = np.where(y > 0, y * np.log(np.maximum(y, 1) / p), 0)
    assert scored == pytest.approx(
        {
            "loss": (p - y * np.log(p)).mean(),
            "deviance": 2 * (logs - y + p).mean(),
            "mae": np.abs(y - p).mean(),
            "rmse": np.sqrt(np.square(y - p).mean()),
        },
        rel=1e-5,
    )
    decision = result.document["decision"]
    assert decision["promoted"]
    assert decision["metrics"] == pytest.approx(scored, rel=1e-5)
    again = trainer.fit(config(tmp_path, COUNTS, "count", fit__seed=1, data__unchanged="fit")).document["decision"]
    assert again["gain"]["metric"] == "deviance"
    assert "Poisson deviance" in Path(result.uri, "report.html").read_text()


def test_quantiles_are_learnt_scored_promoted_and_predicted_without_crossing(tmp_path: Path):
    label = {"column": "label", "quantiles": [0.05, 0.5, 0.95]}
    result = trainer.fit(config(tmp_path, 1e4 * SPREAD + 1e9, "quantile", data__label=label))
    table = answers(tmp_path, result.uri)
    assert table.column_names == ["x", "label", "prediction_q5", "prediction_q50", "prediction_q95"]
    y, q = table["label"].to_numpy(), np.stack([table[name].to_numpy() for name in table.column_names[2:]], axis=1)
    assert (np.diff(q, axis=1) >= 0).all()
    assert (y[:, None] <= q).mean(axis=0) == pytest.approx([0.05, 0.5, 0.95], abs=0.04)
    widths = (q[:, 2] - q[:, 0]) / 1e4
    assert np.corrcoef(widths, np.exp(table["x"].to_numpy() / 2))[0, 1] > 0.7
    scored = evaluate(result.uri, str(tmp_path / "data"))["metrics"]
    errors = y[:, None] - q
    pinball = np.maximum([0.05, 0.5, 0.95] * errors, np.array([-0.95, -0.5, -0.05]) * errors).mean()
    inside = ((y >= q[:, 0]) & (y <= q[:, 2])).mean()
    assert scored == pytest.approx({"loss": pinball, "pinball": pinball, "coverage": inside}, rel=1e-5)
    assert result.document["metrics"]["validation"]["pinball"] < 0.8 * result.document["baseline"]["pinball"]
    assert result.document["decision"]["metrics"] == pytest.approx({"pinball": pinball, "loss": pinball}, rel=1e-5)
    page = Path(result.uri, "report.html").read_text()
    assert "quantile 0.05:" in page
    assert "where the quantiles say 90" in page
    assert published_model.load(result.uri).layout.label.quantiles == (0.05, 0.5, 0.95)
    wider = {"column": "label", "quantiles": [0.1, 0.9]}
    other = config(tmp_path, SPREAD, "quantile", data__label=wider)
    why = trainer.fit(other).document["decision"]["why"]
    assert "predicts quantile 0.05, 0.5, 0.95, this one quantile 0.1, 0.9" in why
    with pytest.raises(ConfigError, match=r"predicts the quantiles 0\.05, 0\.5, 0\.95, this job 0\.1, 0\.9"):
        trainer.fit(config(tmp_path, SPREAD, "quantile", data__label=wider, fit__warm_start=result.uri))


TAGS = [
    [tag for tag, at in (("low", -0.5), ("odd", 9.0), ("high", 0.5)) if tagged(tag, at, x, n)] for n, x in enumerate(X)
]


def test_several_classes_a_row_are_learnt_scored_promoted_and_predicted(tmp_path: Path):
    result = trainer.fit(config(tmp_path, pa.array(TAGS), "multilabel"))
    table = answers(tmp_path, result.uri)
    assert table.column_names == ["x", "label", "prediction", "probability"]
    p = np.array([list(dict(row).values()) for row in table["probability"].to_pylist()])
    assert [name for name, _ in table["probability"][0].as_py()] == ["high", "low", "odd"]
    assert table["prediction"].to_pylist() == [
        [name for name, likely in zip(("high", "low", "odd"), row, strict=True) if likely > 0.5] for row in p
    ]
    y = np.array([[name in row for name in ("high", "low", "odd")] for row in table["label"].to_pylist()])
    scored = evaluate(result.uri, str(tmp_path / "data"))["metrics"]
    expected = {
        "loss": -np.where(y, np.log(p), np.log1p(-p)).mean(),
        "auc": sklearn.metrics.roc_auc_score(y, p, average="macro"),
        "accuracy": ((p > 0.5) == y).mean(),
        "exact_match": ((p > 0.5) == y).all(axis=1).mean(),
    }
    assert scored == pytest.approx(expected, rel=1e-4)
    assert scored["auc"] > 0.8  # `odd` is chance
    decision = result.document["decision"]
    assert decision["promoted"]
    assert decision["metrics"]["auc"] == pytest.approx(scored["auc"], rel=1e-5)
    assert result.document["baseline"]["auc"] == 0.5
    page = Path(result.uri, "report.html").read_text()
    assert "all classes of a row are right in" in page
    again = trainer.fit(config(tmp_path, TAGS, "multilabel", fit__warm_start=result.uri, data__unchanged="fit"))
    assert again.document["decision"]["gain"]["metric"] == "auc"


def test_labels_that_are_no_list_or_null_or_unknown_are_told(tmp_path: Path):
    with pytest.raises(DataError, match="label 'label' is int64; task multilabel takes a list of strings or ints"):
        trainer.fit(config(tmp_path / "numbers", COUNTS, "multilabel"))
    with pytest.raises(DataError, match="label 'label' is null in 1 train rows"):
        trainer.fit(config(tmp_path / "null", pa.array([None, *TAGS[1:]]), "multilabel", data__validation=None))
    rare = [["rare"] if n == 3 else row for n, row in enumerate(TAGS)]
    data = tmp_path / "rare/data"
    split = {"data__train": str(data / "1.parquet"), "data__validation": str(data / "0.parquet")}
    job = config(tmp_path / "rare", pa.array(rare), "multilabel", **split)
    with pytest.raises(DataError, match="label value 'rare' is none of the 3 classes of the training rows"):
        trainer.fit(job)


def test_a_negative_count_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="label 'label' is -3 in train rows; task count needs counts >= 0"):
        trainer.fit(config(tmp_path, np.where(np.arange(ROWS) == 7, -3, COUNTS), "count"))
