"""The job's `code`: a wheel from storage, checked and unpacked, or a folder, for a run's time first on the path."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from trainer import storage, user_code
from trainer.config import Code
from trainer.errors import ConfigError
from trainer.uris import local_path

#: A wheel of code is far smaller; the folder for temporary files may be in memory.
_MOST_BYTES = 2 * 1024**3
#: Parts of a wheel that installers put beside its packages.
_BESIDE = ("*.data/purelib", "*.data/platlib")


@contextlib.contextmanager
def on_path(code: Code | None) -> Iterator[None]:
    """Fetches the code, and finds its modules before all others while the context lasts.

    Raises:
        ConfigError: It is not there, not the wheel that the job names, or none that this Python can import.
        StorageError: Storage is out of reach or refuses.
    """
    if code is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="kfit-code-", ignore_cleanup_errors=True) as scratch:
        folder = _folder(code) or _unpacked(code, Path(scratch))
        with user_code.on_path([folder, *(part for pattern in _BESIDE for part in folder.glob(pattern))]):
            yield


def content_digest(code: Code) -> str:
    """The SHA-256 of the wheel; of a folder that of all its modules."""
    if (folder := _folder(code)) is None:
        return code.sha256 or hashlib.sha256(_read(code)).hexdigest()
    hashed = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        hashed.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def _folder(code: Code) -> Path | None:
    """The folder that a job names; None where it names a wheel."""
    if code.uri.endswith(".whl"):
        return None
    path = local_path(code.uri)
    if path is None or not path.is_dir():
        raise _refused(code, "there is no such folder", "correct the path; in a pod take a wheel from storage")
    return path.absolute()


def _read(code: Code) -> bytes:
    try:
        return storage.read(code.uri)
    except storage.NotFound as missing:
        raise _refused(code, "there is no such file", "correct the path, or upload the wheel there") from missing


def _unpacked(code: Code, folder: Path) -> Path:
    _check_name(code)
    data = _read(code)
    if code.sha256 not in (None, actual := hashlib.sha256(data).hexdigest()):
        raise ConfigError(
            f"the wheel's SHA-256 is {actual}, and the job file has {code.sha256}",
            where="run.code.sha256",
            remedy="upload the wheel that was meant, or take its sha256",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(code, archive.infolist())
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise _refused(code, f"it is no wheel: {error}", "make one: pip wheel --no-deps .") from error
    return folder


def _check_name(code: Code) -> None:
    """By its name a wheel says on which Pythons and machines it works."""
    name = code.uri.rpartition("/")[2]
    try:
        tags = parse_wheel_filename(name)[3]
    except InvalidWheelFilename as error:
        raise _refused(
            code, f"{name!r} is no wheel's name", "keep the name that it was built with: model-1.4.0-py3-none-any.whl"
        ) from error
    here = list(sys_tags())
    if not tags.intersection(here):
        raise _refused(
            code,
            f"the wheel is for {', '.join(sorted(map(str, tags)))}, and this machine takes {here[0]} or py3-none-any",
            "build it for the image's Python and platform, or without compiled parts",
        )


def _check_members(code: Code, members: list[zipfile.ZipInfo]) -> None:
    if not any(member.filename.endswith(".dist-info/WHEEL") for member in members):
        raise _refused(code, "it is no wheel: it has no .dist-info/WHEEL", "make one: pip wheel --no-deps .")
    for member in members:
        path = PurePosixPath(member.filename)
        link = stat.S_ISLNK(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or link:
            raise _refused(code, f"it holds {member.filename!r}, which leads out of its folder", "build it anew")
    if (size := sum(member.file_size for member in members)) > _MOST_BYTES:
        raise _refused(code, f"it unpacks to {size:,} bytes", f"keep data out of it: at most {_MOST_BYTES:,}")


def _refused(code: Code, what: str, remedy: str) -> ConfigError:
    return ConfigError(f"{code.uri}: {what}", where="run.code.from", remedy=remedy)
