"""Reading and writing whole objects, some of them on the condition that nobody else changed them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from trainer.storage import calls, conditions, local
from trainer.storage.calls import DEADLINE_S, AlreadyExists, Changed, NotFound
from trainer.storage.filesystems import filesystem
from trainer.storage.listing import stat
from trainer.uris import local_path

#: fsspec's modes, by `create_only`.
_MODES = {False: "overwrite", True: "create"}


def read(uri: str, start: int | None = None, end: int | None = None) -> bytes:
    """Reads an object, or its bytes from `start` up to `end`.

    Raises:
        NotFound: It is not there.
        StorageError: The store is out of reach or refuses.
    """
    if (path := local_path(uri)) is not None:

        def read_local() -> bytes:
            with path.open("rb") as file:
                file.seek(start or 0)
                return file.read() if end is None else file.read(end - (start or 0))

        return calls.call("read", uri, read_local)
    fs = filesystem(uri)
    return bytes(calls.call("read", uri, lambda: fs.cat_file(uri, start=start, end=end)))


def read_version(uri: str, start: int, end: int, version: str) -> bytes:
    """Reads the bytes from `start` up to `end` of one version of an object.

    A request that stalls is cut and made again, all under one deadline.

    Args:
        uri: The object.
        start: First byte.
        end: One past the last.
        version: As `stat` gave it.

    Raises:
        Changed: The object is another version by now, even one of the same size.
        NotFound: It is not there.
        StorageError: The store is out of reach or refuses.
    """
    if uri.partition("://")[0] in ("s3", "s3a"):
        try:
            return calls.call("read", uri, lambda: conditions.range_of_s3(filesystem(uri), uri, start, end, version))
        except AlreadyExists as refused:  # what a refused precondition means to a write
            raise Changed("changed while it was read", where=uri) from refused
    data = read(uri, start, end)
    # Other stores are asked afterwards: what came may be older than the answer, never newer.
    if stat(uri).version != version:
        raise Changed("changed while it was read", where=uri)
    return data


def read_many(uris: Sequence[str]) -> list[bytes | None]:
    """The content of many small objects at once, in their order; None where there is none.

    Raises:
        StorageError: The store is out of reach or refuses.
    """

    def one(uri: str) -> bytes | None:
        try:
            return read(uri)
        except NotFound:
            return None

    if len(uris) < 2:
        return [one(uri) for uri in uris]
    with ThreadPoolExecutor(16, thread_name_prefix="kfit-read") as pool:
        return list(pool.map(one, uris))


def write(uri: str, data: bytes, *, create_only: bool = False, deadline_s: float = DEADLINE_S) -> None:
    """Writes a whole object.

    Args:
        uri: Where to.
        data: The content.
        create_only: Refuse where something is already there; decided by the store, not by a look before.
        deadline_s: Give up after so long, retries included.

    Raises:
        AlreadyExists: `create_only`, and it is there.
        StorageError: The store is out of reach or refuses.
    """
    _put(
        uri,
        lambda path: local.write(path, data, create_only=create_only),
        lambda store: store.pipe_file(uri, data, mode=_MODES[create_only]),
        deadline_s,
    )


def _put(
    uri: str, locally: Callable[[Path], None], remotely: Callable[[Any], None], deadline_s: float = DEADLINE_S
) -> None:
    path = local_path(uri)
    work = partial(remotely, filesystem(uri)) if path is None else partial(locally, path)
    calls.call("write", uri, work, deadline_s)


def read_with_version(uri: str) -> tuple[bytes, str] | None:
    """An object and the version to hand to `replace`, None where it is not there.

    The version is read first: where a writer comes in between, `replace` refuses rather than overwrite it.
    """
    try:
        if (path := local_path(uri)) is not None:
            data = calls.call("read", uri, path.read_bytes)
            return data, local.digest(data)
        version = stat(uri).version
        return read(uri), version
    except NotFound:
        return None


def replace(uri: str, data: bytes, version: str | None) -> None:
    """Writes an object only if it still is the version that was read: compare-and-swap by the store itself.

    S3 and Azure compare the ETag (`If-Match`), Google the generation; locally a lock on a hidden file beside it
    makes comparing and renaming one.

    Args:
        uri: Where to.
        data: The content.
        version: What `read_with_version` gave; None: it must not be there yet.

    Raises:
        Changed: It is another version by now.
        ConfigError: A store that cannot compare.
        StorageError: The store is out of reach or refuses.
    """
    try:
        if version is None:
            write(uri, data, create_only=True)
        elif (path := local_path(uri)) is not None:
            calls.call("replace", uri, lambda: local.replace(path, data, version))
        else:
            calls.call("replace", uri, lambda: conditions.put(filesystem(uri), uri, data, version))
    except AlreadyExists as lost:
        raise Changed("somebody else changed it in the meantime", where=uri, remedy="look at it again") from lost


def write_file(uri: str, source: Path, *, create_only: bool = False) -> None:
    """Writes a local file as a whole object without holding it in memory.

    Raises:
        AlreadyExists: `create_only`, and it is there.
        StorageError: The store is out of reach or refuses.
    """
    _put(
        uri,
        lambda path: local.copy(source, path, create_only=create_only),
        lambda store: store.put_file(str(source), uri, mode=_MODES[create_only]),
    )
