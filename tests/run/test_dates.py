"""Dates as features, from the job file to predictions."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import Config
from trainer.errors import ConfigError, DataError
from trainer.feed.statistics.prepare import prepare
from trainer.run.fit import fit
from trainer.serving import published_model
from trainer.serving.evaluation import evaluate
from trainer.serving.prediction import predict

ROWS = 1500
BERLIN = pa.timestamp("us", tz="Europe/Berlin")


def orders(kind: pa.DataType = BERLIN, nulls: bool = False) -> pa.Table:
    """Whether somebody orders at night, by the clock on the wall, all year round."""
    rng = np.random.default_rng(0)
    seconds = 1_300_000_000 + rng.integers(0, 5 * 365 * 86_400, ROWS)
    at = pa.array(seconds * 1_000_000).cast(BERLIN)
    local_hours = np.array([moment.hour for moment in at.to_pylist()])
    mask = rng.random(ROWS) < 0.1 if nulls else np.zeros(ROWS, bool)
    mask[:50] = False
    at = pa.array(at.to_pylist(), BERLIN, mask=mask).cast(kind)
    return pa.table({"at": at, "night": (local_hours < 7).astype("int8"), "x": rng.normal(size=ROWS)})


def job(folder, feature, **fit_options):
    return Config.model_validate(
        {
            "data": {
                "train": str(folder / "rows"),
                "validation": {"fraction": 0.2},
                "label": "night",
                "features": {"at": {"kind": "date", **feature}, "x": {"kind": "numeric"}},
            },
            "task": "binary",
            "model": {"builtin": "mlp", "hidden": [32]},
            "fit": {"epochs": 12, **fit_options},
            "output": {"uri": str(folder / "models")},
        }
    )


def write(folder, table):
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "rows" / "a.parquet", row_group_size=400)


@pytest.mark.parametrize("nulls", [False, True])
def test_a_run_learns_the_local_hour_and_its_export_knows_it(tmp_path, nulls):
    write(tmp_path, orders(nulls=nulls))
    feature = {"impute": "median", "indicator": True} if nulls else {}
    result = fit(job(tmp_path, feature), run_id="r", devices="cpu")
    metrics = result.document["metrics"]["validation"]
    assert metrics["auc"] > (0.9 if nulls else 0.98)
    # The same rows again, through the exported model: all of them, so near what validation says.
    scored = evaluate(f"{tmp_path}/models/runs/r", str(tmp_path / "rows"))
    assert scored["metrics"]["auc"] > (0.9 if nulls else 0.98)
    model = published_model.load(f"{tmp_path}/models/runs/r")
    assert model.layout.columns[0].parts == ("year", "month_sin", "month_cos", "weekday_sin", "weekday_cos",
                                             "hour_sin", "hour_cos")  # fmt: skip


def test_predictions_are_the_same_in_another_unit_or_zone_and_a_date_is_its_midnight(tmp_path):
    write(tmp_path, orders())
    fit(job(tmp_path, {}, epochs=1), run_id="r", devices="cpu")
    midnight = [datetime.datetime(2013, 1, 1 + i % 28, tzinfo=datetime.UTC) for i in range(40)]
    answers = []
    for kind in (BERLIN, pa.timestamp("ns", tz="America/New_York"), pa.timestamp("s", tz="UTC"), pa.date32()):
        values = [m.date() for m in midnight] if pa.types.is_date(kind) else midnight
        rows = pa.table({"at": pa.array(values, kind), "x": pa.array(np.linspace(-1, 1, 40))})
        folder = tmp_path / str(len(answers))
        folder.mkdir()
        pq.write_table(rows, folder / "a.parquet")
        predict(f"{tmp_path}/models/runs/r", str(folder), str(tmp_path / f"out-{len(answers)}"))
        answers.append(pq.read_table(tmp_path / f"out-{len(answers)}")["prediction"].to_numpy())
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


def test_a_model_of_dates_refuses_timestamps_whose_day_depends_on_a_zone(tmp_path):
    write(tmp_path, orders(pa.date32()))
    fit(job(tmp_path, {}, epochs=1), run_id="r", devices="cpu")
    pq.write_table(orders(), tmp_path / "stamps.parquet")
    with pytest.raises(DataError, match=r"column 'at' is timestamp\[us, tz=Europe/Berlin\].*date32"):
        predict(f"{tmp_path}/models/runs/r", str(tmp_path / "stamps.parquet"), str(tmp_path / "out"))


def test_what_a_column_does_not_have_is_refused_before_training(tmp_path):
    write(tmp_path, orders(pa.date32()))
    with pytest.raises(ConfigError, match=r"column 'at' is date32.*, which has no hour") as caught:
        prepare(job(tmp_path, {"parts": ["year", "hour"]}))
    assert "day_of_year" in caught.value.remedy
    write(tmp_path, orders(nulls=True))
    with pytest.raises(DataError, match="column 'at' is null in") as refused:
        prepare(job(tmp_path, {}))
    assert "impute: mean" in refused.value.remedy
    table = orders()
    write(tmp_path, table.set_column(0, "at", pa.array([str(i) for i in range(ROWS)])))
    with pytest.raises(DataError, match="kind date takes a date or timestamp"):
        prepare(job(tmp_path, {}))


def test_a_hive_day_is_a_date(tmp_path):
    table = orders().drop_columns("at")
    for day in range(3):
        folder = tmp_path / "rows" / f"at=2013-01-0{day + 1}"
        folder.mkdir(parents=True)
        pq.write_table(table.slice(day * 500, 500), folder / "a.parquet")
    prepared = prepare(job(tmp_path, {"parts": ["day", "weekday"], "cyclic": False}))
    column = prepared.layout.columns[0]
    assert (column.kind, column.partition, column.parts) == ("date", True, ("day", "weekday"))
    fit(job(tmp_path, {"parts": ["day", "weekday"], "cyclic": False}, epochs=1), run_id="r", devices="cpu")
    assert evaluate(f"{tmp_path}/models/runs/r", str(tmp_path / "rows"))["rows"] == ROWS
