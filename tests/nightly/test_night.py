"""Whole nights: date to window to model to gate to production.json, and what must not happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sets
from tests.nightly import days


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    days.write(tmp_path / "lake", 0, 9)
    return tmp_path / "lake"


def night(folder: Path, job: dict, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = sets.write_job(folder / "job.yaml", job)
    return subprocess.run(
        [sys.executable, "-m", "trainer", "fit", str(path), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "KFIT_CACHE": str(folder / "cache"), **env},
    )


def result(folder: Path, run: str) -> dict:
    return json.loads((folder / "out" / "runs" / run / "result.json").read_text())


def production(folder: Path) -> dict:
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
    assert production(tmp_path)["run"] == "first"

    # The next night: other days, so another run, held against the first.
    second = night(tmp_path, job, "--date", days.on(7), "--run", "second")
    assert second.returncode == 0, second.stderr
    decision = result(tmp_path, "second")["decision"]
    assert decision["champion"] == "first"
    assert decision["rows"] == 200
    assert decision["gain"]["low"] <= decision["gain"]["gain"] <= decision["gain"]["high"]
    assert production(tmp_path)["run"] == "second"
    assert production(tmp_path)["previous"] == "first"

    # The same night again under another id: nothing to do, without TensorFlow.
    before = production(tmp_path)
    again = night(
        tmp_path, job, "--date", days.on(7), "--run", "again", PYTHONPROFILEIMPORTTIME="1", PYTHONPATH=str(Path.cwd())
    )
    assert again.returncode == 0, again.stderr
    assert "tensorflow" not in again.stderr
    assert again.stdout == "skipped unchanged since second\n"
    skipped = result(tmp_path, "again")
    assert (skipped["status"], skipped["exit_code"]) == ("skipped", 0)
    assert skipped["unchanged_since"] == "second"
    assert production(tmp_path) == before

    # A night that cannot be surely better than 0.9 more AUC is refused, and exits 0 all the same.
    strict = days.job(lake, tmp_path / "out", promote={"min_delta": 0.9})
    refused = night(tmp_path, strict, "--date", days.on(8), "--run", "refused")
    assert refused.returncode == 0, refused.stderr
    assert not result(tmp_path, "refused")["decision"]["promoted"]
    assert "not surely above 0.9" in refused.stderr
    assert production(tmp_path) == before
