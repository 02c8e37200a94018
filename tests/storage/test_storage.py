"""Storage on local files and on a real S3 server, through the same verbs."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import S3
from trainer import storage
from trainer.errors import ConfigError, StorageError
from trainer.storage import calls, filesystems, local

Store = Callable[[], str]


@pytest.fixture(params=["path", "file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder's URI, of each kind of store."""
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3")
        return f"s3://{server.bucket}/{uuid.uuid4().hex}"
    return str(tmp_path) if request.param == "path" else f"file://{tmp_path}"


def fill(root: str, *names: str) -> None:
    for name in names:
        storage.write(storage.join(root, name), name.encode())


def names(objects: list[storage.StoredObject]) -> list[str]:
    return [o.name for o in objects]


# --- what is found --------------------------------------------------------------------------------


def test_a_folder_gives_its_parquet_files_and_leaves_out_hidden_ones(root):
    fill(root, "dt=1/b.parquet", "dt=1/a.pq", "dt=2/a.parquet", "readme.md", "_tmp/x.parquet", ".x.parquet", "_SUCCESS")
    assert names(storage.expand(root)) == ["dt=1/a.pq", "dt=1/b.parquet", "dt=2/a.parquet"]
    assert names(storage.expand(root + "/")) == ["dt=1/a.pq", "dt=1/b.parquet", "dt=2/a.parquet"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("dt=*/*.parquet", ["dt=1/a.parquet", "dt=2/a.parquet", "dt=31/a.parquet"]),
        ("dt=?/*.parquet", ["dt=1/a.parquet", "dt=2/a.parquet"]),
        ("dt=[23]*/a.parquet", ["dt=2/a.parquet", "dt=31/a.parquet"]),
        ("dt=[!1]*/a.parquet", ["dt=2/a.parquet", "dt=31/a.parquet"]),
        ("*.parquet", ["top.parquet"]),
        ("**/a.parquet", ["deep/er/a.parquet", "dt=1/a.parquet", "dt=2/a.parquet", "dt=31/a.parquet"]),
        ("deep/**", ["deep/er/a.parquet"]),
    ],
)
def test_globs_stop_at_slashes_and_two_stars_do_not(root, glob, found):
    fill(root, "dt=1/a.parquet", "dt=2/a.parquet", "dt=31/a.parquet", "deep/er/a.parquet", "top.parquet")
    assert [o.uri.removeprefix(root + "/") for o in storage.expand(f"{root}/{glob}")] == found


def test_a_list_gives_each_object_once(root):
    fill(root, "a.parquet", "b.parquet", "named-outright")
    where = [f"{root}/a.parquet", root, f"{root}/*.parquet", f"{root}/named-outright"]
    assert names(storage.expand(where)) == ["a.parquet", "b.parquet", "named-outright"]


def test_one_object_keeps_its_hive_folders_in_its_name(root):
    fill(root, "lake/dt=2013-01-01/h=7/part-0.parquet")
    (only,) = storage.expand(f"{root}/lake/dt=2013-01-01/h=7/part-0.parquet")
    assert only.name == "dt=2013-01-01/h=7/part-0.parquet"
    assert storage.partition_values(only.name) == {"dt": "2013-01-01", "h": "7"}


@pytest.mark.parametrize("where", ["nowhere", "nowhere/*.parquet"])
def test_what_names_nothing_is_not_found(root, where):
    fill(root, "a.parquet")
    with pytest.raises(storage.NotFound, match=r"no such path|glob matches nothing|no Parquet file") as caught:
        storage.expand(f"{root}/{where}")
    assert caught.value.where == f"{root}/{where}"


def test_a_folder_without_parquet_says_so(root):
    fill(root, "data.csv")
    with pytest.raises(storage.NotFound, match="no Parquet file there"):
        storage.expand(root)


# --- reading and writing --------------------------------------------------------------------------


def test_ranges_are_half_open(root):
    uri = storage.join(root, "x")
    storage.write(uri, b"0123456789")
    assert storage.read(uri) == b"0123456789"
    assert storage.read(uri, 2, 5) == b"234"
    assert storage.read(uri, 7) == b"789"
    assert storage.read(uri, 0, 4) == b"0123"


def test_an_object_has_a_size_and_a_version_that_changes_with_it(root):
    uri = storage.join(root, "x")
    storage.write(uri, b"one")
    before = storage.stat(uri)
    assert before.size_bytes == 3
    assert storage.stat(uri) == before
    storage.write(uri, b"two")
    assert storage.stat(uri).version != before.version


def test_a_listing_has_the_versions_that_stat_has(root):
    fill(root, "a/x")
    (listed,) = storage.list_objects(root)
    assert listed.version == storage.stat(f"{root}/a/x").version


def test_create_only_keeps_the_first_write(root):
    uri = storage.join(root, "x")
    storage.write(uri, b"first", create_only=True)
    with pytest.raises(storage.AlreadyExists):
        storage.write(uri, b"second", create_only=True)
    assert storage.read(uri) == b"first"


