"""Cost of a checkpoint: the stall of a step, the upload, and the time to resume.

    python -m benchmarks.checkpoint [--sizes 100,1000] [--json FILE]

Everything is measured in one run on one machine. The stall is the time that training waits: for kfit the copy to
host memory (a commit runs beside the steps), for other tools what their callback does before it returns. The upload
is compared with one put of the same bytes into the same store (SeaweedFS on this machine), which s3fs splits into
parallel parts. The time to resume is from the start of the process to the first step.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.timing import times_s
from tests import sets
from tests.servers import environment, seaweed
from trainer import storage
from trainer.tensorflow_import import import_tensorflow

#: Interval of checkpoints to which a stall is compared.
INTERVAL_S = 300.0
REPEATS = 5


def model_of(size_mb: float) -> Any:
    """Builds a compiled model whose weights and optimizer take so many MB; Adam stores every weight three times."""
    import keras

    width = int((size_mb * 1e6 / 4 / 3 / 2) ** 0.5)
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width), keras.layers.Dense(width)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median time of a call in seconds, after one call to warm up."""
    work()
    return statistics.median(times_s(work, repeats))


def stalls(size_mb: float, folder: Path) -> dict[str, float | str]:
    """Returns the seconds that a step waits, by tool."""
    import keras

    from trainer.training.training_state import TrainingState, take_snapshot
    from trainer.workers.coordinator import SingleWorker

    model = model_of(size_mb)
    stall_s: dict[str, float | str] = {
        "kfit": seconds(lambda: take_snapshot(model, TrainingState(), {}, SingleWorker()))
    }
    whole = keras.callbacks.ModelCheckpoint(str(folder / "model.keras"))
    whole.set_model(model)
    stall_s["keras ModelCheckpoint"] = seconds(lambda: whole._save_model(0, 0, {}), 2)
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"), save_freq=1)
    backup.set_model(model)
    stall_s["keras BackupAndRestore"] = seconds(lambda: backup._save_model(), 2)
    stall_s["orbax, asynchronous"] = _orbax(model, folder)
    return stall_s


def _orbax(model: Any, folder: Path) -> float | str:
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        return "not installed: pip install orbax-checkpoint"
    variables = [*model.variables, *model.optimizer.variables]
    checkpointer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    taken = []
    for count in range(4):
        began = time.perf_counter()
        checkpointer.save(folder / f"orbax-{count}", {str(i): v.numpy() for i, v in enumerate(variables)})
        taken.append(time.perf_counter() - began)
        checkpointer.wait_until_finished()
    return statistics.median(taken[1:])


def uploads(size_mb: float, output: str) -> dict[str, float]:
    """Returns the MB/s of a commit, and of one parallel put of the same bytes."""
    import numpy as np

    from trainer.checkpoint.run_folder import RunFolder
    from trainer.checkpoint.store import CheckpointStore, Snapshot

    rng = np.random.default_rng(0)
    commits: list[float] = []
    puts: list[float] = []
    store = CheckpointStore(RunFolder(output, "upload"), keep=1, note=print)
    store.take_over(None)
    for count in range(3):
        snapshot = Snapshot(count + 1, {"weights": {"a": rng.integers(0, 256, int(size_mb * 1e6), np.uint8)}})
        commits += times_s(functools.partial(store.commit, snapshot), 1)
        whole = snapshot.groups["weights"]["a"].tobytes()
        puts += times_s(functools.partial(storage.write, f"{output}/put-{count}", whole), 1)
    return {"commit_mb_s": size_mb / min(commits), "put_mb_s": size_mb / min(puts)}


def first_step_s(folder: Path, environ: dict[str, str]) -> dict[str, float]:
    """Returns the seconds until the first step of `trainer fit`: fresh, and from a checkpoint of about 100 MB."""
    document = sets.job(
        sets.write(folder / "data"),
        folder / "out",
        model={"builtin": "mlp", "hidden": [2800, 2800]},
        output__tensorboard=False,
        output__checkpoint={"every": "4 steps"},
        fit={"epochs": 50, "batch_size": 64},
    )
    job = sets.write_job(folder / "job.yaml", document)

    def start(run: str) -> float:
        command = [sys.executable, "-m", "trainer", "fit", str(job), "--run", run]
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**environ, "KFIT_EVENTS": "1"}
        ) as process:
            assert process.stdout is not None
            taken = next(time.perf_counter() - began for line in process.stdout if json.loads(line)["kfit"] == "step")
            while not list((folder / "out/runs" / run / "checkpoints").glob("step-*/MANIFEST.json")):
                if process.poll() is not None:
                    raise SystemExit("the run ended before its first checkpoint")
                time.sleep(0.05)
            process.kill()
        return taken

    start("warm-up")
    fresh = [start(f"r{i}") for i in range(3)]
    again = [start(f"r{i}") for i in range(3)]
    return {"fresh_s": statistics.median(fresh), "resumed_s": statistics.median(again)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,1000", help="MB of weights and optimizer")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    import_tensorflow()
    document: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kfit-checkpoint-") as scratch:
        folder = Path(scratch)
        os.environ["KFIT_CACHE"] = str(folder / "cache")
        for size in map(float, options.sizes.split(",")):
            where = folder / f"{size:.0f}"
            where.mkdir()
            stall_s = stalls(size, where)
            document[f"stall_s of {size:.0f} MB"] = stall_s
            ours = float(stall_s["kfit"])
            table = Table("checkpoint of a state of", "tool", "a step waits", "beside kfit", "of 5 minutes", box=None)
            for tool, stall in stall_s.items():
                cells = (
                    (stall, "", "")
                    if isinstance(stall, str)
                    else (f"{stall * 1e3:,.0f} ms", f"{stall / ours:.1f} ×", f"{stall / INTERVAL_S:.3%}")
                )
                table.add_row(f"{size:,.0f} MB", tool, *cells)
            console.print(table)
        with seaweed(folder / "s3") as server:
            os.environ.update(environment(server.endpoint))
            speed = uploads(400.0, f"s3://{server.bucket}/checkpoint")
        document["upload"] = speed
        console.print(
            f"upload: {speed['commit_mb_s']:,.0f} MB/s hashed and committed, "
            f"{speed['put_mb_s']:,.0f} MB/s one parallel put: ratio {speed['commit_mb_s'] / speed['put_mb_s']:.2f}"
        )
        document["first step"] = back = first_step_s(folder / "first", dict(os.environ))
        console.print(
            f"first step after {back['fresh_s']:.1f} s from nothing, {back['resumed_s']:.1f} s from a checkpoint "
            f"of 100 MB: {back['resumed_s'] - back['fresh_s']:+.1f} s"
        )
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
