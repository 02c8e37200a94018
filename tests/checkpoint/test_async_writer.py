"""The writer commits beside the training, tries again, and raises at the end what it could not do."""

import time
from pathlib import Path

import pytest

from tests.checkpoint.stores import snapshot, store
from trainer import storage
from trainer.checkpoint.async_writer import AsyncWriter
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore
from trainer.errors import StorageError


def refuse(*_: object, **__: object) -> None:
    raise StorageError("the store is away")


def test_a_failed_commit_is_said_and_raised_at_the_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    writer = AsyncWriter(store(folder), notes.append)
    monkeypatch.setattr(storage, "write", refuse)
    writer.submit(snapshot(3))
    with pytest.raises(StorageError, match="the store is away"):
        writer.wait()
    assert notes == ["checkpoint of step 3 was not committed: the store is away; there is none yet"]


def test_a_later_commit_makes_up_for_a_failed_one(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    writer = AsyncWriter(store(folder), lambda _: None, committed=told.append)
    with monkeypatch.context() as away:
        away.setattr(storage, "write", refuse)
        writer.submit(snapshot(3))
        writer.join()
    writer.check()
    writer.submit(snapshot(4))
    writer.wait()
    assert told == [4]
    newest = CheckpointStore(folder, keep=2, note=print).newest()
    assert newest is not None
    assert newest.step == 4


def test_commits_that_keep_failing_end_the_run_after_its_patience(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    notes: list[str] = []
    writer = AsyncWriter(store(folder), notes.append, patience_s=100.0, clock=lambda: now[0])
    writer.submit(snapshot(1))
    writer.wait()
    monkeypatch.setattr(storage, "write", refuse)
    now[0] = 60.0
    writer.submit(snapshot(2))
    writer.join()
    writer.check()
    assert notes == ["checkpoint of step 2 was not committed: the store is away; the newest is of step 1, 60 s ago"]
    now[0] = 101.0
    with pytest.raises(StorageError, match="no checkpoint could be committed for 101 s"):
        writer.check()


def test_a_path_at_which_no_commit_can_ever_succeed_ends_the_run_at_once(folder: RunFolder) -> None:
    """A file where the folder of objects should be: patience would change nothing."""
    notes: list[str] = []
    writer = AsyncWriter(store(folder), notes.append, patience_s=1800.0)
    Path(folder.path("checkpoints", "objects")).write_text("in the way")
    began_s = time.monotonic()
    writer.submit(snapshot(1))
    writer.join()
    with pytest.raises(StorageError, match="cannot write") as refused:
        writer.check()
    assert time.monotonic() - began_s < 5.0
    assert refused.value.permanent
    with pytest.raises(StorageError):
        writer.settle(lambda: False)
    assert len(notes) == 1


def test_the_last_snapshot_is_tried_until_it_is_committed(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    with monkeypatch.context() as patched:

        def note(line: str) -> None:
            notes.append(line)
            if len(notes) == 2:
                patched.undo()

        writer = AsyncWriter(store(folder), note)
        patched.setattr(storage, "write", refuse)
        patched.setattr("trainer.checkpoint.async_writer._BETWEEN_TRIES_S", 0.01)
        writer.submit(snapshot(9))
        writer.settle(lambda: False)
    assert notes == ["checkpoint of step 9 was not committed: the store is away; there is none yet"] * 2
    newest = store(folder).newest()
    assert newest is not None
    assert newest.step == 9


def test_the_last_snapshot_is_given_up_when_the_run_is_asked_to_stop(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = AsyncWriter(store(folder), lambda _: None)
    monkeypatch.setattr(storage, "write", refuse)
    writer.submit(snapshot(9))
    writer.settle(lambda: True)
    with pytest.raises(StorageError, match="the store is away"):
        writer.wait()


def test_a_grace_period_that_is_too_short_is_warned_of_once(folder: RunFolder) -> None:
    notes: list[str] = []
    ticks = iter(range(0, 1000, 10))
    writer = AsyncWriter(store(folder), notes.append, grace_s=12.0, clock=lambda: float(next(ticks)))
    for step in (1, 2):
        writer.submit(snapshot(step))
        writer.wait()
    assert notes == [
        "warning: a checkpoint takes 10.0 s and the grace period is 12 s; "
        "raise terminationGracePeriodSeconds to 30 or a preempted run loses its last steps"
    ]
