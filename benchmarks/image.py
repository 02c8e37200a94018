"""Measures the size of the image and the time until it trains.

`python -m benchmarks.image` needs docker or podman, and the image that `make image` builds. Containers run as pods do:
read-only root, no capabilities, no network. The data is one small shard on the local disk, so that the time is that of
the image and the trainer.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.timing import cpu_seconds
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
wall, cpu = time.monotonic(), time.process_time()
from trainer.tensorflow_import import import_tensorflow
import_tensorflow()
print(time.monotonic() - wall, time.process_time() - cpu)
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


@dataclass(frozen=True)
class Spent:
    """What a container spent until something was done.

    Attributes:
        wall_s: Seconds since the engine was called.
        cpu_s: Processor seconds of the trainer's process, which other work on the machine lengthens little.
    """

    wall_s: float
    cpu_s: float


def first_step(folder: Path) -> Spent:
    """Runs one container up to its first step."""
    name = f"kfit-benchmark-{time.monotonic_ns()}"
    flags = (f"--volume={folder}/data:/data:ro", f"--volume={folder}/job.yaml:/etc/kfit/job.yaml:ro")
    environment = ("--env=KFIT_EVENTS=1", "--env=HOME=/tmp", f"--name={name}")
    words = containers.command("fit", "/etc/kfit/job.yaml", flags=(*flags, *environment))
    started, spent, pid = time.monotonic(), None, 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            event = json.loads(line)["kfit"]
            pid = pid or _pid(name)
            if event == "step" and spent is None:
                spent = Spent(time.monotonic() - started, cpu_seconds(pid))
        if spent is None:
            raise SystemExit(f"no step was done:\n{process.stderr.read()}")
    return spent


def _pid(name: str) -> int:
    words = [*containers.engine(), "inspect", "--format", "{{.State.Pid}}", name]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def tensorflow_import() -> Spent:
    """Measures the import of TensorFlow in a container of its own."""
    done = containers.run("-c", IMPORT, flags=("--env=HOME=/tmp",), entrypoint="python")
    return Spent(*(float(word) for word in done.stdout.split()))


def layers_mb() -> list[float]:
    """Returns the uncompressed size of each layer, oldest first."""
    words = ("history", "--no-trunc", "--format", "{{.Size}}", containers.IMAGE)
    done = subprocess.run([*containers.engine(), *words], capture_output=True, text=True, check=True)
    return [size for line in reversed(done.stdout.splitlines()) if (size := _mb(line))]


def compressed_mb() -> float:
    """All layers as a registry keeps them: gzip at its usual level."""
    size = 0
    with (
        subprocess.Popen([*containers.engine(), "save", containers.IMAGE], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in filter(tarfile.TarInfo.isfile, archive):
            packer, file = zlib.compressobj(6), archive.extractfile(member)
            size += sum(len(packer.compress(part)) for part in iter(lambda f=file: f.read(1 << 20), b""))
            size += len(packer.flush())
    return size / 1e6


def _mb(size: str) -> float:
    """`1.56 MB`, as podman writes it, or `1.56MB`, as docker does."""
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", size.strip()).groups()
    return float(number) * {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]


def _figures(spent: Sequence[Spent]) -> tuple[float, float, float]:
    """Median and least seconds, and the median of processor seconds."""
    wall = [s.wall_s for s in spent]
    return statistics.median(wall), min(wall), statistics.median(s.cpu_s for s in spent)


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
        first_step(Path(folder))  # brings the image into the page cache
        steps, imports = zip(*((first_step(Path(folder)), tensorflow_import()) for _ in range(runs)), strict=True)
    table = Table("", "median", "least", "processor", title=f"{containers.IMAGE}, {runs} runs")
    table.add_row("image", f"{sum(layers):,.0f} MB")
    table.add_row("image, compressed", f"{compressed_mb():,.0f} MB")
    table.add_row("layer that a change of our code alters", f"{layers[-1]:.1f} MB")
    before, without = _figures(steps), _figures(imports)
    rest = [a - b for a, b in zip(before, without, strict=True)]
    for name, seconds in (
        ("container start to first step", before),
        ("TensorFlow's import", without),
        ("start to first step without it", rest),
    ):
        table.add_row(name, *(f"{s:.2f} s" for s in seconds))
    Console().print(table)


if __name__ == "__main__":
    main()
