"""Checkpoints: a manifest commits, damage falls back, nothing is left over."""

from pathlib import Path

import numpy as np
import pytest

from trainer import storage
from trainer.errors import StorageError
from trainer.run.checkpoints import AsyncWriter, CheckpointStore, Snapshot, pack, unpack
from trainer.run.folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out"), "run-1")


def store(folder: RunFolder, keep: int = 2, notes: list[str] | None = None) -> CheckpointStore:
    return CheckpointStore(folder, keep=keep, note=(notes if notes is not None else []).append)


def snapshot(step: int, best: float = 0.0) -> Snapshot:
    weights = {"0000.0": np.full((3, 2), step, np.float32)}
    return Snapshot(step, {"weights": weights, "best": {"0000.0": np.array([best])}}, {"cursor": {"epoch": step}})


def names(folder: RunFolder) -> list[str]:
    return [o.name for o in storage.list_objects(folder.path("checkpoints"))]


def test_newest_gives_back_what_was_committed(folder: RunFolder) -> None:
    store(folder).commit(snapshot(5))
    found = store(folder).newest()
    assert found is not None
    assert found.step == 5
    assert found.state == {"cursor": {"epoch": 5}}
    np.testing.assert_array_equal(found.groups["weights"]["0000.0"], np.full((3, 2), 5, np.float32))
    assert found.groups["weights"]["0000.0"].dtype == np.float32


def test_no_checkpoint_is_none(folder: RunFolder) -> None:
    assert store(folder).newest() is None


def test_objects_without_a_manifest_are_no_checkpoint(folder: RunFolder) -> None:
    store(folder).commit(snapshot(1))
    storage.delete(folder.path("checkpoints", "step-00000001"))
    assert store(folder).newest() is None


def test_keep_newest_and_no_object_that_nobody_names(folder: RunFolder) -> None:
    writing = store(folder, keep=2)
    for step in range(1, 6):
        writing.commit(snapshot(step, best=7.0))
    kept = names(folder)
    assert [n for n in kept if n.startswith("step")] == [
        "step-00000004/MANIFEST.json",
        "step-00000005/MANIFEST.json",
    ]
    # Two weights and one best that both share.
    assert len([n for n in kept if n.startswith("objects/")]) == 3


def test_an_unchanged_object_is_not_written_again(folder: RunFolder) -> None:
    writing = store(folder)
    writing.commit(snapshot(1, best=7.0))
    best = {o.name: o.version for o in storage.list_objects(folder.path("checkpoints", "objects"))}
    writing.commit(snapshot(2, best=7.0))
    again = {o.name: o.version for o in storage.list_objects(folder.path("checkpoints", "objects"))}
    assert {n: v for n, v in again.items() if n in best} == best


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_object_falls_back_to_the_one_before_and_says_so(folder: RunFolder, damage: str) -> None:
    writing = store(folder)
    writing.commit(snapshot(1))
    older = set(names(folder))
    writing.commit(snapshot(2))
    (new,) = [n for n in set(names(folder)) - older if n.startswith("objects/")]
    path = Path(folder.path("checkpoints", new))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:-7]))
    notes: list[str] = []
    found = store(folder, notes=notes).newest()
    assert found is not None
    assert found.step == 1
    assert len(notes) == 1
    assert "step 2 is damaged" in notes[0]


def test_a_manifest_of_the_future_is_passed_over(folder: RunFolder) -> None:
    store(folder).commit(snapshot(1))
    storage.write(folder.path("checkpoints", "step-00000009", "MANIFEST.json"), b'{"format": 99, "step": 9}')
    found = store(folder).newest()
    assert found is not None
    assert found.step == 1


def test_the_same_arrays_give_the_same_bytes() -> None:
    arrays = {"b": np.arange(6.0), "a": np.array([True])}
    assert pack(arrays) == pack(dict(arrays))
    assert list(unpack(pack(arrays))) == ["b", "a"]


def test_a_failed_commit_is_said_and_raised_at_the_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    writer = AsyncWriter(store(folder), notes.append)

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("the store is away")

    monkeypatch.setattr(storage, "write", refuse)
    writer.submit(snapshot(3))
    with pytest.raises(StorageError, match="the store is away"):
        writer.wait()
    assert notes == ["checkpoint of step 3 was not committed: the store is away"]


def test_a_later_commit_makes_up_for_a_failed_one(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = AsyncWriter(store(folder), lambda _: None)
    with monkeypatch.context() as away:
        away.setattr(storage, "write", lambda *_, **__: (_ for _ in ()).throw(StorageError("away")))
        writer.submit(snapshot(3))
        writer.join()
    writer.submit(snapshot(4))
    writer.wait()
    found = store(folder).newest()
    assert found is not None
    assert found.step == 4
