"""`kfit`: job files from schemas, and the way to the trainer."""

from __future__ import annotations

import datetime
import decimal
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from k8s import cli
from k8s.commands.author.init import job_file
from tests import sets
from trainer.config import Config
from trainer.errors import ConfigError, DataError


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "lake" / "dt=2013-01-01"
    folder.mkdir(parents=True)
    columns = {
        "late": pa.array([0, 1], pa.int8()),
        "price": pa.array([1.5, None]),
        "money": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.50")]),
        "seats": pa.array([1, 2]),
        "open": pa.array([True, False]),
        "carrier": pa.array(["AA", "UA"]),
        "coded": pa.array(["x", "y"]).dictionary_encode(),
        "user_id": pa.array([1, 2]),
        "at": pa.array([datetime.datetime(2013, 1, 1)] * 2),
        "profile": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        "tags": pa.array([["a"], []]),
        "no: plain": pa.array([1.0, 2.0]),
        "yes": pa.array([1.0, 2.0]),
    }
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return tmp_path / "lake"


def test_init_writes_what_a_schema_can_tell(lake, tmp_path):
    text = job_file(str(lake), label="late", task="binary", output="models", name="job")
    assert yaml.safe_load(text)["run"]["data"]["features"] == {
        "price": {"kind": "numeric", "impute": "mean", "indicator": True},
        "money": {"kind": "numeric", "impute": "mean"},
        "seats": {"kind": "numeric", "impute": "mean"},
        "open": {"kind": "categorical"},
        "carrier": {"kind": "categorical"},
        "coded": {"kind": "categorical"},
        "at": {"kind": "date", "parts": ["year", "month", "weekday", "hour"], "impute": "median"},
        "profile": {"kind": "vector", "size": 2},
        "no: plain": {"kind": "numeric", "impute": "mean"},
        "yes": {"kind": "numeric", "impute": "mean"},
    }
    left_out = [line.split(":")[0].strip(" #") for line in text.splitlines() if "left out" in line]
    assert left_out == ["user_id", "tags", "dt"]
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert Config.load(path).data.label.column == "late"


@pytest.mark.parametrize(
    ("label", "task"),
    [("open", "binary"), ("price", "regression"), ("coded", "multiclass"), ("tags", "multilabel")],
)
def test_init_infers_a_task_that_is_certain(lake, label, task):
    assert f"  task: {task}\n" in job_file(str(lake), label=label, task=None, output="o", name="n")


def test_init_asks_where_the_task_is_open(lake):
    with pytest.raises(ConfigError, match=r"may be a class or an amount"):
        job_file(str(lake), label="late", task=None, output="o", name="n")


@pytest.mark.parametrize("label", ["at", "profile"])
def test_init_refuses_a_label_that_no_task_predicts(lake, label):
    with pytest.raises(ConfigError, match=f"{label}: no task predicts a column of type"):
        job_file(str(lake), label=label, task=None, output="o", name="n")


