"""`log.txt`: what a run said, kept in its folder within bounds, and never a reason to fail."""

from __future__ import annotations

import io
import threading
import time
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests import sets
from trainer import storage
from trainer.checkpoint.fencing import Fence, Superseded
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.errors import DataError, StorageError
from trainer.progress.progress import make_progress
from trainer.run.fit import fit
from trainer.run.kept_log import BoundedLines, KeptLog

AT = "2026-01-01T00:00:00.000000Z"


class Claimed(Fence):
    """A fence that this process holds until it is told otherwise."""

    superseded = False

    def check(self):
        if self.superseded:
            raise Superseded("another process has taken over")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(str(tmp_path), "r-1")


@pytest.fixture
def keep(folder):
    def make(**options):
        clock = lambda: datetime(2026, 1, 1, tzinfo=UTC)  # noqa: E731
        log = KeptLog(folder, Claimed(folder), clock=clock, **{"every_s": 60.0, **options})
        log.start()
        return log

    return make


def stored(folder):
    return storage.read(folder.path("log.txt")).decode()


def test_what_the_run_says_is_kept_with_its_time_as_a_log_has_it(keep, folder):
    log = keep()
    progress = make_progress(Console(file=io.StringIO()), environ={})
    log.attach(progress)
    progress.note("a [b]")
    progress.note("c\nd")
    progress.start(epochs=2, steps=3, rows_per_step=4)
    progress.epoch_end(0, {"loss": 0.5}, best=True)
    log.close(5)
    epoch = stored(folder).splitlines()[3]
    assert stored(folder).splitlines()[:3] == [
        f"{AT} a [b]", f"{AT} c\\u000ad", f"{AT} fit  2 epochs of 3 steps of 4 rows",
    ]  # fmt: skip
    assert epoch.startswith(f"{AT} epoch 1/2  done in ")
    assert epoch.endswith("loss 0.5000  best")


def test_a_colour_forced_upon_the_terminal_is_not_in_it(keep, folder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    log, progress = keep(), make_progress(Console(file=io.StringIO()), environ={})
    log.attach(progress)
    progress.note("plain")
    log.close(5)
    assert stored(folder) == f"{AT} plain\n"


def test_a_run_that_goes_on_appends(keep, folder):
    for text in ("first\n", "second\n"):
        log = keep()
        log.write(text)
        log.close(5)
    assert stored(folder) == f"{AT} first\n{AT} second\n"


def test_it_is_written_while_the_run_goes_on(keep, folder):
    log = keep(every_s=0.02)
    log.write("one\n")
    until_s = time.monotonic() + 5
    while not storage.exists(folder.path("log.txt")) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert stored(folder) == f"{AT} one\n"
    log.close(5)


def test_nothing_is_written_by_a_process_that_was_superseded_or_has_claimed_nothing(keep, folder):
    log = keep()
    log._fence.superseded = True
    log.write("late\n")
    log.close(5)
    follower = KeptLog(folder, Fence(folder))
    follower.write("not the chief\n")
    follower.close(5)
    assert not storage.exists(folder.path("log.txt"))


def test_a_store_that_refuses_costs_nothing_and_loses_nothing_once_it_is_back(keep, folder, monkeypatch):
    away = [True]
    write = storage.write

    def failing(*words, **options):
        if away[0]:
            raise StorageError("away", where="s3://b")
        write(*words, **options)

    monkeypatch.setattr(storage, "write", failing)
    log = keep()
    log.write("a\n")
    log._save()
    away[0] = False
    log.write("b\n")
    log.close(5)
    assert stored(folder) == f"{AT} a\n{AT} b\n"


def test_what_was_there_is_not_overwritten_while_it_cannot_be_read(keep, folder, monkeypatch):
    storage.write(folder.path("log.txt"), f"{AT} before\n".encode())
    read = storage.read

    def failing(*_):
        raise StorageError("away", where="s3://b")

    monkeypatch.setattr(storage, "read", failing)
    log = keep()
    log.write("a\n")
    log._save()
    monkeypatch.setattr(storage, "read", read)
    assert stored(folder) == f"{AT} before\n"
    log.close(5)
    assert stored(folder) == f"{AT} before\n{AT} a\n"


def test_the_end_waits_no_longer_than_it_may(keep, folder, monkeypatch):
    hang = threading.Event()
    monkeypatch.setattr(storage, "write", lambda *_: hang.wait(30))
    log = keep()
    log.write("a\n")
    began_s = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - began_s < 5
    hang.set()


def test_a_long_log_keeps_its_beginning_and_its_newest_lines():
    lines = BoundedLines(head_bytes=40, most_bytes=100)
    for number in range(100):
        lines.append(f"t{number} line {number}")
    assert lines.text().splitlines() == [
        *(f"t{number} line {number}" for number in range(4)),  # the fifth would be the 41st byte and more
        "t94 … 91 lines left out …",
        *(f"t{number} line {number}" for number in range(95, 100)),  # 12 bytes each, of 60
    ]


def test_a_bounded_log_that_is_read_again_counts_on():
    lines, again = BoundedLines(40, 100), BoundedLines(40, 100)
    for number in range(100):
        lines.append(f"t{number} line {number}")
    for line in lines.text().splitlines():
        again.append(line)
    assert again.text() == lines.text()
    again.append("t100 line 100")
    assert "line 100" in again.text()
    assert again.text().count("left out") == 1


def test_a_line_without_an_end_is_cut(keep, folder):
    log = keep()
    log.write("x" * 50_000 + "\n")
    log.close(5)
    assert stored(folder) == f"{AT} {'x' * 8000}…\n"


def test_a_run_that_fails_keeps_its_error(tmp_path, s3):
    table = pa.table({"x": [1.0, 2.0], "label": pa.array([None, None], pa.int8())})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "part-0.parquet")
    output = f"s3://{s3.bucket}/kept"
    job = sets.job(tmp_path / "data", output, data__features={"x": {"kind": "numeric"}})
    for attempts in (1, 2):
        with pytest.raises(DataError):
            fit(Config.load(sets.write_job(tmp_path / "job.yaml", job)), run_id="r")
        text = storage.read(f"{output}/runs/r/log.txt").decode()
        errors = [line.partition(" ")[2] for line in text.splitlines() if " error: " in line]
        assert len(errors) == attempts
        assert all("label" in error for error in errors)