@pytest.mark.parametrize("verb", [storage.read, storage.stat])
def test_an_object_that_is_not_there_is_not_found(root, verb):
    fill(root, "other")
    with pytest.raises(storage.NotFound):
        verb(storage.join(root, "x"))
    assert not storage.exists(storage.join(root, "x"))


def test_delete_takes_folders_and_objects_and_minds_nothing_missing(root):
    fill(root, "keep", "drop/a", "drop/b/c", "one")
    storage.delete(f"{root}/drop")
    storage.delete(f"{root}/one")
    storage.delete(f"{root}/never-was")
    assert names(storage.list_objects(root)) == ["keep"]


def test_a_folder_goes_up_and_comes_down_the_same(root, tmp_path_factory):
    source, back = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("back")
    (source / "sub").mkdir()
    (source / "a").write_bytes(b"a")
    (source / "sub" / "b").write_bytes(bytes(range(256)) * 1000)
    storage.upload_folder(source, f"{root}/up")
    storage.download_folder(f"{root}/up", back)
    assert {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*") if p.is_file()} == {
        "a": b"a",
        "sub/b": bytes(range(256)) * 1000,
    }


@pytest.mark.parametrize("value", ["a b", "a=b", "a/b", "50%", "ü", "2013-01-01"])
def test_hive_values_come_back_as_they_were(value):
    assert storage.partition_values(f"k={storage.quote_part(value)}/x.parquet") == {"k": value}


# --- local files ----------------------------------------------------------------------------------


def test_a_local_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x"
    storage.write(str(path), b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_local_file_has_the_rights_of_the_umask(tmp_path):
    old = os.umask(0o027)
    local._umask.cache_clear()
    try:
        storage.write(str(tmp_path / "x"), b"")
    finally:
        os.umask(old)
        local._umask.cache_clear()
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_file_where_a_folder_is_meant_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        storage.write(str(tmp_path / "file" / "x"), b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_at_once(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission to write"):
        storage.write(str(tmp_path / "x"), b"")


# --- retries --------------------------------------------------------------------------------------


def test_what_may_pass_is_tried_again(monkeypatch):
    monkeypatch.setattr(calls.time, "sleep", lambda s: None)
    answers = iter([TimeoutError("slow"), ConnectionResetError("gone"), b"here"])

    def flaky() -> bytes:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert calls.call("read", "s3://b/k", flaky) == b"here"


def test_a_fault_of_the_program_is_not_tried_again():
    tries = []

    def broken() -> None:
        tries.append(1)
        raise ZeroDivisionError("oops")

    with pytest.raises(StorageError, match="ZeroDivisionError: oops"):
        calls.call("read", "s3://b/k", broken)
    assert tries == [1]


def test_an_unknown_scheme_is_a_fault_of_the_configuration():
    with pytest.raises(ConfigError, match="unknown scheme 'ftpx'"):
        storage.read("ftpx://a/b")


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    storage.write_file(str(tmp_path / "to" / "there"), source)
    storage.write_file(str(tmp_path / "to" / "there"), source)
    assert (tmp_path / "to" / "there").read_bytes() == source.read_bytes()
    assert [p.name for p in (tmp_path / "to").iterdir()] == ["there"]


def test_a_file_goes_to_an_object_store(s3, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    storage.write_file(f"s3://{s3.bucket}/files/one", source)
    assert storage.read(f"s3://{s3.bucket}/files/one") == source.read_bytes()


def test_one_version_is_read_or_said_to_have_changed(root: str) -> None:
    uri = storage.join(root, "object")
    storage.write(uri, b"0123456789")
    version = storage.stat(uri).version
    assert storage.read_version(uri, 2, 5, version) == b"234"
    storage.write(uri, b"abcdefghij")
    with pytest.raises(storage.Changed, match="changed while it was read"):
        storage.read_version(uri, 2, 5, version)
    assert storage.read_version(uri, 2, 5, storage.stat(uri).version) == b"cde"


class Stalling:
    """A way to a server on which the first few connections bring nothing."""

    def __init__(self, target: int, stalled: int) -> None:
        self._target, self._left = target, stalled
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._door.accept()
                self._held.append(inner)
                if self._left > 0:
                    self._left -= 1
                    continue
                outer = socket.create_connection(("127.0.0.1", self._target))
                self._held.append(outer)
                for one, other in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for held in (self._door, *self._held):
            held.close()


@pytest.mark.usefixtures("reopened_filesystems")
def test_a_stalled_request_is_cut_and_made_again(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
    storage.write(uri, b"x" * 100_000)
    version = storage.stat(uri).version
    way = Stalling(int(s3.endpoint.rpartition(":")[2]), stalled=2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
    monkeypatch.setattr(filesystems, "STALL_S", 0.5)
    filesystems._opened.cache_clear()
    try:
        assert storage.read_version(uri, 0, 100_000, version) == b"x" * 100_000
    finally:
        way.close()


def test_storage_draws_nothing_from_the_generator_that_initial_weights_come_from(tmp_path):
    """The feed reads while the model is built; a draw in between made other weights of the same seed."""
    random.seed(7)
    before = random.getstate()
    storage.write(str(tmp_path / "a"), b"a")
    storage.read(str(tmp_path / "a"))
    assert random.getstate() == before
