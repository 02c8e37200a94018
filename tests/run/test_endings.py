"""How a run ends: its result first, and whatever follows in a time of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.nightly import runs
from tests.webhook_receiver import listening
from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.errors import DataError
from trainer.nightly import history, production
from trainer.run import afterwards
from trainer.run.fit import fit

SLOW_S = 30.0


@pytest.fixture
def notes() -> tuple[list[str], Any]:
    """Lines that a run told, and a progress that takes them."""
    lines: list[str] = []
    silent = {name: lambda *_, **__: None for name in ("add", "phase", "stop", "checkpoint")}
    return lines, SimpleNamespace(note=lines.append, **silent)


def failing(folder: Path, url: str) -> Config:
    """A job whose labels are null: it has begun when that is found."""
    table = pa.table({"x": [1.0, 2.0], "label": pa.array([None, None], pa.int8())})
    (folder / "data").mkdir(parents=True)
    pq.write_table(table, folder / "data" / "part-0.parquet")
    job = sets.job(folder / "data", folder / "out", data__features={"x": {"kind": "numeric"}}, notify={"url": url})
    return Config.load(sets.write_job(folder / "job.yaml", job))


def test_a_slow_index_delays_neither_the_result_nor_the_notification(tmp_path, monkeypatch, notes):
    monkeypatch.setattr(history, "write_index", lambda *_, **__: time.sleep(SLOW_S))
    lines, progress = notes
    with listening() as (url, receiver):
        began = time.monotonic()
        with pytest.raises(DataError):
            fit(failing(tmp_path, url), run_id="r", progress=progress)
        took_s = time.monotonic() - began
        ((_, body),) = receiver.got
    left = json.loads((tmp_path / "out/runs/r/result.json").read_text())
    assert (left["status"], json.loads(body)) == ("failed", left)
    assert took_s < SLOW_S / 2
    assert any("history.json: TimeoutError: storage did not answer within 1 s" in line for line in lines)
    assert not any("result.json was not written" in line for line in lines)


def test_a_receiver_that_does_not_answer_delays_neither_result_nor_index(tmp_path, monkeypatch, notes):
    lines, progress = notes
    with listening() as (url, receiver):
        real = receiver.do_POST
        monkeypatch.setattr(receiver, "do_POST", lambda self: (time.sleep(4), real(self)))
        with pytest.raises(DataError):
            fit(failing(tmp_path, url), run_id="r", progress=progress)
    assert [(run.run, run.status) for run in history.read(str(tmp_path / "out"))] == [("r", "failed")]
    assert (tmp_path / "out/metrics.prom").exists()
    assert any("nobody was notified" in line for line in lines)


def test_what_goes_wrong_in_one_part_leaves_the_others(tmp_path, monkeypatch):
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    output = str(tmp_path / "out")
    for day in (1, 2, 3):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T00:00:00Z")
    production.move(output, "r3", current=None, why="")
    monkeypatch.setattr(history, "write_index", broken)
    lines: list[str] = []
    job = sets.job("data", output, output__keep_runs={"count": 1})
    config = Config.load(sets.write_job(tmp_path / "job.yaml", job))
    afterwards.conclude(config, RunFolder(output, "r3"), runs.result("r3"), lines.append, {})
    assert [line for line in lines if "history.json: OSError: disk full" in line]
    assert storage.list_folders(f"{output}/runs") == ["r3"]
    assert b"kfit_production_info" in storage.read(f"{output}/metrics.prom")


def test_a_result_that_cannot_be_written_is_said_and_the_end_is_told_all_the_same(tmp_path, monkeypatch, notes):
    real = storage.write

    def refusing(uri: str, data: bytes, **options: Any) -> None:
        if uri.endswith("result.json"):
            raise OSError("read-only")
        real(uri, data, **options)

    monkeypatch.setattr(storage, "write", refusing)
    lines, progress = notes
    with listening() as (url, receiver):
        with pytest.raises(DataError):
            fit(failing(tmp_path, url), run_id="r", progress=progress)
        assert len(receiver.got) == 1
    assert "result.json was not written: read-only" in lines


def test_neither_config_nor_report_holds_the_url_of_the_webhook(tmp_path):
    with listening() as (url, receiver):
        config = failing(tmp_path, f"{url}/s3cret")
        with pytest.raises(DataError):
            fit(config, run_id="r")
        assert len(receiver.got) == 1
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes(), file
    assert "127.0.0.1" in (tmp_path / "out/runs/r/config.json").read_text()


@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_a_damaged_file_of_the_run_itself_is_named(tmp_path, name):
    config = failing(tmp_path, "http://127.0.0.1:9/")
    folder = tmp_path / "out/runs/r"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"{")
    with pytest.raises(DataError, match="is damaged") as told:
        fit(config, run_id="r")
    assert str(folder / name) in str(told.value)
