"""A run that is started again: what it may go on with, and what its process leaves behind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import sets
from tests.trainer_process import trainer


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that failed after it had published its model: no report, no result."""
    folder = tmp_path_factory.mktemp("resume")
    constant = {"name": "adam", "learning_rate": 0.001}  # a rate that falls over all epochs is another with more epochs
    document = sets.job(sets.write(folder / "data"), folder / "out", output__tensorboard=False, fit__optimizer=constant)
    sets.write_job(folder / "job.yaml", document)
    (folder / "tmp").mkdir()
    done = fit(folder)
    assert done.returncode == 0, done.stderr
    for name in ("result.json", "report.html"):
        (folder / "out/runs/r" / name).unlink()
    return folder


def fit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`trainer fit` with a temporary folder of its own."""
    return trainer(folder, "fit", str(folder / "job.yaml"), "--run", "r", *words, TMPDIR=str(folder / "tmp"))


def test_a_fit_leaves_nothing_in_the_temporary_folder(workshop: Path) -> None:
    assert sorted(p.name for p in (workshop / "tmp").rglob("*")) == []


def test_a_run_that_has_published_its_model_is_not_trained_any_further(workshop: Path) -> None:
    """`model/` is never replaced: report and result of more epochs would be of weights that it does not hold."""
    run = workshop / "out/runs/r"
    files = {p: p.read_bytes() for p in (run / "model").rglob("*") if p.is_file()}
    longer = fit(workshop, "--set", "run.fit.epochs=4")
    assert longer.returncode == 64, longer.stderr
    assert "the run has published its model after 2 epochs and run.fit.epochs is 4" in longer.stderr
    assert "finish it with run.fit.epochs: 2, then begin a new run with run.fit.extend: r" in longer.stderr
    same = fit(workshop)
    assert same.returncode == 0, same.stderr
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["epochs"]) == ("succeeded", 2)
    assert {p: p.read_bytes() for p in (run / "model").rglob("*") if p.is_file()} == files
