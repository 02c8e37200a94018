"""examples/custom-model: a model of one's own trains by the example's job file."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.chart.charts import ROOT, render
from trainer.config import Config

EXAMPLE = ROOT / "examples" / "custom-model"


def make_flights(folder, rows=2048):
    """Columns as the flights have them, few rows."""
    random = np.random.default_rng(0)
    columns = {
        name: random.normal(size=rows).astype("float32") for name in ("dep_minute", "distance", "wind_speed", "visib")
    }
    columns["hour"] = random.integers(5, 23, rows).astype("int8")
    for name, values in (("carrier", ["AA", "DL", "UA"]), ("origin", ["JFK", "LGA"]), ("dest", ["ATL", "BOS", "LAX"])):
        columns[name] = random.choice(values, rows)
    columns["late"] = (columns["distance"] > 0).astype("int8")
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def test_its_model_trains(tmp_path):
    make_flights(tmp_path / "flights")
    sets = [f"run.data.train={tmp_path}/flights", f"run.output.uri={tmp_path}/models", "run.fit.epochs=1"]
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "fit", str(EXAMPLE / "job.yaml"), "--run", "r", "--set", ",".join(sets)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{EXAMPLE}:{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "runs" / "r" / "result.json").is_file()


def test_its_job_file_names_what_its_image_holds():
    text = (EXAMPLE / "Dockerfile").read_text()
    package = Config.load(EXAMPLE / "job.yaml").model.entrypoint.split(":")[0]
    assert f"COPY {package} /opt/model/{package}" in text
    assert "ENV PYTHONPATH=/opt/model" in text
    assert (EXAMPLE / package / "__init__.py").is_file()


def test_its_job_file_is_a_job():
    job = render(yaml.safe_load((EXAMPLE / "job.yaml").read_text()))
    assert job.container["image"] == "registry.example/delays:1"
