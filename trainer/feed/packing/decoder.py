"""Decodes the requested columns of row groups, with hive keys appended, from any number of threads.

Local files are memory-mapped. The needed column chunks of remote objects are fetched, neighbours in one
request, into a sparse mapping of the object's size, in memory or on disk: Arrow never calls back into Python
(apache/arrow#50482: a decoder that reads a Python file object can hang the interpreter's end).

Long because the decoder of slices, the open files and their mappings share one reader's locks and limits.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer import storage
from trainer.feed.packing.remote_ranges import fetch_groups, object_changed
from trainer.feed.shards.discovery import Shard
from trainer.feed.shards.footers import BadShard
from trainer.feed.shards.plain_types import has_encoding, is_view, plain_type

_OPEN_FILES = 32
#: Rows decoded at a time of a row group that is too large to hold.
_BATCH_ROWS = 65_536


class Reader:
    """Reads row groups of shards.

    A `ParquetFile` must not be shared between threads (`ReadRangeCache did not find matching cache
    entry`), so each thread keeps its most recently used ones.

    Args:
        columns: Names to read, stored or hive keys.
        partition_types: Types of the hive keys.
        encoded: String columns to read as dictionaries.

    Attributes:
        most_decoders: How many `SequentialDecoder` may stay open between calls of `slices`; those in use count too,
            and are never closed.
    """

    def __init__(
        self, columns: Sequence[str], partition_types: Mapping[str, pa.DataType], encoded: Sequence[str] = ()
    ) -> None:
        self._columns = list(columns)
        self._partition_types = partition_types
        self._encoded = list(encoded)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._casts: tuple[pa.Schema, list[tuple[int, pa.DataType]]] = pa.schema([]), []
        self.most_decoders = 1
        self._decoders: dict[tuple[str, int], SequentialDecoder] = {}

    def read(self, shard: Shard, group: int, *, groups: int = 1) -> pa.Table:
        """Reads neighbouring row groups.

        Args:
            shard: The shard.
            group: Its first row group.
            groups: How many row groups.

        Returns:
            A table with the reader's columns in their order.

        Raises:
            BadShard: The pages cannot be decoded, or the object changed since its footer was read.
            StorageError: The object is gone, or the store cannot be reached.
        """
        groups_read = list(range(group, group + groups))
        try:
            stored = self._stored(shard)
            opened = self._open(shard, groups_read, stored)
            table = opened.file.read_row_groups(groups_read, columns=stored, use_threads=False)
            opened.let_go()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(shard, group, error) from error
        return self._with_partitions(shard, table)

    def slices(self, shard: Shard, group: int, ranges: Sequence[tuple[int, int]]) -> Iterator[pa.Table]:
        """Reads slices of a row group that is too large to hold; the rows between them are decoded and dropped.

        The decoder stays open at the last row, and the next call continues there: a row group whose slices are
        requested in ascending order is decoded once.

        Args:
            shard: The shard.
            group: Its row group.
            ranges: (first row, one past the last), ascending.

        Yields:
            A table for each range.

        Raises:
            BadShard, StorageError: As `read`.
        """
        with self._decoder(shard, group) as decoder:
            try:
                for start, stop in ranges:
                    if decoder.batches is None or decoder.at > start:
                        stored = self._stored(shard)
                        opened = self._opened(shard, [group], stored)
                        batches = opened.file.iter_batches(
                            _BATCH_ROWS, row_groups=[group], columns=stored, use_threads=False
                        )
                        decoder.restart(opened, batches)
                    yield self._with_partitions(shard, decoder.take(start, stop))
            except (pa.ArrowException, OSError) as error:
                decoder.close()
                raise _unreadable(shard, group, error) from error
            if decoder.at == shard.group_rows[group]:
                decoder.close()

    @contextlib.contextmanager
    def _decoder(self, shard: Shard, group: int) -> Iterator[SequentialDecoder]:
        """Lends the open decoder of a row group to this thread; closes unused ones beyond `most_decoders`."""
        key = (shard.uri, group)
        with self._lock:
            decoder = self._decoders.setdefault(key, SequentialDecoder())
            decoder.users += 1
            # A decoder that was closed has to decode all rows before its place again: close those with the fewest.
            unused = sorted((d.at, k) for k, d in self._decoders.items() if not d.users)
            for _, old in unused[: max(0, len(self._decoders) - self.most_decoders)]:
                self._decoders.pop(old).close()
        try:
            with decoder.lock:
                yield decoder
        finally:
            with self._lock:
                decoder.users -= 1
                if not decoder.users and decoder.batches is None:
                    del self._decoders[key]

    def stream(self, shard: Shard, rows: int, *, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """Yields the rows of a shard, or of some of its row groups, at most `rows` at a time.

        A row group is never decoded as a whole.
        """
        for group in range(len(shard.group_rows)) if groups is None else groups:
            try:
                stored = self._stored(shard)
                file = self._open(shard, [group], stored).file
                for batch in file.iter_batches(rows, row_groups=[group], columns=stored, use_threads=False):
                    yield self._with_partitions(shard, pa.Table.from_batches([batch]))
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(shard, group, error) from error

    def _stored(self, shard: Shard) -> list[str]:
        stored = shard.stored  # a property, which would be asked for each of hundreds of columns
        return [c for c in self._columns if c in stored]

    def _open(self, shard: Shard, groups: Sequence[int], stored: Sequence[str]) -> _Opened:
        if storage.local_path(shard.uri) is None:
            return self._opened(shard, groups, stored)
        open_files: OrderedDict[str, _Opened] = self._local.__dict__.setdefault("files", OrderedDict())
        key = f"{shard.uri}:{shard.version}"
        if key not in open_files:
            open_files[key] = self._opened(shard, groups, stored)
        open_files.move_to_end(key)
        if len(open_files) > _OPEN_FILES:
            open_files.popitem(last=False)[1].file.close(force=True)
        return open_files[key]

    def _opened(self, shard: Shard, groups: Sequence[int], stored: Sequence[str]) -> _Opened:
        if (path := storage.local_path(shard.uri)) is None:
            fetched, on_disk = fetch_groups(shard, groups, stored)
            source = pa.BufferReader(pa.py_buffer(fetched))
            return _Opened(self._parquet(source, shard), fetched if on_disk else None)
        if storage.stat(shard.uri).version != shard.version:
            raise object_changed(shard)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _Opened(self._parquet(pa.BufferReader(pa.py_buffer(mapped)), shard), mapped)

    def _parquet(self, source: Any, shard: Shard) -> pq.ParquetFile:
        stored = shard.stored
        encoded = [c for c in self._encoded if c in stored]
        return pq.ParquetFile(source, metadata=shard.metadata, read_dictionary=encoded, pre_buffer=False)

    def _with_partitions(self, shard: Shard, table: pa.Table) -> pa.Table:
        # Comparing with the last table's schema costs 1 µs, looking at 41 types 50 µs, and most shards share a schema.
        schema, casts = self._casts
        if not table.schema.equals(schema):
            casts = _columns_to_cast(table.schema)
            self._casts = table.schema, casts
        for index, plain in casts:
            table = table.set_column(index, table.field(index).name, table.column(index).cast(plain))
        stored_names = table.column_names
        if stored_names == self._columns:
            return table
        for name in set(self._columns).difference(stored_names):
            value = shard.partition_value(name)
            table = table.append_column(name, constant(value, self._partition_types[name], len(table)))
        return table.select(self._columns)


def _columns_to_cast(schema: pa.Schema) -> list[tuple[int, pa.DataType]]:
    """Views, and lists of dictionaries, with their plain types: Arrow's compute functions take no others."""
    return [
        (index, plain_type(arrow))
        for index, arrow in enumerate(schema.types)
        if is_view(arrow) or (pa.types.is_nested(arrow) and has_encoding(arrow))
    ]


