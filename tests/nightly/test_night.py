"""Whole nights: date to window to model to gate to production.json, and what must not happen."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import sets
from tests.conftest import S3
from tests.nightly import days
from tests.trainer_process import environment, trainer
from trainer import storage
from trainer.nightly import history, production


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    days.write(tmp_path / "lake", 0, 9)
    return tmp_path / "lake"


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the night of the sixth day leaves, with its run `good` in production: fitted once for all tests."""
    folder = tmp_path_factory.mktemp("good")
    days.write(folder / "lake", 0, 9)
    done = night(folder, days.job(folder / "lake", folder / "out"), "--date", days.on(6), "--run", "good")
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture
def good(promoted: Path, tmp_path: Path) -> None:
    """The run `good` in production of this test's own output."""
    shutil.copytree(promoted, tmp_path / "out")


def night(folder: Path, job: dict, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = sets.write_job(folder / "job.yaml", job)
    return trainer(folder, "fit", str(path), *words, **env)


def result(folder: Path, run: str) -> dict:
    return json.loads((folder / "out" / "runs" / run / "result.json").read_text())


def pointer(folder: Path) -> dict:
    return json.loads((folder / "out" / "production.json").read_text())


def test_nights_promote_then_skip_then_refuse(tmp_path: Path, lake: Path) -> None:
    job = days.job(lake, tmp_path / "out")
    first = night(tmp_path, job, "--date", days.on(6), "--run", "first")
    assert first.returncode == 0, first.stderr
    done = result(tmp_path, "first")
    assert done["date"] == days.on(6)
    assert done["windows"]["train"] == {"first": days.on(1), "last": days.on(4), "days": 4, "missing": []}
    assert done["windows"]["holdout"] == {"first": days.on(5), "last": days.on(5), "days": 1, "missing": []}
    assert done["decision"]["promoted"]
    assert done["decision"]["champion"] is None
    assert pointer(tmp_path)["run"] == "first"

    # The next night: other days, so another run, compared with the first.
    second = night(tmp_path, job, "--date", days.on(7), "--run", "second")
    assert second.returncode == 0, second.stderr
    decision = result(tmp_path, "second")["decision"]
    assert decision["champion"] == "first"
    assert decision["rows"] == 200
    assert decision["gain"]["low"] <= decision["gain"]["gain"] <= decision["gain"]["high"]
    assert pointer(tmp_path)["run"] == "second"
    assert pointer(tmp_path)["previous"] == "first"

    # The same night again under another id: nothing to do, without TensorFlow.
    before = pointer(tmp_path)
    again = night(
        tmp_path, job, "--date", days.on(7), "--run", "again", PYTHONPROFILEIMPORTTIME="1", PYTHONPATH=str(Path.cwd())
    )
    assert again.returncode == 0, again.stderr
    assert "tensorflow" not in again.stderr
    assert again.stdout == "skipped unchanged since second\n"
    skipped = result(tmp_path, "again")
    assert (skipped["status"], skipped["exit_code"]) == ("skipped", 0)
    assert skipped["unchanged_since"] == "second"
    assert pointer(tmp_path) == before

    # A night that cannot be surely better than 0.9 more AUC is refused, and exits 0 all the same.
    strict = days.job(lake, tmp_path / "out", promote={"min_delta": 0.9})
    refused = night(tmp_path, strict, "--date", days.on(8), "--run", "refused")
    assert refused.returncode == 0, refused.stderr
    assert not result(tmp_path, "refused")["decision"]["promoted"]
    assert "not surely above 0.9" in refused.stderr
    assert pointer(tmp_path) == before


def test_a_drifted_night_ends_with_a_table_before_tensorflow(tmp_path: Path, lake: Path, good: None) -> None:
    before = pointer(tmp_path)
    days.write(lake, 10, 14, shift=4.0)
    watched = days.job(lake, tmp_path / "out", data__checks={})
    bad = night(
        tmp_path,
        watched,
        "--date",
        days.on(15),
        "--run",
        "bad",
        PYTHONPROFILEIMPORTTIME="1",
        PYTHONPATH=str(Path.cwd()),
    )
    assert bad.returncode == 65
    assert "tensorflow" not in bad.stderr
    table = bad.stderr.partition("error: ")[2]
    assert table.startswith("run.data.checks: the data fails 1 check of 1 column against good:")
    assert "psi    x" in table
    left = result(tmp_path, "bad")
    assert (left["status"], left["exit_code"]) == ("failed", 65)
    assert left["checks"]["against"] == "good"
    assert [(c["check"], c["column"]) for c in left["checks"]["breached"]] == [("psi", "x")]
    assert pointer(tmp_path) == before
    # Without the limits the same night is fitted.
    calm = days.job(lake, tmp_path / "out", data__checks={"columns": {"x": {"psi": None}}})
    assert night(tmp_path, calm, "--date", days.on(15), "--run", "calm").returncode == 0


def test_a_failed_night_leaves_production_alone_and_its_retry_reads_the_same_days(
    tmp_path: Path, lake: Path, good: None
) -> None:
    job = days.job(lake, tmp_path / "out")
    before = pointer(tmp_path)
    shard = lake / f"dt={days.on(4)}" / "part-0.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    schedule = {"KFIT_SCHEDULE": "n", "KFIT_JOB": "n-22715640"}  # 2013-03-10 at 02:00 UTC
    assert night(tmp_path, job, "--date", days.on(7), "--run", "bad").returncode == 65
    assert "truncated" in result(tmp_path, "bad")["reason"]
    assert pointer(tmp_path) == before

    # Mended and tried again days later, without a date: the days are those that the run began with.
    shard.write_bytes(whole)
    again = night(tmp_path, job, "--run", "bad", **schedule)
    assert again.returncode == 0, again.stderr
    assert result(tmp_path, "bad")["windows"]["train"]["last"] == days.on(5)
    assert result(tmp_path, "bad")["date"] == days.on(7)
    other = night(tmp_path, job, "--run", "third", "--date", days.on(30))
    assert other.returncode == 65
    assert "days have no file" in other.stderr


def test_a_run_is_not_continued_for_another_day(tmp_path: Path, lake: Path) -> None:
    job = days.job(lake, tmp_path / "out")
    shutil.rmtree(lake / f"dt={days.on(4)}")
    assert night(tmp_path, job, "--date", days.on(6), "--run", "r").returncode == 65
    moved = night(tmp_path, job, "--date", days.on(7), "--run", "r")
    assert moved.returncode == 64
    assert f"the run began for {days.on(6)}, not for {days.on(7)}" in moved.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_night_that_is_stopped_goes_on_with_its_days(tmp_path: Path, lake: Path, workers: int) -> None:
    """Windows of training, validation and holdout are days of the date; the checkpoint holds to the job as asked."""
    uri = f"{lake}/dt={{date}}/*.parquet"
    job = days.job(
        lake,
        tmp_path / "out",
        data__train={"uri": uri, "last": "3d", "until": "-3d"},
        data__validation={"uri": uri, "last": "1d", "until": "-2d"},
        fit__epochs=40,
        output__checkpoint={"every": "5 steps"},
    )
    words = ["--date", days.on(6), "--run", "r", "--workers", str(workers)]
    path = sets.write_job(tmp_path / "job.yaml", job)
    command = [sys.executable, "-m", "trainer", "fit", str(path), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("epoch  3/40  done"):
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75, said
    again = night(tmp_path, job, *words)
    assert again.returncode == 0, again.stderr
    assert "going on from the checkpoint at epoch 4" in again.stderr
    done = result(tmp_path, "r")
    assert done["windows"]["validation"] == {"first": days.on(4), "last": days.on(4), "days": 1, "missing": []}
    assert done["decision"]["promoted"]
    assert pointer(tmp_path)["run"] == "r"


def test_the_schedule_names_the_day(tmp_path: Path, lake: Path) -> None:
    """2013-03-07 at 23:30 UTC is half past midnight of the 8th in Berlin."""
    minutes = int(datetime(2013, 3, 7, 23, 30, tzinfo=UTC).timestamp()) // 60
    schedule = {"KFIT_SCHEDULE": "night", "KFIT_JOB": f"night-{minutes}", "KFIT_TIME_ZONE": "Europe/Berlin"}
    done = night(tmp_path, days.job(lake, tmp_path / "out"), "--run", "r", **schedule)
    assert done.returncode == 0, done.stderr
    assert result(tmp_path, "r")["date"] == "2013-03-08"
    assert pointer(tmp_path)["who"] == f"job/night-{minutes}"


def test_a_champion_that_cannot_be_scored_is_not_replaced_and_the_night_succeeds(
    tmp_path: Path, lake: Path, good: None
) -> None:
    job = days.job(lake, tmp_path / "out")
    before = pointer(tmp_path)
    model = tmp_path / "out" / "runs" / "good" / "model" / "model.keras"
    model.write_bytes(model.read_bytes()[:-1])
    done = night(tmp_path, job, "--date", days.on(7), "--run", "next")
    assert done.returncode == 0, done.stderr
    assert result(tmp_path, "next")["decision"] == {
        "passed": False,
        "promoted": False,
        "why": "not scored: the file is not the one that was published",
    }
    assert pointer(tmp_path) == before


def test_what_a_night_leaves_beside_its_runs(tmp_path: Path, lake: Path, good: None) -> None:
    for day, run, notify in ((7, "b", None), (8, "c", {"url": "http://127.0.0.1:9/"})):
        job = days.job(lake, tmp_path / "out", output__keep_runs={"count": 1}, notify=notify)
        done = night(tmp_path, job, "--date", days.on(day), "--run", run)
        assert done.returncode == 0, done.stderr
        assert ("warning: nobody was notified: ConnectionRefusedError: Connection refused" in done.stderr) is (
            notify is not None
        )
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "history.json",
        "metrics.prom",
        "production.json",
        "runs",
    ]
    assert (
        'kfit_last_run_status{output="' + str(out) + '",status="succeeded"} 1.0' in (out / "metrics.prom").read_text()
    )
    kept = sorted(path.name for path in (out / "runs").iterdir())
    serves, previous = pointer(tmp_path)["run"], pointer(tmp_path)["previous"]
    assert kept == sorted({"c", serves, previous})
    page = (out / "runs" / "c" / "report.html").read_text()
    assert "Promotion" in page
    assert "gain and its interval" in page


def test_a_night_on_s3_promotes_and_the_next_has_nothing_to_do(tmp_path: Path, lake: Path, s3: S3) -> None:
    here = f"s3://{s3.bucket}/{tmp_path.name}"
    storage.upload_folder(lake, f"{here}/lake")
    job = days.job(f"{here}/lake", f"{here}/out")
    done = night(tmp_path, job, "--date", days.on(6), "--run", "a")
    assert done.returncode == 0, done.stderr
    again = night(tmp_path, job, "--date", days.on(6), "--run", "b")
    assert again.stdout == "skipped unchanged since a\n"
    seen = production.read(f"{here}/out")
    assert (seen.run, seen.generation, seen.why) == ("a", 1, "the first run; no limits are set")
    assert [(n.run, n.status, n.promoted) for n in history.read(f"{here}/out")] == [
        ("a", "succeeded", True),
        ("b", "skipped", False),
    ]
