"""The examples' data is made and learnt: each kind of column that is not a plain number or category."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "epochs", "accuracy"), [("docstrings", 6, 0.85), ("routes", 1, 0.6), ("digits", 8, 0.85)]
)
def test_an_example_learns(name, epochs, accuracy, tmp_path):
    environment = {**os.environ, "KFIT_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300, env=environment
        )
        assert done.returncode == 0, done.stderr

    run(str(EXAMPLES / name / "make_data.py"), str(tmp_path / "data"))
    changes = {"data.train": tmp_path / "data", "output.uri": tmp_path / "out", "fit.epochs": epochs}
    words = [word for key, value in changes.items() for word in ("--set", f"run.{key}={value}")]
    run("-m", "trainer", "fit", str(EXAMPLES / name / "job.yaml"), "--run", "r", *words)
    result = json.loads((tmp_path / "out" / "runs" / "r" / "result.json").read_text())
    assert result["metrics"]["validation"]["accuracy"] >= accuracy
