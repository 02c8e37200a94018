"""Fetches the column chunks of remote row groups: byte ranges, requests, and the memory or file that holds them."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator, Sequence

from trainer import storage
from trainer.feed.shards.discovery import Shard
from trainer.feed.shards.footers import BadShard

#: Ranges closer than this are one request: a round trip costs more than the bytes between.
_MERGE_GAP_BYTES = 256 * 1024
#: Largest request: its bytes are in memory twice for a moment.
_MOST_REQUEST_BYTES = 16 * 1024**2
#: Row groups with more than this to fetch go to a temporary file: they are read slice by slice.
_SPOOL_BYTES = 64 * 1024**2


def fetch_groups(shard: Shard, groups: Sequence[int], columns: Sequence[str]) -> tuple[mmap.mmap, bool]:
    """Fetches the column chunks of remote row groups into a mapping of the object's size, at their offsets.

    Args:
        shard: The shard.
        groups: Its row groups, ascending.
        columns: Names of stored columns.

    Returns:
        The mapping, whose other pages are never touched and take no memory; and whether it is of a temporary file,
        which it is for more than 64 MiB.
    """
    ranges = [r for group in groups for r in chunk_ranges(shard, group, columns)]
    requests = list(requests_of(ranges))
    if sum(stop - start for start, stop in requests) > _SPOOL_BYTES:
        # Without room on the disk, use memory.
        with contextlib.suppress(OSError), tempfile.TemporaryFile(prefix="kfit-") as file:
            file.truncate(shard.size_bytes)
            for start, stop in requests:
                file.seek(start)
                file.write(_fetched(shard, start, stop))
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), True
    memory = mmap.mmap(-1, shard.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start, stop in requests:
        memory[start:stop] = _fetched(shard, start, stop)
    return memory, False


def _fetched(shard: Shard, start: int, stop: int) -> bytes:
    try:
        fetched = storage.read_version(shard.uri, start, stop, shard.version)
    except storage.Changed as changed:
        raise object_changed(shard) from changed
    if len(fetched) != stop - start:
        raise object_changed(shard)
    return fetched


def requests_of(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merges the ranges of neighbouring column chunks into requests of at most 16 MiB."""
    for start, stop in merged(sorted(ranges)):
        for at in range(start, stop, _MOST_REQUEST_BYTES):
            yield at, min(stop, at + _MOST_REQUEST_BYTES)


def chunk_ranges(shard: Shard, group: int, columns: Sequence[str]) -> list[tuple[int, int]]:
    """Byte ranges of a row group's column chunks: (start, stop) of each, ascending.

    Args:
        shard: The shard.
        group: The row group.
        columns: Names of top-level columns.
    """
    out = []
    for chunk in shard.chunks(group, columns):
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        out.append((start, start + chunk.total_compressed_size))
    return sorted(out)


def merged(ranges: Sequence[tuple[int, int]], gap: int = _MERGE_GAP_BYTES) -> list[tuple[int, int]]:
    """Joins ascending ranges that are less than `gap` bytes apart."""
    out: list[tuple[int, int]] = []
    for start, stop in ranges:
        if out and start - out[-1][1] <= gap:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


def object_changed(shard: Shard) -> BadShard:
    """Returns the error for an object that no longer has the version whose footer was read."""
    return BadShard(
        f"the object changed while the run reads it; its footer was read as version {shard.version}",
        where=shard.uri, remedy="start again; write new data beside the old, never over it",
    )  # fmt: skip
