"""Regressions on labels of every size: learnt on one scale, reported and predicted in the label's own units."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trainer
from tests import sets
from trainer.config import Config
from trainer.errors import ConfigError, DataError
from trainer.progress.formatting import metric
from trainer.serving import published_model
from trainer.serving.prediction import predict

ROWS = 1200
X = np.random.default_rng(0).normal(size=ROWS)
#: Follows X with a little noise; deviation 2.
Y = 2 * X + np.random.default_rng(1).normal(0, 0.1, ROWS)


def write(folder: Path, label: np.ndarray) -> None:
    """Two shards with a column x and the label."""
    folder.mkdir()
    table = pa.table({"x": X, "label": label})
    for i in range(2):
        pq.write_table(table.slice(i * ROWS // 2, ROWS // 2), folder / f"{i}.parquet", row_group_size=200)


def config(folder: Path, **changes: Any) -> Config:
    document = sets.job(
        folder / "data",
        folder / "out",
        data__features={"x": {"kind": "numeric"}},
        task="regression",
        model={"builtin": "mlp", "hidden": [16], "numbers": "none"},
        fit={"epochs": 12, "batch_size": 48},
        **changes,
    )
    return Config.model_validate(document["run"])


def answers(folder: Path, uri: str) -> tuple[np.ndarray, np.ndarray]:
    predict(uri, str(folder / "data"), str(folder / "answers"))
    table = pq.read_table(folder / "answers")
    return table["label"].to_numpy(), table["prediction"].to_numpy()


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.0), (1e-3, 0.0), (5e4, 3e5), (10.0, 1e12)])
def test_a_label_of_any_size_is_learnt_alike_and_predicted_in_its_own_units(
    tmp_path: Path, factor: float, shift: float
):
    write(tmp_path / "data", Y * factor + shift)
    result = trainer.fit(config(tmp_path))
    label, prediction = answers(tmp_path, result.uri)
    error = np.sqrt(np.mean((label - prediction) ** 2)) / label.std()
    assert error < 0.2
    metrics = result.document["metrics"]
    assert metrics["validation"]["rmse"] == pytest.approx(error * label.std(), rel=0.5)
    assert metrics["validation"]["loss"] == pytest.approx(metrics["validation"]["rmse"] ** 2, rel=1e-3)
    assert metrics["validation"]["r2"] > 0.95


def test_a_constant_label_is_predicted_exactly(tmp_path: Path):
    write(tmp_path / "data", np.full(ROWS, 1e12 + 0.25))
    label, prediction = answers(tmp_path, trainer.fit(config(tmp_path, fit__epochs=60)).uri)
    np.testing.assert_allclose(prediction - 1e12, label - 1e12, atol=0.05)


def test_log1p_learns_amounts_over_many_orders_of_magnitude(tmp_path: Path):
    write(tmp_path / "data", np.expm1(np.abs(3 * Y)))
    result = trainer.fit(config(tmp_path, data__label={"column": "label", "transform": "log1p"}))
    label, prediction = answers(tmp_path, result.uri)
    assert np.corrcoef(np.log1p(label), np.log1p(prediction))[0, 1] > 0.95
    assert published_model.load(result.uri).layout.label.transform == "log1p"


@pytest.mark.parametrize(("transform", "label"), [("standard", 500 * Y + 3e5), ("log1p", np.expm1(Y / 4 + 8))])
def test_gate_and_report_speak_in_the_label_s_own_units(tmp_path: Path, transform: str, label: np.ndarray):
    write(tmp_path / "data", label)
    write(tmp_path / "fresh", label)
    gated = config(
        tmp_path,
        data__label={"column": "label", "transform": transform},
        data__holdout=str(tmp_path / "fresh"),
        promote={"metric": "rmse"},
    )
    result = trainer.fit(gated)
    answer, prediction = answers(tmp_path, result.uri)
    rmse = np.sqrt(np.mean((answer - prediction) ** 2))
    decision = result.document["decision"]["metrics"]
    assert decision["rmse"] == pytest.approx(rmse, rel=1e-4)
    assert decision["mae"] == pytest.approx(np.abs(answer - prediction).mean(), rel=1e-4)
    baseline = result.document["baseline"]["rmse"]
    assert baseline == pytest.approx(label.std(), rel=0.25)  # in the label's units, not about 1
    page = Path(result.uri, "report.html").read_text()
    validation = result.document["metrics"]["validation"]["rmse"]
    assert validation < baseline / 3
    for value in (validation, baseline):
        assert metric(value) in page


def test_log1p_refuses_labels_that_have_no_logarithm(tmp_path: Path):
    write(tmp_path / "data", np.linspace(-2, 5, ROWS))
    with pytest.raises(DataError, match="log1p takes what is above -1"):
        trainer.fit(config(tmp_path, data__label={"column": "label", "transform": "log1p"}))


def test_a_warm_start_keeps_the_scale_of_the_label(tmp_path: Path):
    write(tmp_path / "data", Y + 100)
    first = trainer.fit(config(tmp_path))
    (tmp_path / "next").mkdir()
    write(tmp_path / "next" / "data", 3 * Y + 90)
    second = trainer.fit(config(tmp_path / "next", fit__warm_start=first.uri))
    labels = [published_model.load(run.uri).layout.label for run in (first, second)]
    assert (labels[0].mean, labels[0].deviation) == (labels[1].mean, labels[1].deviation)
    other = config(tmp_path, data__label={"column": "label", "transform": "none"}, fit__warm_start=first.uri)
    with pytest.raises(ConfigError, match="learns the label by transform standard, this job by none"):
        trainer.fit(other)
