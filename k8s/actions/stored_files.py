"""What a run left in storage for a person to read: its report and its log."""

from __future__ import annotations

from pathlib import Path

from k8s.actions.run_place import RunPlace
from k8s.errors import AccessError, NotFound
from k8s.follow.log_stream import Line, LogReader, nanoseconds
from trainer import local_cache, storage
from trainer.checkpoint.run_folder import LOG, REPORT
from trainer.uris import local_path


def fetch_report(place: RunPlace) -> Path:
    """Returns the path of a run's report; one in object storage is copied into this user's cache first.

    Raises:
        NotFound: The run has written none.
        StorageError: Storage is out of reach or refuses.
        AccessError: The cache's folder cannot be written.
    """
    uri = storage.join(place.uri, REPORT)
    if (own := local_path(uri)) is not None and own.is_file():
        return own.absolute()
    page = _read(
        uri, f"no report of run {place.run}", f"it is written when a run succeeds; kfit why {place.run} tells more"
    )
    folder, name = local_cache.local_cache() / "reports", f"{place.run}.html"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not local_cache.write(folder, name, page):
        raise AccessError("the report cannot be kept here", where=str(folder), remedy="KFIT_CACHE names another folder")
    return (folder / name).absolute()


def read_log(place: RunPlace, *, tail: int | None = None, since: str = "") -> list[Line]:
    """Returns the lines that worker 0 kept in storage, of all its pods.

    Args:
        place: The run's folder.
        tail: Only the newest so many.
        since: Only from this second on, RFC 3339.

    Raises:
        NotFound: The run has kept none.
        StorageError: Storage is out of reach or refuses.
    """
    uri = storage.join(place.uri, LOG)
    data = _read(uri, f"no log of run {place.run}", "`kfit list` shows the runs that have pods; is the run's id right?")
    reader = LogReader()
    from_ns = nanoseconds(since) or 0
    lines = [line for line in (*reader.feed(data), *reader.end()) if (nanoseconds(line.at) or 0) >= from_ns]
    return lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]


def _read(uri: str, missing: str, remedy: str) -> bytes:
    try:
        return storage.read(uri)
    except storage.NotFound:
        raise NotFound(missing, where=uri, remedy=remedy) from None
