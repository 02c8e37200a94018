"""Programs as Keras's guides write them: plain scripts and jobs, the model's code untouched, have the same metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from examples.digits.make_data import png
from tests import sets

PROGRAMS = Path(__file__).parent
#: No multiple of the batch: kfit pads the last one.
ROWS, HELD = 500, 150


def structured() -> pa.Table:
    return sets.table(ROWS + HELD)


def text() -> pa.Table:
    rng = np.random.default_rng(3)
    words = {0: [f"bad{i}" for i in range(20)], 1: [f"good{i}" for i in range(20)]}
    labels = rng.integers(0, 2, ROWS + HELD)
    other = rng.random((ROWS + HELD, 10)) < 0.4
    texts = [
        " ".join(rng.choice(words[int(label) ^ int(swap)]) for swap in swaps) + "!"
        for label, swaps in zip(labels, other, strict=True)
    ]
    return pa.table({"text": texts, "label": pa.array(labels, pa.int8())})


def images() -> pa.Table:
    digits = load_digits()
    pixels = np.clip(digits.images[: ROWS + HELD] * 16, 0, 255).astype(np.uint8)
    return pa.table({"image": pa.array([png(one) for one in pixels]), "digit": digits.target[: ROWS + HELD]})


JOBS: dict[str, tuple[Callable[[], pa.Table], dict[str, Any]]] = {
    "structured": (
        structured,
        {
            "data__features": {"x": {"kind": "numeric"}, "city": {"kind": "categorical"}},
            "model": {"entrypoint": "structured:build", "inputs": "raw", "args": {"mean": 0.1, "variance": 1.2}},
            "fit__epochs": 3,
        },
    ),
    "text": (
        text,
        {
            "data__features": {"text": {"kind": "text", "length": 12}},
            "model": {"entrypoint": "text:build", "inputs": "encoded"},
            "fit__epochs": 3,
        },
    ),
    "images": (
        images,
        {
            "task": "multiclass",
            "data__label": "digit",
            "data__features": {"image": {"kind": "image", "height": 8, "width": 8, "channels": 1}},
            "model": {"entrypoint": "images:build", "inputs": "raw"},
            "fit__epochs": 2,
        },
    ),
}


@pytest.mark.parametrize("program", ["images"])
def test_a_program_of_the_guides_has_the_same_metrics_as_a_script_and_as_a_job(tmp_path: Path, program: str) -> None:
    make, changes = JOBS[program]
    table = make()
    pq.write_table(table.slice(0, ROWS), tmp_path / "train.parquet")
    pq.write_table(table.slice(ROWS), tmp_path / "held.parquet")
    document = sets.job(
        tmp_path / "train.parquet",
        tmp_path / "out",
        data__validation=str(tmp_path / "held.parquet"),
        data__shuffle=False,
        fit__batch_size=32,
        fit__early_stopping=None,
        **changes,
    )
    document["run"]["code"] = {"from": str(PROGRAMS)}
    job = sets.write_job(tmp_path / "job.yaml", document)

    def run(*words: str) -> str:
        environment = {**os.environ, "KFIT_CACHE": str(tmp_path / "cache"), "TF_DETERMINISTIC_OPS": "1"}
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plain = json.loads(run(str(PROGRAMS / f"{program}.py"), str(tmp_path)))
    run("-m", "trainer", "fit", str(job), "--run", "r", "--devices", "cpu")
    metrics = json.loads((tmp_path / "out/runs/r/result.json").read_text())["metrics"]
    for split, expected in plain.items():
        found = {name: metrics[split][name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-5), (split, metrics)
    print(program, plain["validation"], metrics["validation"])
