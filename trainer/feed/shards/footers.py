"""Footers of Parquet shards: read once, parsed once in a process, and cached for the next run.

The footers of two thousand shards are two thousand requests; cached beside the statistics they are one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer import local_cache, storage
from trainer.errors import DataError

#: Bytes of the first request, which most footers fit into; longer ones take a second.
_TAIL_BYTES = 64 * 1024
#: Footers that are larger in total are not cached.
_KEPT_BYTES = 256 * 1024**2


class BadShard(DataError):
    """One shard cannot be used; `data.on_bad_shard: skip` leaves it out."""


def bad_shard(uri: str, what: str) -> BadShard:
    """Returns the error for one bad shard."""
    return BadShard(what, where=uri, remedy="write the shard again, or set data.on_bad_shard: skip")


@lru_cache(maxsize=50_000)
def read_footer(uri: str, size_bytes: int, version: str) -> bytes:
    """Reads one shard's footer; the same version is read once in a process.

    Args:
        uri: The shard.
        size_bytes: Its size.
        version: Its version: part of the cache's key.

    Returns:
        The footer, its length and PAR1.

    Raises:
        BadShard: Empty, truncated, not Parquet, or encrypted.
    """
    if size_bytes == 0:
        raise bad_shard(uri, "the file is empty (0 bytes)")
    tail = storage.read(uri, max(0, size_bytes - _TAIL_BYTES), size_bytes)
    if tail[-4:] == b"PARE":
        raise bad_shard(uri, "its footer is encrypted; expected a plain Parquet footer")
    if size_bytes < 12 or tail[-4:] != b"PAR1":
        if storage.read(uri, 0, 4) == b"PAR1":
            raise bad_shard(uri, f"truncated: it begins as Parquet and ends after {size_bytes} bytes without a footer")
        raise bad_shard(uri, "not a Parquet file (no PAR1 at its end)")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > size_bytes:
        raise bad_shard(uri, f"its footer says {length} bytes, the file has {size_bytes}")
    if length > len(tail):
        tail = storage.read(uri, size_bytes - length, size_bytes)
    return tail[-length:]


def _packed(footers: Mapping[str, bytes]) -> bytes:
    """Returns a line of JSON with URIs and lengths, then the footers one after another."""
    head = json.dumps([[uri, len(footer)] for uri, footer in footers.items()])
    return b"".join([head.encode(), b"\n", *footers.values()])


def _load(folder: str | Path, name: str) -> dict[str, bytes]:
    """Returns the cached footers; none where they cannot be read."""
    try:
        head, _, body = (local_cache.read(folder, name) or b"[]\n").partition(b"\n")
        footers, at = {}, 0
        for uri, length in json.loads(head):
            footers[str(uri)] = body[at : at + int(length)]
            at += int(length)
    except (ValueError, TypeError):
        return {}
    return footers if at == len(body) else {}


class Footers:
    """The footers of a listing: from the cache if an earlier run saw the same objects, else from the objects.

    Args:
        folder: The cache; None: none.
        listed: The objects, with their versions.
    """

    def __init__(self, folder: str | Path | None, listed: Sequence[storage.StoredObject]) -> None:
        digest = hashlib.sha256()
        for stored in listed:
            digest.update(f"{stored.uri}\0{stored.size_bytes}\0{stored.version}\n".encode())
        self._folder, self._name = folder, f"footers-{digest.hexdigest()[:32]}"
        self._known = {} if folder is None else _load(folder, self._name)
        self._new: dict[str, bytes] = {}

    def of(self, stored: storage.StoredObject) -> bytes:
        """Returns the footer of one object.

        Raises:
            BadShard: It has none.
        """
        footer = self._known.get(stored.uri)
        if footer is None:
            footer = self._new[stored.uri] = read_footer(stored.uri, stored.size_bytes, stored.version)
        return footer

    def store(self) -> None:
        """Caches what was read; if the folder cannot be written, the next run reads the footers again."""
        known = self._known | self._new
        if self._folder is None or not self._new or sum(map(len, known.values())) > _KEPT_BYTES:
            return
        local_cache.write(self._folder, self._name, _packed(known))


@lru_cache(maxsize=50_000)
def _parsed(footer: bytes) -> tuple[Any, str]:
    return pq.read_metadata(pa.BufferReader(footer)), hashlib.blake2b(footer, digest_size=16).hexdigest()


def parsed_footer(stored: storage.StoredObject, footers: Footers) -> tuple[Any, str]:
    """Parses one object's footer.

    Returns:
        Its `pyarrow.parquet.FileMetaData`, and a digest of the footer's bytes.

    Raises:
        BadShard: Empty, truncated, not Parquet, encrypted, or a footer that cannot be parsed.
    """
    try:
        return _parsed(footers.of(stored))
    except (pa.ArrowException, OSError) as error:
        raise bad_shard(stored.uri, f"its footer cannot be parsed: {str(error).splitlines()[0]}") from error
