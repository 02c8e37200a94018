"""Whole runs on the real command line: what they leave, and that a stop anywhere changes nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.trainer_process import RUN_FILES, environment, newest_checkpoint, trainer

EPOCHS = 6


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a job with every callback, and one run `whole` that was never stopped."""
    folder = tmp_path_factory.mktemp("fit")
    document = sets.job(
        sets.write(folder / "data", rows=600),
        folder / "out",
        data__shuffle="20k",
        model={"builtin": "mlp", "hidden": [16], "dropout": 0.2},
        fit=sets.every_callback(epochs=EPOCHS, early_stopping={"monitor": "val_auc", "patience": EPOCHS}),
    )
    sets.write_job(folder / "job.yaml", document)
    done = trainer(folder, "fit", str(folder / "job.yaml"), "--run", "whole", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "succeeded"
    return folder


def lines(workshop: Path, run: str) -> list[dict[str, Any]]:
    text = (workshop / "out/runs" / run / "metrics.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in text.splitlines()]


def same_end(workshop: Path, one: str, other: str, *but: str) -> None:
    """Weights, optimizer, best weights and metrics are equal, bit for bit; results too, `but` these keys."""
    a, b = newest_checkpoint(workshop / "out", one), newest_checkpoint(workshop / "out", other)
    assert a.step == b.step
    for group in ("weights", "optimizer", "best"):
        for name, array in a.groups[group].items():
            np.testing.assert_array_equal(array, b.groups[group][name], err_msg=f"{group} {name}")
    assert lines(workshop, one) == lines(workshop, other)
    results = [json.loads((workshop / f"out/runs/{r}/result.json").read_text()) for r in (one, other)]
    for result in results:
        for name in ("run", "ledger_s", "started", "finished", *but):
            del result[name]
        del result["checkpoint"]["commit_s"]
    assert results[0] == results[1]


def test_a_run_leaves_what_the_design_lists(workshop: Path) -> None:
    run = workshop / "out/runs/whole"
    assert {p.name for p in run.iterdir()} == RUN_FILES
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["exit_code"], result["epochs"]) == ("succeeded", 0, EPOCHS)
    assert result["rows"] == {"train": 1920, "validation": 480}
    assert set(result["metrics"]) == {"train", "validation"}
    assert result["metrics"]["validation"]["auc"] > 0.7
    assert all(np.isfinite(v) for split in result["metrics"].values() for v in split.values())
    assert list((run / "tensorboard").rglob("events.out.*"))
    log = [line.partition(" ") for line in (run / "log.txt").read_text().splitlines()]
    assert any(text.startswith(f"fit  {EPOCHS} epochs") for _, _, text in log)
    assert sum("done in" in text and text.startswith("epoch ") for _, _, text in log) == EPOCHS
    manifest = json.loads((run / "model/MANIFEST.json").read_text())
    assert {"model.keras", "saved_model/saved_model.pb"} <= set(manifest["files"])
    page = (run / "report.html").read_text()
    assert "whole" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_metrics_have_a_line_an_epoch_and_steps_between(workshop: Path) -> None:
    logged = lines(workshop, "whole")
    ends = [line for line in logged if line.get("end")]
    assert [line["epoch"] for line in ends] == list(range(EPOCHS))
    assert [line["step"] for line in ends] == [60 * (e + 1) for e in range(EPOCHS)]
    steps = [line["step"] for line in logged if not line.get("end")]
    assert steps == list(range(3, 60 * EPOCHS + 1, 3))


def test_the_same_seed_gives_the_same_weights_bit_for_bit(workshop: Path) -> None:
    done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", "again")
    assert done.returncode == 0, done.stderr
    same_end(workshop, "whole", "again")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 75), ("SIGKILL", -9)])
def test_a_stopped_run_goes_on_to_the_same_end(workshop: Path, name: str, code: int) -> None:
    run = f"stopped-{name.lower()}"
    command = [sys.executable, "-m", "trainer", "fit", str(workshop / "job.yaml"), "--run", run]
    said = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(workshop)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "epoch 2/" in line and "done" in line:
                process.send_signal(getattr(signal, name))
                break
        said += process.stderr.read()
        assert process.wait(timeout=60) == code, said
    assert "Traceback" not in said
    if code == 75:
        result = json.loads((workshop / f"out/runs/{run}/result.json").read_text())
        assert (result["status"], result["exit_code"]) == ("preempted", 75)
    assert newest_checkpoint(workshop / "out", run).step < 60 * EPOCHS
    done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", run)
    assert done.returncode == 0, done.stderr
    assert "going on from the checkpoint" in done.stderr
    same_end(workshop, "whole", run)


def test_a_finished_run_is_left_alone(workshop: Path) -> None:
    before = (workshop / "out/runs/whole/result.json").stat().st_mtime_ns
    done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", "whole")
    assert done.returncode == 0
    assert "succeeded already" in done.stderr
    assert (workshop / "out/runs/whole/result.json").stat().st_mtime_ns == before


