"""Whole manifests, for a person to read. `KFIT_GOLDEN=write pytest tests/chart/test_golden.py` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chart.charts import JOB, NIGHTLY, render, values

FOLDER = Path(__file__).parent / "golden"
JOBS = {
    "job": JOB,
    "two-nodes-of-four-gpus": values(
        nodes=2,
        resources={"gpus": 4, "cpu": 16, "memory": "64Gi", "shm": "8Gi"},
        queue="team-a",
        envFrom=[{"secretRef": {"name": "object-store"}}],
    ),
    "nightly": values(NIGHTLY, serviceAccount={"create": True}),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_manifest_is_as_it_was(name):
    path = FOLDER / f"{name}.yaml"
    rendered = render(JOBS[name]).text
    if os.environ.get("KFIT_GOLDEN") == "write":
        path.write_text(rendered)
    assert rendered == path.read_text(), "read the difference; if it is meant: KFIT_GOLDEN=write"


def test_every_golden_file_is_compared():
    assert sorted(p.stem for p in FOLDER.glob("*.yaml")) == sorted(JOBS)
