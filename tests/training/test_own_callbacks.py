"""Callbacks of the job's own code: Keras's contract, their state and files over a restart, and bad code told."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import pytest

from tests import sets
from tests.conftest import S3
from trainer import storage
from trainer.config import OwnCallback
from trainer.training.own_callbacks import STATE_OF_STOCK_CALLBACKS, OwnCallbacks
from trainer.training.training_state import TrainingState
from trainer.workers.coordinator import SingleWorker

CODE = '''
import os
import signal
import time

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


def fault(result=None):
    """Leaves the time at which the code went wrong."""
    open("faulted", "w").close()
    return result


class Raises(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        fault()
        return [][epoch]


class Waits(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        fault()
        while True:
            time.sleep(0.1)


class Careless(keras.callbacks.Callback):
    def state_dict(self):
        return fault({"model": self.model})

    def load_state_dict(self, state):
        pass


class Deaf(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        fault()

    def on_epoch_end(self, epoch):
        pass


class OneSided(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        fault()

    def call(self, y_true):
        return y_true


def no_callback():
    return fault(3)


def no_model(features):
    return fault(3)


def raises(features):
    fault()
    return features.nothing


def model(features):
    inputs = features.inputs()
    return keras.Model(inputs, Broken()(features.encode(inputs)))


def unbuilt(features):
    inputs = features.inputs()
    return keras.Model(inputs, Unbuilt()(features.encode(inputs)))


class Unbuilt(keras.layers.Layer):
    def build(self, shape):
        fault()
        self.kernel = self.add_weight(shape=(shape[7], 1))

    def call(self, x):
        return x


class Broken(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1))

    def call(self, x, training=None):
        if training:
            fault()
            raise RuntimeError("no training today")
        return keras.ops.sigmoid(x @ self.kernel)


def loss(y_true, y_pred):
    fault()
    return y_true["late"] - y_pred


'''


def job(folder: Path, **changes: Any) -> Path:
    document = sets.job(sets.write(folder / "data"), folder / "out", output__tensorboard=False, **changes)
    (folder / "own.py").write_text(CODE)
    (folder / "broken_import.py").write_text("open('faulted', 'w').close()\n\nVALUE = 1 / 0\n")
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


def test_files_of_callbacks_reach_s3_and_are_there_again_after_a_restart(tmp_path: Path, s3: S3) -> None:
    callbacks = [{"entrypoint": "own:Journal", "args": {"path": "{folder}/journal.txt"}}]
    uri = f"s3://{s3.bucket}/callbacks"
    job(tmp_path, fit__epochs=2, fit__early_stopping=None, fit__callbacks=callbacks, output__uri=uri)
    assert fit(tmp_path, STOP_AT="5").returncode == 75
    before = storage.read(f"{uri}/runs/r/callbacks/journal.txt").decode()
    assert before.count("step") == 5
    done = fit(tmp_path)
    assert done.returncode == 0, done.stderr
    after = storage.read(f"{uri}/runs/r/callbacks/journal.txt").decode()
    assert after.startswith(before)
    steps = [tuple(map(int, line.split()[1:4])) for line in after.splitlines() if line.startswith("step")]
    assert steps == [(epoch, batch, epoch * 8 + batch + 1) for epoch in range(2) for batch in range(8)]


def test_a_callback_of_all_workers_is_called_in_each_and_has_a_folder_in_each(tmp_path: Path) -> None:
    callbacks = [
        {"entrypoint": "own:Journal", "args": {"path": "{folder}/all.txt"}, "workers": "all"},
        {"entrypoint": "own:Journal", "args": {"path": "{folder}/chief.txt"}},
    ]
    job(tmp_path, fit__epochs=2, fit__early_stopping=None, fit__callbacks=callbacks)
    done = fit(tmp_path, "--workers", "2")
    assert done.returncode == 0, done.stderr
    files = {
        path.relative_to(tmp_path / "out/runs/r/callbacks").as_posix(): path.read_text()
        for path in (tmp_path / "out/runs/r/callbacks").rglob("*.txt")
    }
    assert sorted(files) == ["all.txt", "chief.txt", "worker-1/all.txt"]
    steps = [[line.split()[:4] for line in files[name].splitlines() if line.startswith("step")] for name in files]
    assert len(steps[0]) == 16
    assert steps[0] == steps[1] == steps[2]


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


@pytest.mark.parametrize("kind", STATE_OF_STOCK_CALLBACKS)
def test_what_a_stock_callback_of_a_job_remembers_reaches_the_next_process(tmp_path: Path, kind: type) -> None:
    """`ModelCheckpoint` does not write over the best model with a worse one, `EarlyStopping` goes on counting."""
    args = {"filepath": str(tmp_path / "best.keras"), "save_best_only": True} if "Checkpoint" in kind.__name__ else {}
    wanted = [OwnCallback(entrypoint=f"keras.callbacks:{kind.__name__}", args={"monitor": "loss", **args})]
    state = TrainingState()
    first, second = (OwnCallbacks(wanted, SingleWorker(), "", state, 9) for _ in range(2))
    names = STATE_OF_STOCK_CALLBACKS[kind]
    for at, name in enumerate(names):
        setattr(first._own["0"], name, at + 0.25 if name == "best" else at + 1)
    first.keep()
    second.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    second.model.compile("sgd", "mse")
    second.on_train_begin()
    assert [getattr(second._own["0"], name) for name in names] == [getattr(first._own["0"], name) for name in names]


BAD = {
    "import": ({"fit__loss": {"entrypoint": "broken_import:loss"}}, "broken_import.py:3", "ZeroDivisionError"),
    "no model": ({"model": {"entrypoint": "own:no_model"}}, "", "own:no_model returned int, not a Keras model"),
    "build": ({"model": {"entrypoint": "own:raises"}}, r"own.py:\d+", "AttributeError"),
    "build of a layer": ({"model": {"entrypoint": "own:unbuilt"}}, r"own.py:\d+", "IndexError"),
    "call": ({"model": {"entrypoint": "own:model"}}, r"own.py:\d+", "RuntimeError: .*no training today"),
    "loss": ({"fit__loss": {"entrypoint": "own:loss"}}, r"own.py:\d+", "TypeError|ValueError"),
    "epoch end": ({"fit__callbacks": [{"entrypoint": "own:Raises"}]}, r"own.py:\d+", "IndexError"),
    "no callback": ({"fit__callbacks": [{"entrypoint": "own:no_callback"}]}, "", "returned int, not a Keras callback"),
    "callback's arguments": (
        {"fit__callbacks": [{"entrypoint": "own:Deaf"}]},
        r"own.py:\d+",
        "own:Deaf.on_epoch_end cannot be called with epoch, logs",
    ),
    "loss's arguments": (
        {"fit__loss": {"entrypoint": "own:OneSided"}},
        r"own.py:\d+",
        "own:OneSided.call cannot be called with y_true, y_pred",
    ),
    "state": ({"fit__callbacks": [{"entrypoint": "own:Careless"}]}, "", "Careless carries over a restart is no JSON"),
}


#: Seconds from the fault to the end of the process.
GONE_S = 5.0
STALL_S = 20.0


def seconds_since_the_fault(folder: Path) -> float:
    return time.time() - (folder / "faulted").stat().st_mtime


@pytest.mark.parametrize("case", BAD)
def test_bad_code_ends_the_run_with_70_one_message_and_the_users_line(tmp_path: Path, case: str) -> None:
    changes, where, what = BAD[case]
    job(tmp_path, **changes)
    done = fit(tmp_path)
    took_s = seconds_since_the_fault(tmp_path)
    assert done.returncode == 70, done.stderr
    (message,) = re.findall(r"^error: .*$", done.stderr, flags=re.MULTILINE)
    assert re.search(what, message), message
    assert re.search(where, message), message
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out/runs/r/result.json").read_text())["exit_code"] == 70
    print(f"{case}: gone after {took_s:.2f} s")
    assert took_s < GONE_S


def test_a_callback_that_never_returns_ends_the_run_with_71_and_its_line(tmp_path: Path) -> None:
    job(tmp_path, fit__callbacks=[{"entrypoint": "own:Waits"}], fit__stall=f"{STALL_S:.0f}s")
    done = fit(tmp_path)
    took_s = seconds_since_the_fault(tmp_path)
    assert done.returncode == 71, done.stderr
    (message,) = re.findall(r"^error: .*$", done.stderr, flags=re.MULTILINE)
    assert re.search(r"training waits in .*own.py:\d+ in on_epoch_end", message), message
    checked_every_s = 5.0
    print(f"never returns: gone after {took_s:.2f} s, of which {STALL_S:.0f} s are the limit")
    assert took_s < STALL_S + checked_every_s + GONE_S
