"""Throughput of one and two workers and replicas at an equal global batch, and what of it is communication.

    python -m benchmarks.scaling [--rows 300000] [--batch 4096] [--hidden 512 512] [--epochs 4]
    python -m benchmarks.scaling --model        # only the model, from the figures of the last run

Trains one model on the same rows in five ways: `trainer fit` with one device, with two devices and with two workers,
and a plain MultiWorkerMirroredStrategy with a training loop, on one and two workers, with its rows in memory.
Samples/s are those of the best epoch after the first. Collectives are measured alone: the same two processes
sum tensors of the gradients' sizes, those of one step at a time. On a CPU nothing overlaps them with the
computation, so their share is their time divided by a step's.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.timing import times_s

FEATURES = 64
RESULTS = Path(".cache/scaling.json")


# --- what is measured -----------------------------------------------------------------------------


def arrays(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features, float32 [rows, FEATURES], and labels, float32 [rows]."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    return x, (x[:, :8].sum(axis=1) + rng.normal(size=rows) > 0).astype(np.float32)


def write(folder: Path, options: argparse.Namespace) -> Path:
    """Writes the rows as 16 shards and the job file; returns the path of the job file."""
    x, y = arrays(options.rows)
    (folder / "data").mkdir()
    for index, part in enumerate(np.array_split(np.arange(options.rows), 16)):
        vector = pa.FixedSizeListArray.from_arrays(pa.array(x[part].ravel()), FEATURES)
        table = pa.table({"x": vector, "label": y[part].astype(np.int8)})
        pq.write_table(table, folder / f"data/{index:02d}.parquet", row_group_size=4096)
    job = {
        "run": {
            "data": {
                "train": str(folder / "data"),
                "label": "label",
                "features": {"x": {"kind": "vector", "size": FEATURES}},
            },
            "task": "binary",
            "model": {"builtin": "mlp", "hidden": options.hidden},
            "fit": {"epochs": options.epochs, "batch_size": options.batch, "metrics": ["accuracy"]},
            "output": {"uri": str(folder / "out"), "checkpoint": {"every": "9 epochs"}, "tensorboard": False},
        }
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def ours(folder: Path, job: Path, options: argparse.Namespace, devices: int, workers: int) -> float:
    """Returns the samples/s of `trainer fit`, in the best epoch after the first."""
    run = f"d{devices}-w{workers}"
    words = ["fit", str(job), "--run", run, "--devices", f"cpu:{devices}", "--workers", str(workers)]
    environ = {**os.environ, "KFIT_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in (folder / f"out/runs/{run}/metrics.jsonl").read_text().splitlines()]
    ends = [line["time"] for line in lines if line.get("end")]
    return float(options.rows / min(np.diff(ends)))


def run_workers(what: str, workers: int) -> dict[str, Any]:
    """Runs this command line in several processes with a TF_CONFIG; returns the figures that the first one printed."""
    ports = [_free_port() for _ in range(workers)]
    started = []
    for index in range(workers):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environ = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "2"}
        words = [sys.executable, "-m", "benchmarks.scaling", "--part", what, *sys.argv[1:]]
        started.append(
            subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
    outputs = [process.communicate(timeout=1200)[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{what} with {workers} workers failed")
    figures: dict[str, Any] = json.loads(outputs[0].strip().splitlines()[-1])
    return figures


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- what the processes of `run_workers` do -----------------------------------------------------------


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Trains with the custom loop of TensorFlow's multi-worker tutorial, on rows in memory."""
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    x, y = arrays(options.rows)
    workers = strategy.num_replicas_in_sync

    def share(context: Any) -> Any:
        rows = tf.data.Dataset.from_tensor_slices((x, y)).shard(workers, context.input_pipeline_id)
        # Whole batches are shuffled, not rows: gathering rows one by one would dominate the measurement.
        return rows.batch(options.batch // workers, drop_remainder=True).cache().shuffle(64).repeat().prefetch(4)

    data = strategy.distribute_datasets_from_function(share)
    with strategy.scope():
        model = _model(keras, options.hidden)
        optimizer = keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)

    @tf.function
    def step(iterator: Any) -> Any:
        def one(batch: Any) -> Any:
            numbers, label = batch
            with tf.GradientTape() as tape:
                raw = keras.losses.binary_crossentropy(label[:, None], model(numbers, training=True))
                loss = tf.reduce_sum(raw) / options.batch
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
            return loss

        return strategy.reduce("SUM", strategy.run(one, args=(next(iterator),)), axis=None)

    iterator, steps = iter(data), options.rows // options.batch

    def epoch() -> None:
        for _ in range(steps):
            loss = step(iterator)
        float(loss)

    return {"samples_per_s": steps * options.batch / min(times_s(epoch, options.epochs))}