def test_another_configuration_does_not_go_on_with_the_run(workshop: Path) -> None:
    (workshop / "out/runs/whole/result.json").rename(workshop / "result.kept")
    try:
        done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", "whole", "--set", "run.fit.batch_size=64")
    finally:
        (workshop / "result.kept").rename(workshop / "out/runs/whole/result.json")
    assert done.returncode == 64, done.stderr
    assert "fit.batch_size: 32 -> 64" in done.stderr


def test_a_run_that_extends_another_ends_as_if_it_had_been_one(workshop: Path) -> None:
    job = str(workshop / "job.yaml")
    short = trainer(workshop, "fit", job, "--run", "short", "--set", "run.fit.epochs=3")
    assert short.returncode == 0, short.stderr
    again = trainer(workshop, "fit", job, "--run", "short")
    assert "for more epochs begin a new run with run.fit.extend: short" in again.stderr
    longer = trainer(workshop, "fit", job, "--run", "longer", "--set", "run.fit.extend=short")
    assert longer.returncode == 0, longer.stderr
    assert "extends run short from 3 to 6 epochs" in longer.stderr
    same_end(workshop, "whole", "longer", "digest")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run.fit.extend=whole",), "run whole has 6 epochs and run.fit.epochs is 6"),
        (("run.fit.extend=nobody",), "no checkpoint below"),
        (("run.fit.extend=whole", "run.fit.epochs=9", "run.fit.seed=8"), "fit.seed: 7 -> 8"),
        (("run.fit.warm_start=nowhere",), "no published model there"),
    ],
)
def test_what_cannot_be_extended_or_taken_over_is_said(workshop: Path, words: tuple[str, ...], says: str) -> None:
    changes = [word for value in words for word in ("--set", value)]
    done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", "refused", *changes)
    assert done.returncode == 64, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_warm_start_begins_with_the_published_weights(workshop: Path) -> None:
    """With a rate at which nothing moves, the run ends with the weights it began with."""
    changes = (
        *("--set", f"run.fit.warm_start={workshop}/out/runs/whole", "--set", "run.fit.epochs=1"),
        *("--set", "run.fit.optimizer.learning_rate=1e-20", "--set", "run.fit.seed=99"),
    )
    done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", "warm", *changes)
    assert done.returncode == 0, done.stderr
    assert "begins with the weights of run whole" in done.stderr
    best = newest_checkpoint(workshop / "out", "whole").groups["best"]
    warm = newest_checkpoint(workshop / "out", "warm").groups["weights"]
    moved = [name for name in best if best[name].dtype == np.float32 and not np.allclose(best[name], warm[name])]
    assert moved == []


def test_a_stop_before_the_first_step_is_a_preemption(workshop: Path) -> None:
    command = [sys.executable, "-m", "trainer", "fit", str(workshop / "job.yaml"), "--run", "early"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(workshop)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "compile" in line:
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
        assert process.wait(timeout=60) == 75, said
    assert "before the first step; nothing is lost" in said
    assert json.loads((workshop / "out/runs/early/result.json").read_text())["status"] == "preempted"


def test_two_devices_train_to_the_same_metrics(workshop: Path) -> None:
    """Dropout draws per replica, so it is off here; sums of two halves round otherwise than one sum."""
    off = ("--set", "run.model.dropout=0", "--set", "run.fit.epochs=1")
    for run, devices in (("one", "cpu"), ("two", "cpu:2")):
        done = trainer(workshop, "fit", str(workshop / "job.yaml"), "--run", run, "--devices", devices, *off)
        assert done.returncode == 0, done.stderr
    one, two = newest_checkpoint(workshop / "out", "one"), newest_checkpoint(workshop / "out", "two")
    for name, array in one.groups["weights"].items():
        np.testing.assert_allclose(array, two.groups["weights"][name], atol=1e-4)


def test_evaluate_scores_the_exported_model(workshop: Path) -> None:
    done = trainer(
        workshop, "evaluate", str(workshop / "out/runs/whole"), "--data", str(workshop / "data"), "-o", "json"
    )
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    assert scored["rows"] == 2400
    assert scored["metrics"]["auc"] > 0.7


def test_predict_writes_a_file_a_shard_with_all_columns(workshop: Path) -> None:
    out = workshop / "answers"
    done = trainer(
        workshop, "predict", str(workshop / "out/runs/whole"), "--data", str(workshop / "data"), "--output", str(out)
    )
    assert done.returncode == 0, done.stderr
    for source in sorted((workshop / "data").iterdir()):
        asked, answered = pq.read_table(source), pq.read_table(out / source.name)
        assert answered.column_names == [*asked.column_names, "prediction"]
        assert answered.drop_columns(["prediction"]).equals(asked)
        predictions = np.asarray(answered.column("prediction"))
        assert ((predictions >= 0) & (predictions <= 1)).all()


def test_no_model_there_is_named(workshop: Path) -> None:
    done = trainer(workshop, "evaluate", str(workshop / "nowhere"), "--data", str(workshop / "data"))
    assert done.returncode == 64
    assert "no published model there" in done.stderr
