"""A run in which no step is finished any more ends, says where it stood, and lets go of its device."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import sets
from trainer.errors import Stalled
from trainer.training import stall_watchdog
from trainer.training.stall_watchdog import StallWatchdog, native_threads, place_in_user_code

MODEL = '''"""A model that waits for ever."""
import time

import keras
import tensorflow as tf

WHERE = "{where}"


def wait_for_ever(x):
    while True:
        time.sleep(0.1)
    return x


@keras.saving.register_keras_serializable()
class Waits(keras.layers.Layer):
    def call(self, x):
        if WHERE == "tracing":
            wait_for_ever(x)
        y = tf.numpy_function(wait_for_ever, [x], tf.float32)
        return tf.reshape(y, tf.shape(x))

    def compute_output_spec(self, x):
        if WHERE == "tracing":
            return self.call(x)
        return keras.KerasTensor(x.shape, x.dtype)


def build_model(features):
    inputs = features.inputs()
    x = keras.layers.Dense(4)(features.encode(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(Waits()(x)))
'''


def build(folder: Path, where: str) -> Path:
    (folder / "waiting_model.py").write_text(MODEL.replace("{where}", where))
    document = sets.job(
        sets.write(folder / "data"),
        folder / "out",
        output__tensorboard=False,
        model={"entrypoint": "waiting_model:build_model"},
        fit={"epochs": 1, "batch_size": 64, "stall": "20s"},
    )
    return sets.write_job(folder / "job.yaml", document)


@pytest.mark.parametrize("where", ["tracing", "step"])
def test_a_model_whose_call_never_returns_ends_with_71_and_its_own_line(where: str, tmp_path: Path) -> None:
    job = build(tmp_path, where)
    log = tmp_path / "termination-log"
    log.write_text("")
    environ = {
        **os.environ,
        "KFIT_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', Path.cwd())}",
        "KFIT_TERMINATION_LOG": str(log),
    }
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "fit", str(job), "--run", "r"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environ,
        cwd=tmp_path,
    )
    assert done.returncode == 71, done.stderr
    line = MODEL.splitlines().index("        time.sleep(0.1)") + 1
    assert "error: model.fit: no step was finished for 20 s; training waits in" in done.stderr
    assert f"waiting_model.py:{line} in wait_for_ever" in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Thread 0x" in done.stderr
    assert "native threads (count, name, state, waits in):" in done.stderr
    result = json.loads((tmp_path / "out/runs/r/result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("failed", 71)
    assert json.loads(log.read_text())["exit_code"] == 71


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall_watchdog, "_CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(stall_watchdog, "_SUSPENDED_S", 5.0)


def watched(limit_s: float | None) -> tuple[StallWatchdog, list[Stalled], io.StringIO]:
    ends: list[Stalled] = []
    stream = io.StringIO()
    watchdog = StallWatchdog(limit_s, ends.append, stream=stream)
    watchdog.start()
    return watchdog, ends, stream


@pytest.mark.usefixtures("quick")
def test_steps_and_pauses_keep_a_run_alive_and_their_absence_ends_it_once() -> None:
    watchdog, ends, stream = watched(1.0)
    for _ in range(15):
        time.sleep(0.1)
        watchdog.beat()
    with watchdog.paused():
        time.sleep(1.5)
    assert ends == []
    time.sleep(2.0)
    assert [error.what.partition(";")[0] for error in ends] == ["no step was finished for 1 s"]
    assert "the stacks of all threads follow" in stream.getvalue()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("limit_s", [None, 0.3])
def test_a_watch_that_was_stopped_or_never_began_ends_nothing(limit_s: float | None) -> None:
    watchdog, ends, _ = watched(limit_s)
    watchdog.stop()
    time.sleep(0.8)
    assert ends == []


@pytest.mark.usefixtures("quick")
def test_a_file_tells_the_age_of_the_last_step_while_steps_are_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stall_watchdog, "_HEARTBEAT_EVERY_S", 0.05)
    heartbeat = tmp_path / "heartbeat"
    watchdog = StallWatchdog(None, lambda _: None, heartbeat=str(heartbeat))
    assert not heartbeat.exists()
    watchdog.start()
    time.sleep(1.0)  # no step
    assert 0.8 < time.time() - heartbeat.stat().st_mtime < 10
    watchdog.beat()
    time.sleep(0.2)
    assert time.time() - heartbeat.stat().st_mtime < 0.8
    with watchdog.paused():
        time.sleep(1.0)
        assert time.time() - heartbeat.stat().st_mtime < 0.8
    watchdog.stop()
    time.sleep(0.3)
    assert not heartbeat.exists()


def test_time_in_which_the_whole_process_was_suspended_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    offset_s = [0.0]
    clock = time.monotonic
    monkeypatch.setattr(stall_watchdog.time, "monotonic", lambda: clock() + offset_s[0])
    watchdog, ends, _ = watched(30.0)
    time.sleep(0.2)
    offset_s[0] = 3600.0
    time.sleep(0.5)
    watchdog.stop()
    assert ends == []


def test_the_place_of_a_thread_is_named_in_code_that_is_no_librarys() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    place = place_in_user_code(threading.current_thread())
    over.set()
    thread.join()
    assert place.startswith(f"{__file__}:")
    assert place.endswith("in test_the_place_of_a_thread_is_named_in_code_that_is_no_librarys")


def test_native_threads_are_counted_by_name() -> None:
    lines = native_threads().splitlines()
    assert lines[0] == "native threads (count, name, state, waits in):"
    assert len(lines) > 1


def test_a_stall_while_tensorflow_is_imported_is_shown_although_its_noise_is_held_back(tmp_path: Path) -> None:
    code = """
import os, threading, time
from trainer import tensorflow_import
from trainer.training.stall_watchdog import StallWatchdog
watchdog = StallWatchdog(1.0, lambda error: (print("ended:", error, file=__import__("sys").stderr), os._exit(71)))
watchdog.start()
with tensorflow_import._without_noise():
    os.write(2, b"port.cc: noise\\nworth reading\\n")
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 71
    assert "noise" not in done.stderr
    assert done.stderr.startswith("worth reading\nno step for 1 s; the stacks of all threads follow")
    assert "ended: model.fit: no step was finished for 1 s" in done.stderr