def collectives(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the seconds of an all-reduce of a step's gradients, and of a single number."""
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    shapes = [tuple(v.shape) for v in _model(keras, options.hidden).trainable_variables]

    def timed(tensors: Sequence[tuple[int, ...]], times: int) -> float:
        @tf.function
        def step() -> Any:
            def one() -> Any:
                replica = tf.distribute.get_replica_context()
                return replica.all_reduce("SUM", [tf.ones(shape) for shape in tensors])

            return strategy.run(one)

        step()
        return float(np.median(times_s(step, times)))

    size = sum(int(np.prod(shape)) * 4 for shape in shapes)
    large = timed([(16 * 1024**2 // 4,)], 10)
    return {"gradient_bytes": size, "sum_s": timed(shapes, 50), "latency_s": timed([(1,)], 100), "large_s": large}


def _model(keras: Any, hidden: Sequence[int]) -> Any:
    inputs = keras.Input((FEATURES,))
    hidden_layer = inputs
    for size in hidden:
        hidden_layer = keras.layers.Dense(size, activation="relu")(hidden_layer)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden_layer))


# --- the model ------------------------------------------------------------------------------------

#: Of common machines: bytes/s that a GPU sends to another node, and seconds of one message.
LINKS = {"25 Gb/s Ethernet": (3.1e9, 30e-6), "100 Gb/s RoCE": (12.5e9, 10e-6), "400 Gb/s InfiniBand": (50e9, 5e-6)}


def ring_s(size_bytes: float, workers: int, bytes_s: float, latency_s: float) -> float:
    """Returns the seconds of a ring all-reduce: each worker sends 2 (N - 1) / N of the bytes, in 2 (N - 1) messages."""
    return 2 * (workers - 1) * (size_bytes / workers / bytes_s + latency_s)


def efficiency(step_s: float, size_bytes: float, workers: int, bytes_s: float, latency_s: float) -> float:
    """Returns the share of a step spent computing if communication overlaps nothing, the worst case."""
    return step_s / (step_s + ring_s(size_bytes, workers, bytes_s, latency_s))


def model_table(figures: dict[str, Any]) -> Table:
    """Returns the table of efficiency at 8, 64 and 512 GPUs by gradient size and link, for a constant batch per GPU."""
    table = Table(title="share of a step that computes (one GPU computes a step in 100 ms)", box=None)
    table.add_column("gradients")
    table.add_column("link")
    for count in (8, 64, 512):
        table.add_column(f"{count} GPUs", justify="right")
    for name, size in (("as measured", figures["gradient_bytes"]), ("100 MB", 1e8), ("1 GB", 1e9)):
        for link, (bytes_s, latency_s) in LINKS.items():
            shares = [f"{efficiency(0.1, size, n, bytes_s, latency_s):.1%}" for n in (8, 64, 512)]
            table.add_row(f"{name} ({size / 1e6:.1f} MB)", link, *shares)
    return table


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures and returns all figures."""
    with tempfile.TemporaryDirectory(prefix="kfit-scaling-") as scratch:
        folder = Path(scratch)
        job = write(folder, options)
        figures: dict[str, Any] = {"rows": options.rows, "batch": options.batch, "hidden": options.hidden}
        ways = {"1 worker, 1 device": (1, 1), "1 worker, 2 devices": (2, 1), "2 workers, 1 device each": (1, 2)}
        figures["ours"] = {name: ours(folder, job, options, *way) for name, way in ways.items()}
        figures["plain"] = {f"{n} worker(s)": run_workers("plain", n)["samples_per_s"] for n in (1, 2)}
        return {**figures, **run_workers("collectives", 2)}


def table_of(figures: dict[str, Any]) -> Table:
    """Returns the table of the figures."""
    table = Table(box=None, header_style="bold")
    for name in ("way", "samples/s", "a step", "collectives alone", "share"):
        table.add_column(name, justify="left" if name == "way" else "right")
    rows = [(f"trainer fit, {name}", rate, "2 workers" in name) for name, rate in figures["ours"].items()]
    rows += [(f"plain loop, {name}", rate, name.startswith("2")) for name, rate in figures["plain"].items()]
    for name, rate, several in rows:
        step_s = figures["batch"] / rate
        sums = (f"{figures['sum_s'] * 1e3:.2f} ms", f"{figures['sum_s'] / step_s:.0%}") if several else ("–", "–")
        table.add_row(name, f"{rate:,.0f}", f"{step_s * 1e3:.1f} ms", *sums)
    return table


def main() -> int:
    """Parses the command line, measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512])
    parser.add_argument("--model", action="store_true", help="only the model, from the last run's figures")
    parser.add_argument("--part", choices=["plain", "collectives"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        figures = {"plain": plain, "collectives": collectives}[options.part](options)
        print(json.dumps(figures), flush=True)
        os._exit(0)  # the server's threads outlive the interpreter
    if options.model:
        figures = json.loads(RESULTS.read_text())
    else:
        figures = measure(options)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=2))
    console = Console()
    console.print(table_of(figures))
    console.print(
        f"gradients {figures['gradient_bytes'] / 1e6:.2f} MB; a sum of one number {figures['latency_s'] * 1e3:.2f} ms; "
        f"16 MiB in {figures['large_s'] * 1e3:.0f} ms"
    )
    console.print(model_table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