def test_init_leaves_out_what_says_nothing_and_gives_the_reason(tmp_path):
    rows = 400
    columns = {
        "row": pa.array(range(rows)),
        "version": pa.array(["v1"] * rows),
        "comment": pa.array([f"words of row {i}" for i in range(rows)]),
        "height": pa.array([float("nan") if i % 7 == 0 else i / 3 for i in range(rows)]),
        "city": pa.array(["ulm", "bonn"] * (rows // 2)),
        "late": pa.array([0, 1] * (rows // 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    text = job_file(str(tmp_path), label="late", task=None, output="o", name="n")
    run = yaml.safe_load(text)["run"]
    assert run["task"] == "binary"
    assert run["data"]["features"] == {
        "height": {"kind": "numeric", "impute": "mean", "indicator": True},
        "city": {"kind": "categorical"},
    }
    assert [line.strip() for line in text.splitlines() if "left out" in line] == [
        "# row: left out, it counts the rows",
        "# version: left out, the same value in every row that was read",
        "# comment: left out, 400 values in 400 rows; kind: text reads its words",
    ]


INTEGERS = {
    "flags": ([0, 1] * 500, "categorical"),
    "months": ([1 + i % 12 for i in range(1000)], "categorical"),
    "codes_with_gaps": ([(20, 30, 60, 85, 190)[i % 5] for i in range(1000)], "categorical"),
    "nullable_codes": ([None, 1, 2, 3] * 250, "categorical"),
    "years": ([2001 + i % 9 for i in range(1000)], "numeric"),
    "odd_years": ([(1995, 2000, 2003)[i % 3] for i in range(1000)], "numeric"),
    "rooms": ([1 + i % 4 for i in range(980)] + [5] * 15 + [6, 6, 7, 9, 12], "numeric"),
    "ages": ([30 + i % 15 for i in range(1000)], "numeric"),
    "doses": ([(0, 50, 100, 150)[i % 4] for i in range(1000)], "numeric"),
    "company_sizes": ([(1, 10, 20, 100, 500, 1000)[i % 6] for i in range(1000)], "numeric"),
    "amounts": ([i * i % 997 for i in range(1000)], "numeric"),
    "rare_flag": ([int(i < 20) for i in range(1000)], "numeric"),
    "beyond_int64": ([2**63 + i % 700 for i in range(1000)], "numeric"),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_init_tells_integer_codes_from_amounts(tmp_path, name):
    values, kind = INTEGERS[name]
    column = pa.array(values, pa.uint64() if name == "beyond_int64" else pa.int64())
    label = pa.array([i / 7 for i in range(1000)])
    pq.write_table(pa.table({"x": column, "y": label}), tmp_path / "a.parquet", row_group_size=300)
    text = job_file(str(tmp_path), label="y", task=None, output="o", name="n")
    assert yaml.safe_load(text)["run"]["data"]["features"]["x"]["kind"] == kind


def test_init_reads_the_first_row_groups_of_a_large_shard(tmp_path, monkeypatch):
    monkeypatch.setattr("k8s.commands.author.init._MOST_READ_BYTES", 40_000)
    codes = pa.array([3, 12, 17] * 10_000)
    pq.write_table(
        pa.table({"x": codes, "z": pa.array([i / 7 for i in range(30_000)]), "y": pa.array([0, 1] * 15_000)}),
        tmp_path / "a.parquet",
        row_group_size=3000,
    )
    assert (tmp_path / "a.parquet").stat().st_size > 80_000
    text = job_file(str(tmp_path), label="y", task=None, output="o", name="n")
    assert "x: {kind: categorical}" in text
    assert "task: binary" in text


HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2012, 6, 1)
DATES = {
    "years of hours": ([START + 9 * HOUR * i for i in range(2000)], "timestamp", ["year", "month", "weekday", "hour"]),
    "midnights": ([START + 24 * HOUR * i for i in range(2000)], "timestamp", ["year", "month", "weekday"]),
    "days": ([START.date() + datetime.timedelta(i) for i in range(2000)], "date", ["year", "month", "weekday"]),
    "a summer": ([START + HOUR * i for i in range(2000)], "timestamp", ["weekday", "hour"]),
    "two days": ([START.date() + datetime.timedelta(i % 2) for i in range(2000)], "date", None),
}


@pytest.mark.parametrize("name", DATES)
def test_init_offers_the_parts_of_dates_that_the_rows_can_teach(tmp_path, name):
    values, kind, parts = DATES[name]
    column = pa.array([*values[:-1], None], pa.date64() if kind == "date" else pa.timestamp("us", tz="UTC"))
    amounts = pa.array([i * i % 997 for i in range(2000)])
    pq.write_table(pa.table({"x": column, "w": amounts, "y": [i / 7 for i in range(2000)]}), tmp_path / "a.parquet")
    text = job_file(str(tmp_path), label="y", task=None, output="o", name="n")
    features = yaml.safe_load(text)["run"]["data"]["features"]
    if parts is None:
        assert "# x: left out, its dates are too near each other" in text
    else:
        assert features["x"] == {"kind": "date", "parts": parts, "impute": "median", "indicator": True}


LABELS = {
    "0.0 and 1.0": (pa.array([0.0, 1.0] * 100), "binary"),
    "1 and 2": (pa.array([1, 2] * 100), "multiclass"),
    "-1 and 1": (pa.array([-1, 1] * 100), "multiclass"),
    "many integers": (pa.array([i * 7 % 1009 for i in range(200)]), "regression"),
    "fractions": (pa.array([i / 3 for i in range(200)]), "regression"),
}


@pytest.mark.parametrize("name", LABELS)
def test_init_infers_a_task_from_the_labels_values(tmp_path, name):
    column, task = LABELS[name]
    pq.write_table(pa.table({"x": pa.array([i / 7 for i in range(200)]), "y": column}), tmp_path / "a.parquet")
    assert f"task: {task}\n" in job_file(str(tmp_path), label="y", task=None, output="o", name="n")


def test_init_names_the_columns_when_the_label_is_none_of_them(lake):
    with pytest.raises(ConfigError, match="no column 'lat'") as caught:
        job_file(str(lake), label="lat", task=None, output="o", name="n")
    assert "late, price" in caught.value.remedy


@pytest.mark.parametrize("content", [b"no parquet at all", b"x", b"PAR1\xff\xff\xff\x7fPAR1"])
def test_init_refuses_what_is_not_parquet(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"not Parquet|unreadable footer"):
        job_file(str(tmp_path), label="x", task=None, output="o", name="n")


MORE = ("--workers", "2", "--run", "r", "--date", "2013-03-01")


def test_init_refuses_a_name_that_no_job_may_have(lake):
    done = CliRunner().invoke(cli.cli, ["init", str(lake), "--label", "late", "--name", "My_Job"])
    assert done.exit_code == 2
    assert "--name: 'My_Job' is not the name of a job: use lower-case letters, digits and -" in done.stderr


def test_check_looks_at_the_charts_keys_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda program, words: None)
    job = sets.write_job(tmp_path / "job.yaml", {**sets.job("data", "out"), "queue": "team_a"})
    done = CliRunner().invoke(cli.cli, ["check", str(job)])
    assert isinstance(done.exception, ConfigError)
    assert "queue: 'team_a' is not the name of a queue" in str(done.exception)
    assert CliRunner().invoke(cli.cli, ["check", str(job), "--set", "queue=team-a"]).exit_code == 0


def test_check_and_run_become_the_trainer(tmp_path, monkeypatch):
    became = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.yaml").write_text("run: {}\n")
    monkeypatch.setattr(os, "execv", lambda program, words: became.append(words[1:]))
    runner = CliRunner()
    for words in (
        ["check", "j.yaml", "--set", "run.a=1"],
        ["fit", "j.yaml", "-f", "-", "--set-string", "b=2", *MORE],
        ["run", "--local", "j.yaml", "--devices", "cpu:2"],
    ):
        assert runner.invoke(cli.cli, words).exit_code == 0
    assert became == [
        ["-m", "trainer", "check", "--file", "j.yaml", "--set", "run.a=1", "-o", "table"],
        ["-m", "trainer", "fit", "--file", "j.yaml", "--file", "-", "--set-string", "b=2", "--devices", "auto", *MORE],
        ["-m", "trainer", "fit", "--file", "j.yaml", "--devices", "cpu:2"],
    ]


def test_a_fault_is_the_trainers_exit_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "k8s", "check", str(tmp_path / "none.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert "no such job file" in done.stderr
    assert done.stdout == ""


def test_help_imports_nothing_heavy():
    """What makes `--help` quick; how quick, `python -X importtime -m k8s --help` shows."""
    code = "import sys; from k8s.cli import cli; cli(['--help'], standalone_mode=False); "
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"tensorflow", "keras", "kubernetes", "pyarrow", "numpy", "pydantic", "fsspec", "rich", "yaml"}
    assert heavy & set(done.stderr.split()) == set()
