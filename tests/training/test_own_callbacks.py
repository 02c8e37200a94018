"""Callbacks of the job's own code: Keras's contract, their state and files over a restart, and bad code told."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import sets

CODE = '''
import os
import signal
import keras


class Journal(keras.callbacks.Callback):
    """Writes what Keras calls, and counts its steps; ends the process at one of them."""

    def __init__(self, path, stop_after=0):
        super().__init__()
        self.path, self.stop_after, self.steps, self.epoch = path, stop_after, 0, -1

    def write(self, *words):
        with open(self.path, "a") as file:
            print(*words, file=file)

    def on_train_begin(self, logs=None):
        self.width = self.model.get_layer("hidden_1").units
        self.write("begin", self.params["epochs"], self.params["steps"], self.width)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.write("step", self.epoch, batch, self.steps, sorted(logs))
        if os.environ.get("STOP_AT") == str(self.steps):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_batch_end(self, batch, logs=None):
        self.write("test", batch)

    def on_epoch_end(self, epoch, logs=None):
        logs["steps_so_far"] = self.steps
        self.write("epoch", epoch, sorted(logs))
        self.model.stop_training = self.stop_after == epoch + 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Raises(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        return [][epoch]


class Careless(keras.callbacks.Callback):
    def state_dict(self):
        return {"model": self.model}

    def load_state_dict(self, state):
        pass


def no_callback():
    return 3


def no_model(features):
    return 3


def model(features):
    inputs = features.inputs()
    return keras.Model(inputs, Broken()(features.encode(inputs)))


class Broken(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1))

    def call(self, x, training=None):
        if training:
            raise RuntimeError("no training today")
        return keras.ops.sigmoid(x @ self.kernel)


def loss(y_true, y_pred):
    return y_true["late"] - y_pred


'''


def job(folder: Path, **changes: Any) -> Path:
    document = sets.job(sets.write(folder / "data"), folder / "out", output__tensorboard=False, **changes)
    (folder / "own.py").write_text(CODE)
    (folder / "broken_import.py").write_text("import keras\n\nVALUE = 1 / 0\n")
    return sets.write_job(folder / "job.yaml", document) or folder / "job.yaml"


def fit(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer", "fit", str(folder / "job.yaml"), "--run", "r", "--devices", "cpu", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=folder,
        env={**os.environ, "KFIT_CACHE": str(folder / "cache"), **environment},
    )


def test_a_callback_sees_every_step_once_over_a_restart_and_its_files_stay(tmp_path: Path) -> None:
    """500 training rows in batches of 64: 8 steps; stopped after the 11th, the third of the second epoch."""
    callbacks = [
        {"entrypoint": "own:Journal", "args": {"path": "{folder}/journal.txt", "stop_after": 3}},
        {"entrypoint": "keras.callbacks:CSVLogger", "args": {"filename": "{folder}/log.csv", "append": True}},
    ]
    job(tmp_path, fit__epochs=5, fit__early_stopping=None, fit__callbacks=callbacks)
    stopped = fit(tmp_path, STOP_AT="11")
    assert stopped.returncode == 75, stopped.stderr
    ended = fit(tmp_path)
    assert ended.returncode == 0, ended.stderr

    run = tmp_path / "out" / "runs" / "r"
    lines = (run / "callbacks" / "journal.txt").read_text().splitlines()
    steps = [tuple(map(int, line.split()[1:4])) for line in lines if line.startswith("step")]
    in_epoch = max(batch for _, batch, _ in steps) + 1
    assert steps == [(epoch, batch, epoch * in_epoch + batch + 1) for epoch in range(3) for batch in range(in_epoch)]
    assert [line for line in lines if line.startswith("begin")] == [f"begin 5 {in_epoch} 8"] * 2
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["0", "1", "2"]
    assert "test 0" in lines
    names = ["accuracy", "auc", "loss", "pr_auc"]
    assert all(line.endswith(str(names)) for line in lines if line.startswith("step"))
    result = json.loads((run / "result.json").read_text())
    assert (result["epochs"], result["stopped_early"]) == (3, True)
    assert result["metrics"]["train"]["steps_so_far"] == 3 * in_epoch
    rows = csv.DictReader((run / "callbacks" / "log.csv").read_text().splitlines())
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]


def test_what_a_callback_of_keras_remembers_is_kept_over_a_restart(tmp_path: Path) -> None:
    """A rate that falls after two epochs without a better loss; the process is stopped in the second of them."""
    plateau = {"monitor": "loss", "min_delta": 9.0, "patience": 2, "factor": 0.1}
    callbacks = [
        {"entrypoint": "keras.callbacks:ReduceLROnPlateau", "args": plateau},
        {"entrypoint": "own:Journal", "args": {"path": "{folder}/journal.txt"}},
    ]
    optimizer = {"name": "Adam", "learning_rate": 0.001}
    job(tmp_path, fit__epochs=4, fit__early_stopping=None, fit__callbacks=callbacks, fit__optimizer=optimizer)
    assert fit(tmp_path, STOP_AT="18").returncode == 75
    assert fit(tmp_path).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "out/runs/r/metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if line.get("end")]
    assert rates == pytest.approx([0.001, 0.001, 0.001, 0.0001])


BAD = {
    "import": ({"fit__loss": {"entrypoint": "broken_import:loss"}}, "broken_import.py:3", "ZeroDivisionError"),
    "build": ({"model": {"entrypoint": "own:no_model"}}, "", "own:no_model returned int, not a Keras model"),
    "call": ({"model": {"entrypoint": "own:model"}}, r"own.py:\d+", "RuntimeError: .*no training today"),
    "loss": ({"fit__loss": {"entrypoint": "own:loss"}}, r"own.py:\d+", "TypeError|ValueError"),
    "epoch end": ({"fit__callbacks": [{"entrypoint": "own:Raises"}]}, r"own.py:\d+", "IndexError"),
    "no callback": ({"fit__callbacks": [{"entrypoint": "own:no_callback"}]}, "", "returned int, not a Keras callback"),
    "state": ({"fit__callbacks": [{"entrypoint": "own:Careless"}]}, "", "Careless carries over a restart is no JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_code_ends_the_run_with_70_one_message_and_the_users_line(tmp_path: Path, case: str) -> None:
    changes, where, what = BAD[case]
    job(tmp_path, **changes)
    done = fit(tmp_path)
    assert done.returncode == 70, done.stderr
    (message,) = re.findall(r"^error: .*$", done.stderr, flags=re.MULTILINE)
    assert re.search(what, message), message
    assert re.search(where, message), message
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out/runs/r/result.json").read_text())["exit_code"] == 70
