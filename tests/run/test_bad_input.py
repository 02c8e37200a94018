"""What a person gets wrong: one clear error, the table's exit code, nothing half-written, gone at once.

Each case runs the real command line in a process of its own, as a pod would.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.trainer_process import environment, trainer


def fit(job: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    folder = job.parent
    return trainer(folder, "fit", str(job), "--run", "r", *words, **{"PYTHONPATH": str(folder), **(env or {})})


def refused(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    """One error, no traceback, every one of the words."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    for word in says:
        assert word in done.stderr


Changes = dict[str, Any]

CONFIGURATION: dict[str, tuple[Changes, list[str]]] = {
    "mistyped key": ({"fit__epoch": 3}, ["run.fit.epoch", "unknown key; did you mean 'epochs'?"]),
    "wrong type": ({"fit__epochs": "many"}, ["run.fit.epochs", "'many' (text)", "integer"]),
    "batch size 0": ({"fit__batch_size": 0}, ["run.fit.batch_size", "greater than 0"]),
    "batch size over the rows": ({"fit__batch_size": 5000}, ["batch_size 5000", "480"]),
    "unknown column": ({"data__features__citi": {"kind": "categorical"}}, ["citi", "city"]),
    "unknown label": ({"data__label": "labl"}, ["labl", "label"]),
    "string where a number was said": ({"data__features__city": {"kind": "numeric"}}, ["city", "string"]),
    "early stopping on a metric that is not there": (
        {"fit__early_stopping": {"monitor": "val_aux"}},
        ["val_aux", "val_auc"],
    ),
    "entrypoint that does not import": ({"model": {"entrypoint": "nowhere.at_all:f"}}, ["nowhere"]),
    "entrypoint without the function": ({"model": {"entrypoint": "mymodel:missing"}}, ["missing"]),
    "entrypoint that raises": ({"model": {"entrypoint": "mymodel:raises"}}, ["ZeroDivisionError", "mymodel.py"]),
    "entrypoint that returns something else": ({"model": {"entrypoint": "mymodel:number"}}, ["int"]),
}
#: The column is not what was said: either side may be wrong, and the data is what broke the contract.
DATA_AFTER_ALL = {"string where a number was said", "unknown column", "unknown label"}
PROGRAM = {"entrypoint that raises", "entrypoint that returns something else"}


@pytest.mark.parametrize("name", CONFIGURATION)
def test_wrong_configuration_is_named(name: str, tmp_path: Path) -> None:
    changes, says = CONFIGURATION[name]
    (tmp_path / "mymodel.py").write_text(
        "def raises(features):\n    return 1 / 0\n\ndef number(features):\n    return 7\n"
    )
    document = sets.job(sets.write(tmp_path / "data"), tmp_path / "out", **changes)
    code = 70 if name in PROGRAM else 65 if name in DATA_AFTER_ALL else 64
    refused(fit(sets.write_job(tmp_path / "job.yaml", document)), code, *says)


def null_label(t: pa.Table) -> pa.Table:
    values = t.column("label").to_pylist()
    return t.set_column(4, "label", pa.array([None, *values[1:]], pa.int8()))


def label_two(t: pa.Table) -> pa.Table:
    return t.set_column(4, "label", pa.array([2, *t.column("label").to_pylist()[1:]], pa.int8()))


def one_class(t: pa.Table) -> pa.Table:
    return t.set_column(4, "label", pa.array([0] * len(t), pa.int8()))


def all_null(t: pa.Table) -> pa.Table:
    return t.set_column(1, "n", pa.nulls(len(t), pa.int64()))


def with_nan(t: pa.Table) -> pa.Table:
    return t.set_column(0, "x", pa.array([float("nan"), *t.column("x").to_pylist()[1:]], pa.float32()))


def with_infinity(t: pa.Table) -> pa.Table:
    return t.set_column(0, "x", pa.array([float("inf"), *t.column("x").to_pylist()[1:]], pa.float32()))


DATA: dict[str, tuple[Callable[[pa.Table], pa.Table], list[str]]] = {
    "null label": (null_label, ["label", "null"]),
    "label not in {0, 1}": (label_two, ["label", "2"]),
    "one class only": (one_class, ["label", "one class"]),
    "all-null column": (all_null, ["n", "null"]),
    "NaN in a feature": (with_nan, ["x", "NaN"]),
    "infinity in a feature": (with_infinity, ["x", "infinite"]),
}


@pytest.mark.parametrize("name", DATA)
def test_rows_that_break_the_contract_are_named(name: str, tmp_path: Path) -> None:
    change, says = DATA[name]
    data = tmp_path / "data"
    data.mkdir()
    for i in range(3):
        t = sets.table(100, seed=i)
        pq.write_table(
            change(t) if i == 1 or name in ("one class only", "all-null column") else t, data / f"{i}.parquet"
        )
    done = fit(sets.write_job(tmp_path / "job.yaml", sets.job(data, tmp_path / "out")))
    refused(done, 65, *says)
    result = json.loads((tmp_path / "out/runs/r/result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("failed", 65)
    assert sorted(
        p.relative_to(tmp_path / "out/runs/r").as_posix() for p in (tmp_path / "out/runs/r").rglob("*.json")
    ) == [
        "checkpoints/claims/00000001.json",
        "config.json",
        "result.json",
    ]


def int_as_float(path: Path) -> None:
    t = pq.read_table(path)
    pq.write_table(t.set_column(1, "n", t.column("n").cast(pa.float64())), path)


def without_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["city"]), path)


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def not_parquet(path: Path) -> None:
    path.write_bytes(b"a,b,c\n1,2,3\n" * 100)


