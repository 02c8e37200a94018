"""Whole folders: deleting them, and copying them between a store and a local disk."""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from pathlib import Path

from trainer.storage import calls, local
from trainer.storage.calls import NotFound
from trainer.storage.filesystems import filesystem
from trainer.storage.listing import list_objects
from trainer.storage.objects import read, write_file
from trainer.uris import join, local_path


def delete(uri: str) -> None:
    """Deletes an object or everything below a folder; of a symbolic link the link alone. Nothing there is fine."""
    if (path := local_path(uri)) is not None:
        folder = path.is_dir() and not path.is_symlink()
        calls.call("delete", uri, lambda: shutil.rmtree(path) if folder else path.unlink(missing_ok=True))
        return
    fs = filesystem(uri)
    with contextlib.suppress(NotFound):
        calls.call("delete", uri, lambda: fs.rm(uri, recursive=True))


def sweep(uri: str) -> None:
    """Removes what writers that were killed left in a local folder: torn temporary files, empty folders.

    Object stores leave nothing: a put that was cut off never becomes an object.
    """
    path = local_path(uri)
    if path is None or not path.is_dir():
        return

    calls.call("sweep", uri, lambda: local.sweep(path))


def delete_folder(uri: str) -> None:
    """Deletes everything below a folder, and the folder itself in stores that keep empty ones (SeaweedFS)."""
    if local_path(uri) is not None or not uri.startswith(("s3://", "s3a://")):
        delete(uri)
        return
    fs = filesystem(uri)
    root = fs._strip_protocol(uri).rstrip("/")
    with contextlib.suppress(NotFound):
        inside = {"/".join(o.name.split("/")[:n]) for o in list_objects(uri) for n in range(o.name.count("/") + 1)}
        delete(uri)
        for folder in sorted(inside, key=len, reverse=True):
            bucket, _, key = f"{root}/{folder}".rstrip("/").partition("/")
            calls.call("delete", uri, partial(fs.call_s3, "delete_object", Bucket=bucket, Key=f"{key}/"))


def upload_folder(folder: Path, uri: str) -> None:
    """Writes every file below a local folder below a URI."""
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        write_file(join(uri, file.relative_to(folder).as_posix()), file)


def download_folder(uri: str, folder: Path) -> None:
    """Reads every object below a URI into a local folder."""
    for stored in list_objects(uri):
        target = folder / stored.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read(stored.uri))
