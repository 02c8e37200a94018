"""Whole writes on a disk: a reader sees the old file, the new one, or none, also when the writer is killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

#: Names that `_beside` gives.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")


def write(path: Path, data: bytes, *, create_only: bool) -> None:
    """Writes a whole file, and sees to it that it lies on the disk."""
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _place(temporary, path, create_only)


def copy(source: Path, path: Path, *, create_only: bool) -> None:
    """Copies a whole file."""
    with _beside(path) as temporary:
        shutil.copyfile(source, temporary)
        _place(temporary, path, create_only)


def replace(path: Path, data: bytes, version: str) -> None:
    """Writes a file only while its content has this digest; a lock on a hidden file beside it makes the two one."""
    with (path.parent / f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it when a process dies
        if not path.exists() or digest(path.read_bytes()) != version:
            raise FileExistsError(path)
        write(path, data, create_only=False)


def digest(data: bytes) -> str:
    """A file's version, as `replace` compares it."""
    return hashlib.sha256(data).hexdigest()


def sweep(path: Path) -> None:
    """Removes torn temporary files and empty folders below a folder."""
    for folder, _, files in os.walk(path, topdown=False):
        for file in files:
            if _TEMPORARY.fullmatch(file):
                Path(folder, file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            Path(folder).rmdir()


def _place(temporary: Path, path: Path, create_only: bool) -> None:
    if create_only:
        _link(temporary, path)
    else:
        temporary.replace(path)


def _link(temporary: Path, path: Path) -> None:
    """Gives a file its name; fails where path exists, and path is whole where it does not."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        # No hard links on this file system (some network mounts): create-only still, but not whole at once;
        # what is read through a manifest is checked by its hash.
        with path.open("xb") as file:
            file.write(temporary.read_bytes())


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """An empty hidden file in the folder of `path`, so that it can take its name at once; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except FileNotFoundError as swept:
        raise InterruptedError(f"{path.parent} was swept away by another process") from swept
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
    except FileNotFoundError as swept:
        # Another process of the run is starting (see `sweep`): the next try writes a new one.
        raise InterruptedError(f"{temporary} was swept away by another process") from swept
    finally:
        temporary.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
