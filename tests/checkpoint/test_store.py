"""Checkpoints: a manifest commits, damage falls back, nothing is left over."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoint.stores import names, snapshot, store
from tests.conftest import S3
from trainer import storage
from trainer.checkpoint.fencing import Superseded
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.serialization import assemble, parts, table
from trainer.checkpoint.store import CheckpointStore, Snapshot


def test_newest_gives_back_what_was_committed(folder: RunFolder) -> None:
    store(folder).commit(snapshot(5))
    newest = store(folder).newest()
    assert newest is not None
    assert newest.step == 5
    assert newest.state == {"cursor": {"epoch": 5}}
    np.testing.assert_array_equal(newest.groups["weights"]["0000.0"], np.full((3, 2), 5, np.float32))
    assert newest.groups["weights"]["0000.0"].dtype == np.float32


def test_no_checkpoint_is_none(folder: RunFolder) -> None:
    assert store(folder).newest() is None


def test_objects_without_a_manifest_are_no_checkpoint(folder: RunFolder) -> None:
    store(folder).commit(snapshot(1))
    storage.delete(folder.path("checkpoints", "step-00000001.1"))
    assert store(folder).newest() is None


def test_keep_newest_and_no_object_that_nobody_names(folder: RunFolder) -> None:
    writing = store(folder, keep=2)
    for step in range(1, 6):
        writing.commit(snapshot(step, best=7.0))
    kept = names(folder)
    assert [n for n in kept if n.startswith("step")] == [
        "step-00000004.1/MANIFEST.json",
        "step-00000005.1/MANIFEST.json",
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
    newest = store(folder, notes=notes).newest()
    assert newest is not None
    assert newest.step == 1
    assert len(notes) == 1
    assert "step-00000002.1 is damaged" in notes[0]


def test_a_manifest_of_the_future_is_passed_over(folder: RunFolder) -> None:
    store(folder).commit(snapshot(1))
    storage.write(folder.path("checkpoints", "step-00000009", "MANIFEST.json"), b'{"format": 99, "step": 9}')
    newest = store(folder).newest()
    assert newest is not None
    assert newest.step == 1


def test_the_same_arrays_give_the_same_parts_and_come_back() -> None:
    arrays = {"b": np.arange(6.0), "a": np.array([True]), "empty": np.zeros((0, 3)), "c": np.arange(5, dtype=np.int64)}
    cut = list(parts(arrays, part_bytes=10))
    assert cut == list(parts(dict(arrays), part_bytes=10))
    assert [len(part) for part in cut] == [10] * 8 + [9]
    back = assemble(table(arrays), np.frombuffer(b"".join(cut), np.uint8))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


def test_bytes_that_are_missing_are_an_error() -> None:
    arrays = {"a": np.arange(4.0)}
    data = np.frombuffer(b"".join(parts(arrays)), np.uint8)
    with pytest.raises(ValueError, match="ends early"):
        assemble(table(arrays), data[:-1])
    with pytest.raises(ValueError, match="too many"):
        assemble(table({}), data)


def test_a_state_of_the_same_step_that_differs_stands_beside_it(folder: RunFolder) -> None:
    writing = store(folder)
    writing.commit(snapshot(1))
    writing.commit(Snapshot(1, {"weights": {"0000.0": np.zeros(2)}}, {"cursor": {"epoch": 2}}))
    assert {n for n in names(folder) if n.startswith("step")} == {
        "step-00000001.1/MANIFEST.json",
        "step-00000001.1.1/MANIFEST.json",
    }
    newest = store(folder).newest()
    assert newest is not None
    assert newest.state == {"cursor": {"epoch": 2}}


def test_a_lost_object_is_written_again_by_the_next_checkpoint(folder: RunFolder) -> None:
    notes: list[str] = []
    writing = store(folder, notes=notes)
    writing.commit(snapshot(1, best=7.0))
    for name in names(folder):
        if name.startswith("objects/"):
            Path(folder.path("checkpoints", name)).unlink()
    writing.commit(snapshot(2, best=7.0))
    assert "objects were lost" in notes[0]
    writing.commit(snapshot(3, best=7.0))
    newest = CheckpointStore(folder, keep=2, note=notes.append).newest()
    assert newest is not None
    assert newest.step == 3


# --- fencing ------------------------------------------------------------------------------------------


def test_the_elder_of_two_processes_commits_nothing(folder: RunFolder) -> None:
    elder, younger = store(folder), CheckpointStore(folder, keep=2, note=print)
    elder.commit(snapshot(1))
    resumed = younger.newest()
    younger.take_over(resumed)
    with pytest.raises(Superseded, match="another process of this run has taken over"):
        elder.commit(snapshot(2))
    assert [n for n in names(folder) if n.startswith("step")] == ["step-00000001.1/MANIFEST.json"]


def test_a_commit_that_slips_through_after_the_take_over_is_void(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was paused between its last look and the write: the manifest lands, and counts for nobody."""
    elder, younger = store(folder), CheckpointStore(folder, keep=2, note=print)
    elder.commit(snapshot(1))
    younger.take_over(younger.newest())
    monkeypatch.setattr(elder.fence, "check", lambda: None)
    elder.commit(snapshot(5))
    assert "step-00000005.1/MANIFEST.json" in names(folder)
    newest = CheckpointStore(folder, keep=2, note=print).newest()
    assert newest is not None
    assert newest.step == 1
    younger.commit(snapshot(2))
    assert [n for n in names(folder) if n.startswith("step")] == [
        "step-00000001.1/MANIFEST.json",
        "step-00000002.2/MANIFEST.json",
    ]


