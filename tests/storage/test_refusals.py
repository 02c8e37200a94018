"""Requests that cannot succeed end at once or at the deadline, with one error that names the cause."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.conftest import READER_KEY, READER_SECRET
from trainer import storage
from trainer.errors import ConfigError, StorageError


@pytest.mark.parametrize(
    ("verb", "uri"),
    [
        (storage.list_objects, "s3://no-such-bucket-here"),
        (storage.expand, "s3://no-such-bucket-here"),
        (storage.expand, "s3://no-such-bucket-here/*.parquet"),
        (storage.read, "s3://no-such-bucket-here/x"),
    ],
)
def test_a_bucket_that_does_not_exist_is_not_found(s3, verb, uri):
    with pytest.raises(storage.NotFound, match=r"no such bucket|glob matches nothing|no such path") as caught:
        verb(uri)
    assert "bucket" in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "wrong")])
@pytest.mark.usefixtures("reopened_filesystems")
def test_wrong_credentials_are_refused_at_once(s3, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    started = time.monotonic()
    with pytest.raises(StorageError, match="the store refuses the credentials"):
        storage.list_objects(f"s3://{s3.bucket}")
    # The answer to a HEAD request has no body, so S3 cannot say which of the two it is.
    with pytest.raises(StorageError, match="a bare 403 may also mean wrong credentials"):
        storage.read(f"s3://{s3.bucket}/ready")
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("reopened_filesystems")
def test_a_right_that_is_missing_is_refused_at_once(s3, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    assert storage.read(f"s3://{s3.bucket}/ready") == b"yes"
    with pytest.raises(StorageError, match="no permission to write"):
        storage.write(f"s3://{s3.bucket}/new", b"")


@pytest.mark.usefixtures("reopened_filesystems")
def test_an_endpoint_that_is_down_ends_at_the_deadline(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StorageError, match="after 1 s of retries") as caught:
        storage.write(f"s3://{s3.bucket}/x", b"", deadline_s=1)
    assert time.monotonic() - started < 6
    assert "AWS_ENDPOINT_URL" in caught.value.remedy


IMPOSSIBLE = [
    "a name that is too long",
    "a path that is too long",
    "a path through a file",
    "a link to itself",
    "a NUL",
]


def impossible(root: Path) -> dict[str, str]:
    (root / "file").write_text("x")
    (root / "loop").symlink_to(root / "loop")
    return {
        "a name that is too long": f"{root}/{'n' * 300}",
        "a path that is too long": f"{root}/{'n/' * 3000}x",
        "a path through a file": f"{root}/file/below",
        "a link to itself": f"{root}/loop/x",
        "a NUL": f"{root}/a\0b",
    }


@pytest.mark.parametrize("verb", ["read", "write", "write_file", "list_objects", "exists", "stat"])
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_path_is_refused_at_once(tmp_path, name, verb):
    uri = impossible(tmp_path)[name]
    arguments = {"write": (b"x",), "write_file": (tmp_path / "file",)}.get(verb, ())
    started = time.monotonic()
    with contextlib.suppress(StorageError):  # exists may answer no
        assert not getattr(storage, verb)(uri, *arguments)
        assert verb == "exists"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("uri", ["s3://{bucket}/" + "k" * 1100, "s3://Not_A_Bucket!/key", "s3:///key", "s3://"])
def test_a_request_that_s3_calls_wrong_is_refused_at_once(s3, uri):
    started = time.monotonic()
    with pytest.raises((StorageError, ConfigError)):
        storage.write(uri.format(bucket=s3.bucket), b"x")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("scheme", ["ftp", "zip", "http", "github", "reference", "filecache", "simplecache::s3"])
def test_a_scheme_of_fsspec_that_is_no_store_is_configuration(scheme):
    for verb in (storage.read, storage.list_objects, storage.exists):
        with pytest.raises(ConfigError, match="unknown scheme"):
            verb(f"{scheme}://127.0.0.1/x")