def encrypted_footer(path: Path) -> None:
    path.write_bytes(b"PARE" + path.read_bytes()[4:-4] + b"PARE")


SHARDS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "an int column that is float in one shard": (int_as_float, ["part-2.parquet", "n", "int64", "double"]),
    "a column missing in one shard": (without_column, ["part-2.parquet", "city"]),
    "a zero-byte shard": (zero_bytes, ["part-2.parquet", "empty"]),
    "a truncated shard": (truncated, ["part-2.parquet"]),
    "a shard that is not Parquet": (not_parquet, ["part-2.parquet", "not a Parquet"]),
    "an encrypted footer": (encrypted_footer, ["part-2.parquet", "encrypted"]),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_bad_shard_is_named(name: str, tmp_path: Path) -> None:
    damage, says = SHARDS[name]
    data = sets.write(tmp_path / "data")
    damage(data / "part-2.parquet")
    refused(fit(sets.write_job(tmp_path / "job.yaml", sets.job(data, tmp_path / "out"))), 65, *says)


@pytest.mark.parametrize("where", ["nowhere", "data/*.pq", "empty"])
def test_data_that_is_not_there_is_named(where: str, tmp_path: Path) -> None:
    sets.write(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    done = fit(sets.write_job(tmp_path / "job.yaml", sets.job(tmp_path / where, tmp_path / "out")))
    refused(done, 65, str(tmp_path / where))


def test_a_set_without_rows_is_named(tmp_path: Path) -> None:
    data = sets.write(tmp_path / "data", shards=2, rows=0)
    refused(fit(sets.write_job(tmp_path / "job.yaml", sets.job(data, tmp_path / "out"))), 65, "no rows")


def test_an_output_that_cannot_be_written_is_named_before_training(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file stands here")
    data = sets.write(tmp_path / "data")
    done = fit(sets.write_job(tmp_path / "job.yaml", sets.job(data, tmp_path / "out")))
    refused(done, 69, str(tmp_path / "out"))


def test_no_job_file_and_broken_yaml(tmp_path: Path) -> None:
    refused(fit(tmp_path / "no.yaml"), 64, "no such job file")
    (tmp_path / "job.yaml").write_text("run:\n  data: [\n")
    refused(fit(tmp_path / "job.yaml"), 64, "not YAML", "job.yaml:")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    data = sets.write(tmp_path / "data")
    document = sets.job(
        data,
        tmp_path / "out",
        model={"entrypoint": "mymodel:build"},
        fit={"epochs": 3, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
    )
    (tmp_path / "mymodel.py").write_text(
        "import keras\n\n"
        "def build(features):\n"
        "    inputs = features.inputs()\n"
        "    x = keras.layers.Dense(1)(features.encode(inputs))\n"
        "    x = keras.ops.log(-1.0 - keras.ops.square(x))\n"
        "    return keras.Model(inputs, keras.layers.Dense(1, activation='sigmoid')(x))\n"
    )
    job = sets.write_job(tmp_path / "job.yaml", document)
    refused(fit(job), 65, "loss is not finite at epoch 1, step 1")
    # Once more, to see that the process is gone within 5 s of its error, with the feed's threads alive.
    command = [sys.executable, "-m", "trainer", "fit", str(job), "--run", "r"]
    env = environment(tmp_path, PYTHONPATH=str(tmp_path))
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env) as process:
        assert process.stderr is not None
        assert any(line.startswith("error: ") for line in process.stderr)
        assert process.wait(timeout=5) == 65
    assert json.loads((tmp_path / "out/runs/r/result.json").read_text())["exit_code"] == 65


def test_shards_that_are_fine_after_all(tmp_path: Path) -> None:
    """A zero-row shard, a column too many, a constant column, a tiny window: trained, the last two with a warning."""
    data = sets.write(tmp_path / "data", shards=3)
    pq.write_table(sets.table(0), data / "part-8.parquet")
    pq.write_table(sets.table(40).append_column("more", pa.array(np.zeros(40))), data / "part-9.parquet")
    for path in data.iterdir():
        t = pq.read_table(path)
        pq.write_table(t.append_column("same", pa.array([5] * len(t), pa.int32())), path)
    document = sets.job(
        data, tmp_path / "out", fit__epochs=1, data__features__same={"kind": "numeric"}, data__shuffle=8192
    )
    done = fit(sets.write_job(tmp_path / "job.yaml", document))
    assert done.returncode == 0, done.stderr
    assert "same" in done.stderr
    assert "constant" in done.stderr
    assert "if rows are sorted, batches are uneven; set it to 1MiB" in done.stderr
    assert "batches are uneven" in (tmp_path / "out/runs/r/report.html").read_text()
