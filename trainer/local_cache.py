"""Files kept between runs on this machine, in a folder that no other user can write or redirect.

Vocabularies and statistics from here go into models, so a file counts only where this user wrote it: the folder is
the user's own with mode 0700, and no symbolic link is followed, neither to the folder nor to a file in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def local_cache() -> Path:
    """Returns the cache's folder, which need not exist.

    `$KFIT_CACHE/kfit`, else the platform's folder for caches (`$XDG_CACHE_HOME`, `~/.cache`, `~/Library/Caches`);
    without a home that can be written, as in a container, one in the folder for temporary files.
    """
    if base := os.environ.get("KFIT_CACHE") or os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "kfit")
    with contextlib.suppress(RuntimeError):  # no home
        home = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
        if os.access(home if home.exists() else home.parent, os.W_OK):
            return home / "kfit"
    return Path(tempfile.gettempdir(), f"kfit-cache-{os.getuid()}")


def read(folder: str | Path, name: str) -> bytes | None:
    """Returns a file's content, None where there is none that this user wrote."""
    try:
        with _opened(Path(folder)) as at:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            with open(handle, "rb") as file:
                status = os.fstat(handle)
                ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
                return file.read() if ours else None
    except OSError:
        return None


def write(folder: str | Path, name: str, data: bytes) -> bool:
    """Writes a file whole or not at all, mode 0600.

    Returns:
        Whether it was written. It is not where the folder cannot be made or belongs to somebody else.
    """
    temporary = f".{name}.{os.getpid()}"
    try:
        with _opened(Path(folder), create=True) as at:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=at)  # of a process that was killed and had our number
            try:
                with open(os.open(temporary, flags, 0o600, dir_fd=at), "wb") as file:
                    file.write(data)
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=at)
                return False
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _opened(folder: Path, *, create: bool = False) -> Iterator[int]:
    """A descriptor of the folder, made private.

    Raises:
        OSError: It is not there, a symbolic link, or another user's.
    """
    if create:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to user {status.st_uid}")
        if status.st_mode & 0o022:
            # Others could have put files here until now; what they wrote has another owner and does not count.
            os.fchmod(handle, 0o700)
        yield handle
    finally:
        os.close(handle)