class Paused:
    """An elder process that is stopped just after a look at its claim, at the moments given, and goes on later.

    Args:
        store: The elder's.
        meanwhile: What happens while it is stopped.
        after: Of how many looks it is stopped after the last.
    """

    def __init__(self, store: CheckpointStore, meanwhile: Callable[[], None], after: int) -> None:
        self._holds, self._meanwhile, self._left = store.fence.holds, meanwhile, after
        store.fence.holds = self.holds  # type: ignore[method-assign]

    def holds(self) -> bool:
        held = self._holds()
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        return held


@pytest.mark.parametrize("where", ["local", "s3"])
@pytest.mark.parametrize("uncommitted", [True, False], ids=["objects alone", "a whole checkpoint"])
def test_a_process_that_was_paused_deletes_nothing_of_its_successor(
    where: str, uncommitted: bool, tmp_path: Path, s3: S3
) -> None:
    """It has looked at its claim, is stopped before it deletes, and goes on after the other has written."""
    output = str(tmp_path / "out") if where == "local" else f"s3://{s3.bucket}/paused-{uncommitted}"
    folder = RunFolder(output, "run-1")
    elder, younger = store(folder, keep=1), CheckpointStore(folder, keep=1, note=print)
    elder.commit(snapshot(1))
    elder.commit(snapshot(2))
    entries: dict[str, object] = {}

    def meanwhile() -> None:
        assert younger.take_over(younger.newest())
        if uncommitted:  # the same arrays as of the checkpoint that the elder is about to delete
            entries.update(younger._put_groups(snapshot(2).groups))
        else:
            younger.commit(snapshot(4))

    Paused(elder, meanwhile, after=3)  # the third look of a commit stands before its deletions
    elder.commit(snapshot(3))
    if uncommitted:
        younger._create_manifest(4, {"format": 3, "step": 4, "token": 2, "groups": entries, "state": {}})
    newest = CheckpointStore(folder, keep=1, note=print).newest()
    assert newest is not None
    assert newest.step == 4


def test_a_process_that_was_paused_in_a_commit_takes_back_what_it_wrote_of_it(folder: RunFolder) -> None:
    elder, younger = store(folder, keep=1), CheckpointStore(folder, keep=1, note=print)
    elder.commit(snapshot(1))
    before: list[str] = []

    def meanwhile() -> None:
        assert younger.take_over(younger.newest())
        before.extend(names(folder))

    Paused(elder, meanwhile, after=1)  # before it writes its objects
    with pytest.raises(Superseded):
        elder.commit(snapshot(2, best=9.0))
    assert names(folder) == before
    assert younger.newest() is not None


def test_the_checkpoint_that_a_run_goes_on_from_is_not_deleted_by_the_process_before(folder: RunFolder) -> None:
    """The elder commits and deletes between the younger's reading and its claim: what it committed counts."""
    elder, younger = store(folder, keep=1), CheckpointStore(folder, keep=1, note=print)
    elder.commit(snapshot(1))
    resumed = younger.newest()
    elder.commit(snapshot(2))
    assert not younger.take_over(resumed)
    with pytest.raises(Superseded):
        elder.commit(snapshot(3))
    again = younger.newest()
    assert again is not None
    assert again.step == 2
    assert younger.take_over(again)
    newest = CheckpointStore(folder, keep=1, note=print).newest()
    assert newest is not None
    assert newest.step == 2


def test_checkpoints_of_earlier_versions_are_read_and_pruned(folder: RunFolder) -> None:
    """Format 2: no token in the names of folders and objects."""
    old = store(folder)
    arrays = snapshot(6).groups
    groups = {}
    for name, group in arrays.items():
        data = b"".join(parts(group))
        digest = hashlib.sha256(data).hexdigest()
        storage.write(folder.path("checkpoints", "objects", digest), data)
        groups[name] = {"arrays": table(group), "parts": [{"sha256": digest, "size_bytes": len(data)}]}
    for step in (5, 6):
        manifest = {"format": 2, "step": step, "token": 1, "groups": groups, "state": {"cursor": {"epoch": step}}}
        storage.write(folder.path("checkpoints", f"step-{step:08d}", "MANIFEST.json"), json.dumps(manifest).encode())
    assert old.fence.mine.token == 1
    new = CheckpointStore(folder, keep=2, note=print)
    newest = new.newest()
    assert newest is not None
    assert (newest.step, newest.state) == (6, {"cursor": {"epoch": 6}})
    np.testing.assert_array_equal(newest.groups["weights"]["0000.0"], np.full((3, 2), 6, np.float32))
    assert new.take_over(newest)
    new.commit(snapshot(7))
    new.commit(snapshot(8))
    assert [n for n in names(folder) if not n.startswith("claims/")] == sorted(
        [
            *(f"objects/00000002/{n.rpartition('/')[2]}" for n in names(folder) if n.startswith("objects/")),
            "step-00000007.2/MANIFEST.json",
            "step-00000008.2/MANIFEST.json",
        ]
    )


def test_of_many_that_take_over_at_once_one_may_write(folder: RunFolder) -> None:
    stores = [CheckpointStore(folder, keep=2, note=print) for _ in range(8)]
    threads = [threading.Thread(target=s.take_over, args=(None,)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({s.fence.mine.token for s in stores}) == 8
    allowed = 0
    for one in stores:
        try:
            one.commit(snapshot(1))
            allowed += 1
        except Superseded:
            continue
    assert allowed == 1


def test_torn_writes_of_a_killed_process_are_swept_away(folder: RunFolder) -> None:
    torn = Path(folder.path("checkpoints", "step-00000003"))
    torn.mkdir(parents=True)
    (torn / ".MANIFEST.json.a1b2c3d4").write_bytes(b"{")
    store(folder)
    assert not torn.exists()
