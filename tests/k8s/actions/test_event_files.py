"""`kfit tensorboard`: curves of runs in storage, as TensorBoard itself serves them, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from k8s.actions.event_files import EventFiles
from k8s.actions.run_place import RunPlace
from k8s.errors import AccessError, NotFound
from tests.conftest import S3
from trainer import storage


def events(folder: Path, *values: float) -> bytes:
    """An event file with a step for each value."""
    path = folder / "events"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(file_version="brain.Event:2", wall_time=1.0).SerializeToString())
        for step, value in enumerate(values):
            summary = Summary(value=[Summary.Value(tag="loss", simple_value=value)])
            writer.write(Event(wall_time=2.0 + step, step=step, summary=summary).SerializeToString())
    return path.read_bytes()


def store(output: str, run: str, data: bytes) -> None:
    storage.write(f"{output}/runs/{run}/tensorboard/train/events.out.tfevents.1.host.v2", data)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "k8s", "tensorboard", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Tests that a shell runs in the background inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://\S+?:\d+/", line):
            return found[0]
    raise AssertionError(f"TensorBoard did not start: exit {process.wait()}")


def scalars(at: str, run: str) -> list[float]:
    for _ in range(100):
        with urllib.request.urlopen(f"{at}data/plugin/scalars/tags", timeout=60) as answer:
            if run in json.load(answer):
                with urllib.request.urlopen(f"{at}data/plugin/scalars/scalars?run={run}&tag=loss", timeout=60) as curve:
                    return [value for _, _, value in json.load(curve)]
        time.sleep(0.2)
    raise AssertionError(f"no curve of {run}")


def test_the_curves_of_the_runs_that_are_named_are_served_until_ctrl_c(tmp_path: Path, output: str) -> None:
    for run in ("a-1", "b-2", "c-3"):
        store(output, run, events(tmp_path, 3.0, 2.0))
    board = start("a-1", "b-2", "--output-uri", output, "--port", "0")
    try:
        at = address(board)
        assert scalars(at, "a-1/train") == scalars(at, "b-2/train") == [3.0, 2.0]
        with urllib.request.urlopen(f"{at}data/plugin/scalars/tags", timeout=60) as answer:
            assert set(json.load(answer)) == {"a-1/train", "b-2/train"}
        board.send_signal(signal.SIGINT)
        out, err = board.communicate(timeout=60)
    finally:
        board.kill()
    assert (board.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_copies_grow_as_the_files_in_storage_do(s3: S3, tmp_path: Path) -> None:
    output = f"s3://{s3.bucket}/board"
    whole = events(tmp_path, 3.0, 2.0, 1.0)
    store(output, "r-1", whole[:100])
    folder = tmp_path / "board"
    folder.mkdir()
    files = EventFiles([RunPlace(output, "r-1"), RunPlace(output, "later-2")], folder)
    files.fetch()
    copy = folder / "r-1/train/events.out.tfevents.1.host.v2"
    assert copy.read_bytes() == whole[:100]
    with copy.open("rb") as reader:  # as TensorBoard does, which reads on in the file that it has open
        reader.read()
        thread = files.keep_fetching(0.05)
        store(output, "r-1", whole)
        store(output, "later-2", whole)
        late = folder / "later-2/train/events.out.tfevents.1.host.v2"
        for _ in range(200):
            if late.exists() and copy.stat().st_size == len(whole):
                break
            time.sleep(0.05)
        assert reader.read() == whole[100:]
    files.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_without_tensorboard_it_says_what_to_install(kfit, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AccessError, match="TensorBoard is not installed here") as caught:
        kfit("tensorboard", "r", "--output-uri", output)
    assert caught.value.remedy == "pip install tensorboard"


def test_runs_without_curves_say_where_they_come_from(kfit, output: str) -> None:
    storage.write(f"{output}/runs/r-1/result.json", b"{}")
    for words in (["r-1"], []):
        with pytest.raises(NotFound, match="no TensorBoard files of r-1") as caught:
            kfit("tensorboard", *words, "--output-uri", output)
        assert "output.tensorboard" in caught.value.remedy


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    store(str(tmp_path), "r-1", events(tmp_path, 1.0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        board = start("--output-uri", str(tmp_path), "--port", str(taken.getsockname()[1]))
        _, err = board.communicate(timeout=60)
    assert board.returncode == 64
    assert "TensorBoard ended by itself" in err
