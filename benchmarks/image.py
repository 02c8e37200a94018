"""Prints what the image weighs and how soon it trains.

`python -m benchmarks.image` needs docker or podman, and the image that `make image` builds. What is started is
what a pod starts: read-only root, no capabilities, no network; the data is one small shard on this machine's
disk, so that the time is the image's and the trainer's and not the data's.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from tests.image import containers

JOB = {
    "run": {
        "data": {
            "train": "/data",
            "label": "late",
            "features": {
                **{f"x{i}": {"kind": "numeric"} for i in range(6)},
                "carrier": {"kind": "categorical"},
                "dest": {"kind": "categorical", "encode": "embedding", "size": 8},
            },
        },
        "task": "binary",
        "model": {"builtin": "mlp", "hidden": [64, 32]},
        "fit": {"epochs": 1, "batch_size": 1024},
        "output": {"uri": "/tmp/models"},
    }
}
IMPORT = """
import time
started = time.monotonic()
from trainer.quiet import import_tensorflow
import_tensorflow()
print(time.monotonic() - started)
"""


def make_data(folder: Path, rows: int = 8192) -> None:
    """One shard, and the job file beside it."""
    random = np.random.default_rng(0)
    columns = {f"x{i}": random.normal(size=rows).astype("float32") for i in range(6)}
    columns["carrier"] = random.choice(["AA", "DL", "UA"], rows)
    columns["dest"] = random.choice([f"D{i:02}" for i in range(50)], rows)
    columns["late"] = (columns["x0"] > 0).astype("int8")
    (folder / "data").mkdir()
    pq.write_table(pa.table(columns), folder / "data" / "part-0.parquet")
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def first_step_s(folder: Path) -> dict[str, float]:
    """Seconds from the engine's call to each event of one container, up to its first step."""
    flags = (f"--volume={folder}/data:/data:ro", f"--volume={folder}/job.yaml:/etc/kfit/job.yaml:ro")
    environment = ("--env=KFIT_EVENTS=1", "--env=HOME=/tmp", f"--name=kfit-benchmark-{time.monotonic_ns()}")
    words = containers.command("fit", "/etc/kfit/job.yaml", flags=(*flags, *environment))
    started, found = time.monotonic(), {}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                event = json.loads(line)
                found.setdefault(event["kfit"], time.monotonic() - started)
        assert process.stderr is not None
        if "step" not in found:
            raise SystemExit(f"no step was done:\n{process.stderr.read()}")
    return found


def import_s() -> float:
    """Seconds that TensorFlow's import takes in a container of its own."""
    done = containers.run("-c", IMPORT, flags=("--env=HOME=/tmp",), entrypoint="python")
    return float(done.stdout)


def layers_mb() -> list[float]:
    """Size of each layer before compression, oldest first."""
    words = ("history", "--no-trunc", "--format", "{{.Size}}", containers.IMAGE)
    done = subprocess.run([*containers.engine(), *words], capture_output=True, text=True, check=True)
    return [size for line in reversed(done.stdout.splitlines()) if (size := _mb(line))]


def _mb(size: str) -> float:
    """`1.56 MB`, as podman writes it, or `1.56MB`, as docker does."""
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", size.strip()).groups()
    return float(number) * {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    if reason := containers.why_not():
        raise SystemExit(f"{containers.IMAGE}: {reason}")
    layers = layers_mb()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        first_step_s(Path(folder))  # brings the image into the page cache
        pairs = [(first_step_s(Path(folder)), import_s()) for _ in range(runs)]
    steps, imports = [e["step"] for e, _ in pairs], [i for _, i in pairs]
    table = Table("", "median", "least", title=f"{containers.IMAGE}, {runs} runs")
    table.add_row("image", f"{sum(layers):,.0f} MB", "")
    table.add_row("layer that a change of our code alters", f"{layers[-1]:.1f} MB", "")
    both = (statistics.median, min)
    table.add_row("container start to first step", *(f"{f(steps):.2f} s" for f in both))
    table.add_row("TensorFlow's import", *(f"{f(imports):.2f} s" for f in both))
    table.add_row("start to first step without it", *(f"{f(steps) - f(imports):.2f} s" for f in both))
    Console().print(table)


if __name__ == "__main__":
    main()
