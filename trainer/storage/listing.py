"""What is there: the objects that folders, URIs and globs name, each with its size and version."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import DataError
from trainer.storage import calls
from trainer.storage.calls import NotFound
from trainer.storage.filesystems import filesystem
from trainer.uris import WILDCARD, glob_regex, glob_root, hidden, hive_tail, local_path, table_format


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


def expand(where: str | Sequence[str]) -> list[StoredObject]:
    """Finds the objects that folders, URIs and globs name.

    A folder gives every object below it that ends in `.parquet` or `.pq`; objects and folders whose name
    begins with `_` or `.` are left out, as every reader of hive layouts does. An object named outright is
    taken whatever it is called.

    Args:
        where: A folder, an object, a glob (`*`, `?`, `[…]`, `**`), or a list of them.

    Returns:
        The objects, each once, ordered by name, then by URI.

    Raises:
        NotFound: One of them names nothing.
        DataError: A folder is a Delta or Iceberg table, whose deleted rows and files nobody would see.
        StorageError: The store is out of reach or refuses.
    """
    by_uri: dict[str, StoredObject] = {}
    uris = [where] if isinstance(where, str) else list(where)
    for uri, objects in zip(uris, _expand_all(uris), strict=True):
        if not objects:
            raise NotFound(
                f"{'glob matches nothing' if WILDCARD.search(uri) else 'no Parquet file there'}",
                where=uri,
                remedy="check the path; folders are searched for *.parquet",
            )
        by_uri.update((o.uri, o) for o in objects)
    return sorted(by_uri.values(), key=lambda o: (o.name, o.uri))


def _expand_all(uris: Sequence[str]) -> list[list[StoredObject]]:
    """What each names; a window of many days is listed eight days at a time."""

    def one(uri: str) -> list[StoredObject]:
        return _expand_glob(uri) if WILDCARD.search(uri) else _expand_plain(uri)

    if len(uris) < 2:
        return [one(uri) for uri in uris]
    with ThreadPoolExecutor(8, thread_name_prefix="kfit-list") as pool:
        return list(pool.map(one, uris))


def _expand_plain(uri: str) -> list[StoredObject]:
    everything = list_objects(uri)
    if len(everything) == 1 and everything[0].name == "":
        only = everything[0]
        # A single object keeps its hive folders in its name: they carry column values.
        return [StoredObject(only.uri, hive_tail(only.uri), only.size_bytes, only.version)]
    if not everything and not exists(uri):
        raise NotFound("no such path", where=uri, remedy="check the path, its bucket and its spelling")
    _refuse_table(uri, [*_delta_folders(uri), *(o.name for o in everything)])
    return [o for o in everything if o.name.endswith((".parquet", ".pq")) and not hidden(o.name)]


def _expand_glob(uri: str) -> list[StoredObject]:
    folder, glob = glob_root(uri)
    if (path := local_path(folder)) is not None:
        return calls.call("list", uri, lambda: _local_glob(uri, folder, path, glob))
    pattern = re.compile(glob_regex(glob))
    objects = list_objects(folder, missing_ok=True)
    _refuse_table(uri, [*_delta_folders(folder), *(o.name for o in objects)])
    return [o for o in objects if pattern.fullmatch(o.name)]


def _local_glob(uri: str, folder: str, path: Path, glob: str) -> list[StoredObject]:
    """The files that a glob names below a local folder; only folders that can match are looked into."""
    logs = [p.relative_to(path).as_posix() for p in (*path.glob("_delta_log/"), *path.glob("metadata/*"))]
    _refuse_table(uri, [f"{log}/" if log == "_delta_log" else log for log in logs])
    prefix = folder if not folder or folder.endswith("/") else f"{folder}/"
    files = ((name, path / name) for name in _matching(path, "", glob.split("/")))
    return [_local_object(f"{prefix}{name}", name, file) for name, file in sorted(files) if file.is_file()]


def _matching(root: Path, below: str, parts: Sequence[str]) -> Iterator[str]:
    """Names below `root/below` that match the parts of a glob."""
    part, *rest = parts
    if "**" in part:
        pattern = re.compile(glob_regex("/".join(parts)))
        files = _list_local("", root / below) if (root / below).is_dir() else []
        yield from (f"{below}{file.name}" for file in files if pattern.fullmatch(file.name))
        return
    names = [part]
    if WILDCARD.search(part):
        pattern = re.compile(glob_regex(part))
        folder = root / below
        names = [p.name for p in folder.iterdir() if pattern.fullmatch(p.name)] if folder.is_dir() else []
    for name in names:
        if not rest:
            yield f"{below}{name}"
        elif (root / below / name).is_dir():
            yield from _matching(root, f"{below}{name}/", rest)


def _delta_folders(uri: str) -> list[str]:
    """A `_delta_log/` right below a folder, be it empty: a table whose log somebody has removed is a table still."""
    return ["_delta_log/"] if "_delta_log" in list_folders(uri) else []


def _refuse_table(uri: str, names: Sequence[str]) -> None:
    kind = table_format(names)
    if kind is not None:
        how = "deltalake's DeltaTable(…).file_uris()" if kind == "Delta" else "pyiceberg's table.scan().plan_files()"
        raise DataError(
            f"the folder is a {kind} table; read as plain Parquet it would give deleted and replaced rows too",
            where=uri,
            remedy=f"list the files of one version ({how}), or write that version as plain Parquet",
        )


def list_objects(uri: str, *, missing_ok: bool = False) -> list[StoredObject]:
    """Every object below a folder (or the one object itself, named ""), in the order of names.

    Args:
        uri: The folder.
        missing_ok: Nothing, and no error, where it is not there.

    Raises:
        NotFound: A local folder or a bucket that is not there.
    """
    try:
        return _list_objects(uri)
    except NotFound:
        if missing_ok:
            return []
        raise


def _list_objects(uri: str) -> list[StoredObject]:
    if (path := local_path(uri)) is not None:
        return calls.call("list", uri, lambda: _list_local(uri, path))
    fs = filesystem(uri)
    scheme = uri.partition("://")[0]

    def listed() -> list[StoredObject]:
        root = fs._strip_protocol(uri).rstrip("/")
        fs.invalidate_cache()
        out = []
        infos = fs.find(root, detail=True)
        if isinstance(infos, list):  # adlfs, where the root is an object itself
            infos = {key: fs.info(key) for key in infos}
        for key, info in infos.items():
            if info.get("type") == "directory" or key.endswith("/"):
                continue
            name = key[len(root) :].lstrip("/")
            out.append(StoredObject(f"{scheme}://{key}", name, int(info["size"]), _version(info)))
        if not out and "/" not in root and not fs.exists(root):
            raise FileNotFoundError(f"bucket {root} does not exist")
        return sorted(out, key=lambda o: o.name)

    return calls.call("list", uri, listed)


def list_folders(uri: str) -> list[str]:
    """Names of the folders right below a folder, sorted; none where it is not there. One request a thousand."""
    if (path := local_path(uri)) is not None:
        return calls.call(
            "list", uri, lambda: sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
        )
    fs = filesystem(uri)

    def listed() -> list[str]:
        fs.invalidate_cache()
        try:
            infos = fs.ls(fs._strip_protocol(uri).rstrip("/") + "/", detail=True)
        except FileNotFoundError:
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in infos if info["type"] == "directory")

    return calls.call("list", uri, listed)


def _list_local(uri: str, path: Path) -> list[StoredObject]:
    if path.is_file():
        return [_local_object(uri, "", path)]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist")

    def refuse(error: OSError) -> None:
        raise error

    names = [
        Path(folder, file).relative_to(path).as_posix()
        for folder, _, files in os.walk(path, followlinks=True, onerror=refuse)
        for file in files
    ]
    return [_local_object(f"{uri.rstrip('/')}/{name}", name, path / name) for name in sorted(names)]


def _local_object(uri: str, name: str, path: Path) -> StoredObject:
    stat = path.stat()
    return StoredObject(uri, name, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")


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
        status = calls.call("stat", uri, lambda: path.stat())
        return StoredObject(uri, "", status.st_size, f"{status.st_size}-{status.st_mtime_ns}")
    fs = filesystem(uri)
    info = calls.call("stat", uri, lambda: fs.info(uri, refresh=True) if uri.startswith("s3") else fs.info(uri))
    return StoredObject(uri, "", int(info["size"]), _version(info))


def modified_s(uri: str) -> float:
    """When an object was last written, in seconds since the epoch.

    Raises:
        NotFound: It is not there.
    """
    if (path := local_path(uri)) is not None:
        return calls.call("stat", uri, lambda: path.stat().st_mtime)
    fs = filesystem(uri)
    return float(calls.call("stat", uri, lambda: fs.modified(uri).timestamp()))


def exists(uri: str) -> bool:
    """Whether an object or a folder of that name is there."""
    if (path := local_path(uri)) is not None:
        return calls.call("look up", uri, path.exists)
    fs = filesystem(uri)
    return bool(calls.call("look up", uri, lambda: (fs.invalidate_cache(), fs.exists(uri))[1]))
