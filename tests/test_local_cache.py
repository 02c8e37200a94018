"""The cache between runs: private to its user, and no way to a file of somebody else's."""

import os
import stat
from pathlib import Path

import pytest

from trainer import local_cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "above" / "cache"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_and_private(folder):
    assert local_cache.read(folder, "a") is None
    assert local_cache.write(folder, "a", b"one")
    assert local_cache.write(str(folder), "a", b"two")
    assert local_cache.read(str(folder), "a") == b"two"
    assert (mode(folder), mode(folder / "a")) == (0o700, 0o600)
    assert [p.name for p in folder.iterdir()] == ["a"]


def test_a_folder_that_others_could_write_is_closed_to_them(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert local_cache.write(folder, "a", b"x")
    assert mode(folder) == 0o700


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path, folder):
    target = tmp_path / "target"
    local_cache.write(target, "a", b"of the user")
    folder.parent.mkdir()
    folder.symlink_to(target)
    assert local_cache.read(folder, "a") is None
    assert not local_cache.write(folder, "b", b"x")
    assert [p.name for p in target.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a", f".a.{os.getpid()}"], ids=["the file", "its temporary name"])
def test_a_link_in_place_of_a_file_is_neither_read_nor_written_through(tmp_path, folder, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    victim.chmod(0o600)
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).symlink_to(victim)
    assert local_cache.read(folder, "a") is None
    assert local_cache.write(folder, "a", b"x")
    assert victim.read_bytes() == b"mine"
    assert local_cache.read(folder, "a") == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_what_another_user_owns_does_not_count(folder):
    local_cache.write(folder, "a", b"poison")
    os.chown(folder / "a", 12345, 12345)
    assert local_cache.read(folder, "a") is None
    os.chown(folder / "a", 0, 0)
    assert local_cache.read(folder, "a") == b"poison"
    os.chown(folder, 12345, 12345)
    assert local_cache.read(folder, "a") is None
    assert not local_cache.write(folder, "b", b"x")


def test_a_file_that_others_may_write_does_not_count(folder):
    local_cache.write(folder, "a", b"x")
    (folder / "a").chmod(0o666)
    assert local_cache.read(folder, "a") is None


def test_a_pipe_in_place_of_a_file_blocks_nobody(folder):
    folder.mkdir(parents=True, mode=0o700)
    os.mkfifo(folder / "a")
    assert local_cache.read(folder, "a") is None


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    assert not local_cache.write(tmp_path / "file" / "cache", "a", b"x")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"KFIT_CACHE": "{tmp}/k", "XDG_CACHE_HOME": "{tmp}/x"}, "{tmp}/k/kfit"),
        ({"XDG_CACHE_HOME": "{tmp}/x"}, "{tmp}/x/kfit"),
        ({"HOME": "{tmp}"}, "{tmp}/.cache/kfit"),
        ({"HOME": "/nowhere", "TMPDIR": "{tmp}"}, "{tmp}/kfit-cache-{uid}"),
    ],
    ids=["told", "XDG", "home", "a container without a home"],
)
def test_where_the_cache_lies(tmp_path, monkeypatch, environ, expected):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("KFIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert str(local_cache.local_cache()) == expected.format(tmp=tmp_path, uid=os.getuid())
    assert local_cache.write(local_cache.local_cache(), "a", b"x")
