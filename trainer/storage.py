"""The only user of fsspec: object stores and local folders behind a handful of verbs.

Every verb takes URIs (`s3://bucket/key`, `gs://…`, `az://…`, `file:///path`, or a plain path) and raises
nothing but `StorageError` and its two kinds below. Writes are whole: a reader sees the old object, the
new one, or none, never half of one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from trainer import storage_conditions, storage_local
from trainer.errors import ConfigError
from trainer.paths import WILDCARD, glob_regex, hidden, hive_tail, join, local_path, partition_values, quote_part
from trainer.storage_calls import DEADLINE_S, STALL_S, AlreadyExists, Changed, NotFound, call
from trainer.storage_conditions import STORES

__all__ = [
    "AlreadyExists",
    "Changed",
    "NotFound",
    "StoredObject",
    "delete",
    "delete_folder",
    "download_folder",
    "exists",
    "expand",
    "join",
    "list_folders",
    "list_objects",
    "local_path",
    "partition_values",
    "quote_part",
    "read",
    "read_many",
    "read_version",
    "read_with_version",
    "replace",
    "stat",
    "sweep",
    "upload_folder",
    "write",
]


@dataclass(frozen=True)
class StoredObject:
    """One object.

    Attributes:
        uri: Where it is.
        name: Its path relative to what was listed; the same for a copy of the folder elsewhere.
        size_bytes: Its size.
        version: What changes when its content does: the ETag; locally size and time of change.
    """

    uri: str
    name: str
    size_bytes: int
    version: str


def expand(where: str | Sequence[str], suffixes: Sequence[str] = (".parquet", ".pq")) -> list[StoredObject]:
    """Finds the objects that folders, URIs and globs name.

    A folder gives every object below it that ends in one of `suffixes`; objects and folders whose name
    begins with `_` or `.` are left out, as every reader of hive layouts does. An object named outright is
    taken whatever it is called.

    Args:
        where: A folder, an object, a glob (`*`, `?`, `[…]`, `**`), or a list of them.
        suffixes: What a folder's objects end in.

    Returns:
        The objects, each once, ordered by name, then by URI.

    Raises:
        NotFound: One of them names nothing.
        StorageError: The store is out of reach or refuses.
    """
    found: dict[str, StoredObject] = {}
    uris = [where] if isinstance(where, str) else list(where)
    for uri, objects in zip(uris, _expand_all(uris, suffixes), strict=True):
        if not objects:
            raise NotFound(
                f"{'glob matches nothing' if WILDCARD.search(uri) else 'no Parquet file there'}",
                where=uri,
                remedy="check the path; folders are searched for *.parquet",
            )
        found.update((o.uri, o) for o in objects)
    return sorted(found.values(), key=lambda o: (o.name, o.uri))


def _expand_all(uris: Sequence[str], suffixes: Sequence[str]) -> list[list[StoredObject]]:
    """What each names; a window of many days is listed eight days at a time."""

    def one(uri: str) -> list[StoredObject]:
        return _expand_glob(uri) if WILDCARD.search(uri) else _expand_plain(uri, suffixes)

    if len(uris) < 2:
        return [one(uri) for uri in uris]
    with ThreadPoolExecutor(8, thread_name_prefix="kfit-list") as pool:
        return list(pool.map(one, uris))


def _expand_plain(uri: str, suffixes: Sequence[str]) -> list[StoredObject]:
    everything = list_objects(uri)
    if len(everything) == 1 and everything[0].name == "":
        only = everything[0]
        # A single object keeps its hive folders in its name: they carry column values.
        return [StoredObject(only.uri, hive_tail(only.uri), only.size_bytes, only.version)]
    if not everything and not exists(uri):
        raise NotFound("no such path", where=uri, remedy="check the path, its bucket and its spelling")
    return [o for o in everything if o.name.endswith(tuple(suffixes)) and not hidden(o.name)]


def _expand_glob(uri: str) -> list[StoredObject]:
    head = WILDCARD.split(uri, maxsplit=1)[0].rpartition("/")[0]
    pattern = re.compile(glob_regex(uri[len(head) + 1 :]))
    try:
        objects = list_objects(head or ".")
    except NotFound:
        return []
    return [o for o in objects if pattern.fullmatch(o.name)]


def list_objects(uri: str) -> list[StoredObject]:
    """Every object below a folder (or the one object itself, named ""), in the order of names.

    Raises:
        NotFound: A local folder or a bucket that is not there.
    """
    if (path := local_path(uri)) is not None:
        return call("list", uri, lambda: _list_local(uri, path))
    fs = _filesystem(uri)
    scheme = uri.partition("://")[0]

    def listed() -> list[StoredObject]:
        root = fs._strip_protocol(uri).rstrip("/")
        fs.invalidate_cache()
        out = []
        found = fs.find(root, detail=True)
        if isinstance(found, list):  # adlfs, where the root is an object itself
            found = {key: fs.info(key) for key in found}
        for key, info in found.items():
            if info.get("type") == "directory" or key.endswith("/"):
                continue
            name = key[len(root) :].lstrip("/")
            out.append(StoredObject(f"{scheme}://{key}", name, int(info["size"]), _version(info)))
        if not out and "/" not in root and not fs.exists(root):
            raise FileNotFoundError(f"bucket {root} does not exist")
        return sorted(out, key=lambda o: o.name)

    return call("list", uri, listed)


def list_folders(uri: str) -> list[str]:
    """Names of the folders right below a folder, sorted; none where it is not there. One request a thousand."""
    if (path := local_path(uri)) is not None:
        return call("list", uri, lambda: sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else [])
    fs = _filesystem(uri)

    def listed() -> list[str]:
        fs.invalidate_cache()
        try:
            found = fs.ls(fs._strip_protocol(uri).rstrip("/") + "/", detail=True)
        except FileNotFoundError:
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    return call("list", uri, listed)


def _list_local(uri: str, path: Path) -> list[StoredObject]:
    def one(file: Path, name: str) -> StoredObject:
        stat = file.stat()
        found = f"{uri.rstrip('/')}/{name}" if name else uri
        return StoredObject(found, name, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    if path.is_file():
        return [one(path, "")]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist")

    def refuse(error: OSError) -> None:
        raise error

    names = [
        Path(folder, file).relative_to(path).as_posix()
        for folder, _, files in os.walk(path, followlinks=True, onerror=refuse)
        for file in files
    ]
    return [one(path / name, name) for name in sorted(names)]


def _version(info: dict[str, Any]) -> str:
    for key in ("generation", "ETag", "etag", "content_settings", "md5Hash", "LastModified", "mtime"):
        if info.get(key):
            return str(info[key]).strip('"')
    return str(info.get("size"))


def stat(uri: str) -> StoredObject:
    """Size and version of one object.

    Raises:
        NotFound: It is not there.
    """
    if (path := local_path(uri)) is not None:
        found = call("stat", uri, lambda: path.stat())
        return StoredObject(uri, "", found.st_size, f"{found.st_size}-{found.st_mtime_ns}")
    fs = _filesystem(uri)
    info = call("stat", uri, lambda: fs.info(uri, refresh=True) if uri.startswith("s3") else fs.info(uri))
    return StoredObject(uri, "", int(info["size"]), _version(info))


def modified_s(uri: str) -> float:
    """When an object was last written, in seconds since the epoch.

    Raises:
        NotFound: It is not there.
    """
    if (path := local_path(uri)) is not None:
        return call("stat", uri, lambda: path.stat().st_mtime)
    fs = _filesystem(uri)
    return float(call("stat", uri, lambda: fs.modified(uri).timestamp()))


def exists(uri: str) -> bool:
    """Whether an object or a folder of that name is there."""
    if (path := local_path(uri)) is not None:
        return path.exists()
    fs = _filesystem(uri)
    return bool(call("look up", uri, lambda: (fs.invalidate_cache(), fs.exists(uri))[1]))


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

        return call("read", uri, read_local)
    fs = _filesystem(uri)
    return bytes(call("read", uri, lambda: fs.cat_file(uri, start=start, end=end)))


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
            return call("read", uri, lambda: storage_conditions.range_of_s3(_filesystem(uri), uri, start, end, version))
        except AlreadyExists as refused:  # what a refused precondition means to a write
            raise Changed("changed while it was read", where=uri) from refused
    found = read(uri, start, end)
    # Other stores are asked afterwards: what came may be older than the answer, never newer.
    if stat(uri).version != version:
        raise Changed("changed while it was read", where=uri)
    return found


def read_many(uris: Sequence[str], threads: int = 16) -> list[bytes | None]:
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
    with ThreadPoolExecutor(threads, thread_name_prefix="kfit-read") as pool:
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
    if (path := local_path(uri)) is not None:
        call("write", uri, lambda: storage_local.write(path, data, create_only=create_only), deadline_s)
        return
    fs = _filesystem(uri)
    mode = "create" if create_only else "overwrite"
    call("write", uri, lambda: fs.pipe_file(uri, data, mode=mode), deadline_s)


def read_with_version(uri: str) -> tuple[bytes, str] | None:
    """An object and the version to hand to `replace`, None where it is not there.

    The version is read first: where a writer comes in between, `replace` refuses rather than overwrite it.
    """
    try:
        if (path := local_path(uri)) is not None:
            data = call("read", uri, path.read_bytes)
            return data, storage_local.digest(data)
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
            call("replace", uri, lambda: storage_local.replace(path, data, version))
        else:
            call("replace", uri, lambda: storage_conditions.put(_filesystem(uri), uri, data, version))
    except AlreadyExists as lost:
        raise Changed("somebody else changed it in the meantime", where=uri, remedy="look at it again") from lost


def write_file(uri: str, source: Path, *, create_only: bool = False, deadline_s: float = DEADLINE_S) -> None:
    """Writes a local file as a whole object without holding it in memory.

    Raises:
        AlreadyExists: `create_only`, and it is there.
        StorageError: The store is out of reach or refuses.
    """
    if (path := local_path(uri)) is not None:
        call("write", uri, lambda: storage_local.copy(source, path, create_only=create_only), deadline_s)
        return
    fs = _filesystem(uri)
    mode = "create" if create_only else "overwrite"
    call("write", uri, lambda: fs.put_file(str(source), uri, mode=mode), deadline_s)


def delete(uri: str) -> None:
    """Deletes an object or everything below a folder; nothing there is fine."""
    if (path := local_path(uri)) is not None:
        call("delete", uri, lambda: shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True))
        return
    fs = _filesystem(uri)
    with contextlib.suppress(NotFound):
        call("delete", uri, lambda: fs.rm(uri, recursive=True))


def sweep(uri: str) -> None:
    """Removes what writers that were killed left in a local folder: torn temporary files, empty folders.

    Object stores leave nothing: a put that was cut off never becomes an object.
    """
    path = local_path(uri)
    if path is None or not path.is_dir():
        return

    call("sweep", uri, lambda: storage_local.sweep(path))


def delete_folder(uri: str) -> None:
    """Deletes everything below a folder, and the folder itself in stores that keep empty ones (SeaweedFS)."""
    if local_path(uri) is not None or not uri.startswith(("s3://", "s3a://")):
        delete(uri)
        return
    fs = _filesystem(uri)
    root = fs._strip_protocol(uri).rstrip("/")
    with contextlib.suppress(NotFound):
        inside = {"/".join(o.name.split("/")[:n]) for o in list_objects(uri) for n in range(o.name.count("/") + 1)}
        delete(uri)
        for folder in sorted(inside, key=len, reverse=True):
            bucket, _, key = f"{root}/{folder}".rstrip("/").partition("/")
            call("delete", uri, partial(fs.call_s3, "delete_object", Bucket=bucket, Key=f"{key}/"))


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


# --- the boundary ---------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _opened(scheme: str, process: int) -> Any:
    del process  # in the key alone: a file system and its I/O thread do not survive a fork
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme not in ("s3", "s3a"):
        return fsspec.filesystem(scheme, **options)
    # One deadline governs retries (ours), so botocore and s3fs try once, and give up in time for another try.
    options["config_kwargs"] = {
        "connect_timeout": min(5.0, DEADLINE_S / 2),
        "read_timeout": min(STALL_S, DEADLINE_S / 2),
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": 32,
    }
    if any(os.environ.get(k) for k in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")):
        # Self-hosted S3 rarely has a name per bucket.
        options["config_kwargs"]["s3"] = {"addressing_style": "path"}
    opened = fsspec.filesystem(scheme, **options)
    opened.retries = 1
    return opened


def on_io_thread(action: Callable[[], None]) -> None:
    """Lets the thread in which fsspec talks to object stores do something."""
    from fsspec.asyn import get_loop

    get_loop().call_soon_threadsafe(action)


def _filesystem(uri: str) -> Any:
    scheme = uri.partition("://")[0]
    try:
        return _opened(scheme, os.getpid())
    except ImportError as missing:
        extra = STORES.get(scheme)
        raise ConfigError(
            f"{scheme}:// needs a package that is not installed ({missing.name or missing})",
            where=uri,
            remedy=f"pip install 'kfit[{extra}]'" if extra else "install the package fsspec names",
        ) from missing
    except ValueError as unknown:
        raise ConfigError(
            f"unknown scheme {scheme!r}", where=uri, remedy="use a path, file://, s3://, gs:// or az://"
        ) from unknown
