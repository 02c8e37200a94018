"""Training on a GPU from kfit's feed, beside the same batches in memory, and beside the step alone.

    python -m benchmarks.gpu [--rows 1000000] [--json FILE]

For each model and precision, in one process: `model.fit` from the feed, `model.fit` on the same batches loaded into
host memory by `tf.data` (what a feed that costs nothing would reach), and one batch that stays in the GPU's memory
(what the card would reach if nothing had to be copied). Needs a GPU; ends with 64 and says so without one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.feed.sets import SetShape, config_of, shapes, write
from benchmarks.timing import measured, print_measured


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        shape: Name of the dataset.
        hidden: Widths of the MLP's layers.
        batch_size: Rows of a step.
        fit: Keys of the job's `fit`: precision, XLA.
    """

    shape: str
    hidden: tuple[int, ...]
    batch_size: int
    fit: dict[str, bool]

    @property
    def name(self) -> str:
        """Words for the table."""
        model = "-".join(map(str, self.hidden))
        return f"{self.shape}, {model}, {self.batch_size:,} rows, {', '.join(self.fit) or 'float32'}"


#: Steps of a measured epoch, at least: the end of an epoch waits for the GPU.
_EPOCH_STEPS = 120
_SMALL, _LARGE = (512, 512, 256), (4096, 4096, 4096)
CASES = (
    Case("main", _SMALL, 1024, {}),
    Case("main", _SMALL, 8192, {}),
    Case("main", _SMALL, 8192, {"jit_compile": True}),
    Case("wide", _LARGE, 4096, {}),
    Case("wide", _LARGE, 4096, {"mixed_precision": True}),
    Case("wide", _LARGE, 4096, {"mixed_precision": True, "jit_compile": True}),
)


def measure(case: Case, shape: SetShape, folder: Path, seconds: float) -> dict[str, float]:
    """Returns rows per second of the three trainings, and the share of the time in which the feed was waited for."""
    import tensorflow as tf

    from trainer.feed.pipeline.dataset import Feed
    from trainer.feed.statistics.prepare import prepare
    from trainer.model.build import build
    from trainer.model.features import Features
    from trainer.model.strategy import make_strategy, seed_everything
    from trainer.model.trainable import compile_model

    model_keys = {"builtin": "mlp", "hidden": list(case.hidden)}
    config = config_of(shape, write(shape, folder), case.batch_size, model=model_keys)
    config = config.model_copy(update={"fit": config.fit.model_copy(update=case.fit)})
    prepared = prepare(config, cache=folder / "cache")
    strategy = make_strategy("gpu")
    seed_everything(config, strategy)
    with Feed(prepared, "train", batch_size=case.batch_size, seed=0, shuffle=True) as feed:
        with strategy.scope():
            features = Features(prepared.layout, config, prepared.statistics["train"])
            model = compile_model(build(features, config), config, feed.steps)
        dataset = feed.dataset()
        batches = [tf.nest.map_structure(tf.identity, batch) for batch in dataset]
        full = [batch for batch in batches if len(tf.nest.flatten(batch)[-1]) == case.batch_size]
        one = full[0]
        with tf.device("CPU:0"):
            stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *full)
        memory = tf.data.Dataset.from_tensor_slices(stacked).prefetch(2)
        rates = {}
        waited = feed.wait_s
        passes = -(-_EPOCH_STEPS // feed.steps)
        rates["feed"], took = fit_rate(model, dataset, feed.steps * passes, shape.rows * passes, seconds)
        rates["waited"] = (feed.wait_s - waited) / took
        steps = len(full) * passes
        rates["memory"], _ = fit_rate(model, memory, steps, steps * case.batch_size, seconds)
        rates["step"] = step_rate(model, one, case.batch_size, seconds)
    return rates


def fit_rate(model: Any, dataset: Any, steps: int, rows: int, seconds: float) -> tuple[float, float]:
    """Returns rows per second of `model.fit`, and all the seconds it took; the first epoch is a warm-up."""
    import keras

    ends: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())
            if ends[-1] - ends[0] > seconds:
                self.model.stop_training = True

    began = time.perf_counter()
    model.fit(dataset.repeat(), epochs=1_000_000, steps_per_epoch=steps, verbose=0, callbacks=[Clock()])
    return rows * (len(ends) - 1) / (ends[-1] - ends[0]), time.perf_counter() - began


def step_rate(model: Any, batch: Any, batch_size: int, seconds: float) -> float:
    """Returns rows per second of training steps on one batch in the GPU's memory."""
    import tensorflow as tf

    with tf.device("GPU:0"):
        held = tf.nest.map_structure(tf.identity, batch)
    step = tf.function(model.train_step, jit_compile=model.jit_compile or None)
    step(held)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            logs = step(held)
        float(logs["loss"])  # waits for the GPU
        done += 20
    return done * batch_size / (time.perf_counter() - began)


def _in_process(case: Case, rows: int, folder: Path, seconds: float) -> dict[str, float] | str:
    task = json.dumps({"case": asdict(case), "rows": rows, "folder": str(folder), "seconds": seconds})
    command = [sys.executable, "-m", "benchmarks.gpu", "--case", task]
    environ = {"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ
    return measured(command, environ)


def _one(text: str) -> None:
    task = json.loads(text)
    case = Case(**task["case"])
    print_measured(measure(case, shapes(task["rows"])[case.shape], Path(task["folder"]), task["seconds"]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the narrow dataset")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--json", type=Path, help="also write everything here")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        _one(options.case)
        return
    from trainer.errors import ConfigError
    from trainer.model.strategy import make_strategy

    try:
        make_strategy("gpu")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(64) from None
    console = Console(width=None if sys.stdout.isatty() else 140)
    heads = ("M rows/s from the feed", "from memory", "step alone", "feed / memory", "feed / step", "waited")
    table = Table("training", *heads, box=None)
    progress = Console(stderr=True)
    document = {}
    with tempfile.TemporaryDirectory(prefix="kfit-gpu-") as scratch:
        for case in CASES:
            progress.print(f"{case.name} ...", markup=False)
            rates = document[case.name] = _in_process(case, options.rows, Path(scratch), options.seconds)
            if isinstance(rates, str):
                console.print(f"{case.name} failed: {rates}", style="red", markup=False)
                continue
            feed, memory, step = (rates[key] for key in ("feed", "memory", "step"))
            cells = (f"{feed / memory:.3f}", f"{feed / step:.3f}", f"{rates['waited']:.1%}")
            table.add_row(case.name, *(f"{rate / 1e6:.3f}" for rate in (feed, memory, step)), *cells)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
