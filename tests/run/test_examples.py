"""The examples' data is made and learnt: each kind of column that is not a plain number or category."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "epochs", "accuracy"), [("docstrings", 6, 0.85), ("routes", 1, 0.6), ("digits", 8, 0.85)]
)
def test_an_example_learns(name, epochs, accuracy, tmp_path):
    result = fitted(name, tmp_path, {"fit.epochs": epochs})
    assert result["metrics"]["validation"]["accuracy"] >= accuracy


def fitted(name: str, tmp_path: Path, more: Mapping[str, object] = MappingProxyType({})) -> dict[str, Any]:
    """Makes an example's data, fits its job and returns result.json."""
    environment = {**os.environ, "KFIT_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300, env=environment
        )
        assert done.returncode == 0, done.stderr

    run(str(EXAMPLES / name / "make_data.py"), str(tmp_path / "data"))
    changes = {"data.train": tmp_path / "data", "output.uri": tmp_path / "out", **more}
    words = [word for key, value in changes.items() for word in ("--set", f"run.{key}={value}")]
    run("-m", "trainer", "fit", str(EXAMPLES / name / "job.yaml"), "--run", "r", *words)
    return json.loads((tmp_path / "out" / "runs" / "r" / "result.json").read_text())


def test_the_example_of_two_labels_learns_both(tmp_path):
    result = fitted("two-labels", tmp_path)
    assert result["task"] == {"late": "binary", "minutes": "regression"}
    assert result["metrics"]["validation"]["late_auc"] > 0.65
    assert result["metrics"]["validation"]["minutes_rmse"] < result["baseline"]["minutes_rmse"]


def test_the_tumours_are_learnt_by_code_of_ones_own(tmp_path):
    """Every command of the example as its files say them, in a folder of their own."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    environment = {**os.environ, "KFIT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(EXAMPLES.parent)}

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stderr

    def fitted(job: str, run_id: str, *more: str) -> tuple[float, Path]:
        started = time.monotonic()
        files = [word for name in (job, *more) for word in ("-f", f"examples/tumours/{name}.yaml")]
        run("-m", "trainer", "fit", *files, "--run", run_id)
        assert time.monotonic() - started < 60
        (folder,) = (tmp_path / ".demo/models").glob(f"*/runs/{run_id}")
        return json.loads((folder / "result.json").read_text())["metrics"]["validation"]["auc"], folder

    run("examples/tumours/make_data.py")
    base, folder = fitted("focal-loss", "base")
    assert base > 0.93
    epochs = json.loads((folder / "result.json").read_text())["epochs"]
    assert len((folder / "callbacks/slowest_step.txt").read_text().splitlines()) == epochs > 1
    assert fitted("subclassed", "subclassed")[0] > 0.93
    assert fitted("fine-tuning", "tuned")[0] > 0.93
    run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", ".demo/wheels", "examples/tumours")
    assert fitted("focal-loss", "wheel", "wheel")[0] == pytest.approx(base)