def constant(text: str | None, arrow: pa.DataType, rows: int) -> pa.Array:
    """Returns a column of one repeated value.

    Args:
        text: The value as a path spells it; None: null.
        arrow: Its type.
        rows: How often.
    """
    return pa.repeat(pa.scalar(text, pa.string()).cast(arrow), rows)


@dataclass(frozen=True)
class _Opened:
    """An open shard, and its mapping if that is of a file."""

    file: pq.ParquetFile
    mapped: mmap.mmap | None

    def let_go(self) -> None:
        """Releases the pages of a mapping: they would count as this process's memory, and the page cache has them."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)


class SequentialDecoder:
    """A decoder at some row of a large row group, which only moves forwards.

    Attributes:
        lock: Held while the decoder works.
        users: Threads that use it or wait for it; changed under the reader's lock.
        batches: The batches that follow; None: nothing is open.
        at: The next row.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.batches: Iterator[pa.RecordBatch] | None = None
        self.at = 0
        self.users = 0
        self._rest: pa.RecordBatch | None = None
        self._opened: _Opened | None = None

    def restart(self, opened: _Opened, batches: Iterator[pa.RecordBatch]) -> None:
        """Starts again at the first row."""
        self._opened, self.batches, self.at, self._rest = opened, batches, 0, None

    def close(self) -> None:
        """Releases the decoder and its file."""
        self._opened = self.batches = self._rest = None

    def take(self, start: int, stop: int) -> pa.Table:
        """Returns rows [start, stop); `start` must not lie before `at`."""
        slices = []
        while self.at < stop:
            assert self.batches is not None
            batch = next(self.batches) if self._rest is None else self._rest
            low = min(max(start - self.at, 0), len(batch))
            high = min(stop - self.at, len(batch))
            if low < high:
                slices.append(batch.slice(low, high - low))
            self._rest = batch.slice(high) if high < len(batch) else None
            self.at += high
        if self._opened is not None:
            self._opened.let_go()
        return pa.Table.from_batches(slices)


def _unreadable(shard: Shard, group: int, error: Exception) -> BadShard:
    if storage.stat(shard.uri).size_bytes != shard.size_bytes:
        return object_changed(shard)
    return BadShard(
        f"row group {group} cannot be decoded: {str(error).splitlines()[0]}", where=shard.uri,
        remedy="write the shard again, or set data.on_bad_shard: skip",
    )  # fmt: skip
