"""Finds the shards of a dataset, reads their footers, and checks each against one schema.

A fault of one file must name that file before the first step, not as a decoder's message an hour later.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from trainer import storage
from trainer.errors import DataError
from trainer.feed.shards.column_chunks import check_chunks, find_fatal_statistics, leaf_indices
from trainer.feed.shards.footers import BadShard, Footers, bad_shard, parsed_footer
from trainer.feed.shards.plain_types import plain_type

Membership = Literal["train", "validation", "both"]

_THREADS = 8
#: Footers per task: a cached footer is parsed faster than a task is scheduled.
_AT_ONCE = 16
#: Larger row groups are counted in blocks of about this size, so that they can be read in slices.
_BLOCK_BYTES = 4 * 1024**2
_MOST_BLOCKS = 256
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Shard:
    """One Parquet file of the dataset.

    Attributes:
        uri: Its URI.
        name: Its path relative to what was listed; the same for a copy of the dataset elsewhere.
        size_bytes: Its size.
        version: Changes with its content (ETag; locally size and modification time).
        group_rows: Rows of each row group.
        membership: Which splits its rows belong to.
        train_rows: Training rows of each row group.
        validation_rows: Validation rows of each row group.
        blocks: Split -> large row group -> the split's rows in each of its blocks of `block_rows`.
        partitions: The hive keys of its whole path, as text: a folder of one day still has its day.
        identity: What the split and the sample of the statistics hash beside a row's position: the file's name and
            its footer, however the file was listed.
        metadata: Its parsed footer (`pyarrow.parquet.FileMetaData`).
    """

    uri: str
    name: str
    size_bytes: int
    version: str
    group_rows: tuple[int, ...]
    membership: Membership = "train"
    train_rows: tuple[int, ...] = ()
    validation_rows: tuple[int, ...] = ()
    blocks: Mapping[str, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)
    partitions: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    metadata: Any = field(default=None, repr=False, compare=False)

    @property
    def rows(self) -> int:
        """All rows of the shard."""
        return sum(self.group_rows)

    @cached_property
    def leaves(self) -> Mapping[str, tuple[int, ...]]:
        """Stored column (its path; of a nested one the part before the first dot too) -> its column chunks."""
        return leaf_indices(self.metadata)

    @property
    def stored(self) -> Set[str]:
        """Names of the stored columns; of a nested one the part before the first dot."""
        return self.leaves.keys()

    def chunks(self, group: int, columns: Iterable[str]) -> list[Any]:
        """Returns the `pyarrow.parquet.ColumnChunkMetaData` of columns that `scan` or `check_columns` has checked."""
        known = self.metadata.row_group(group)
        return [known.column(i) for i in self.indices(columns)]

    def indices(self, columns: Iterable[str]) -> tuple[int, ...]:
        """Indices of the column chunks of columns, ascending; columns that it does not store have none."""
        return tuple(sorted({i for name in columns for i in self.leaves.get(name, ())}))

    def rows_of(self, split: str) -> tuple[int, ...]:
        """Returns the rows of a split in each row group."""
        return self.train_rows if split == "train" else self.validation_rows

    def block_rows(self, group: int) -> int:
        """Returns the rows of a row group's blocks; the last may have fewer, and a small row group is one block."""
        size_bytes = int(self.metadata.row_group(group).total_byte_size)
        blocks = min(_MOST_BLOCKS, -(-size_bytes // _BLOCK_BYTES))
        return max(1, -(-self.group_rows[group] // max(1, blocks)))

    def partition_value(self, key: str) -> str | None:
        """Returns the text of a hive key; None where hive marks it as null."""
        value = self.partitions.get(key)
        return None if value == _HIVE_NULL else value


@dataclass(frozen=True)
class ShardSet:
    """Readable shards ordered by name, and their common schema.

    Attributes:
        shards: The shards.
        types: Arrow type of every needed column that the files store.
        partition_types: Arrow type of every hive key: int64, date32 or string.
        extra: Stored columns that the job does not use.
        bad: Shards that were left out, `uri: why`.
    """

    shards: tuple[Shard, ...]
    types: Mapping[str, pa.DataType]
    partition_types: Mapping[str, pa.DataType]
    extra: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


def scan(
    where: str | Sequence[str],
    needed: Sequence[str],
    *,
    skip: int = 0,
    cache: str | Path | None = None,
    filtered_by: Sequence[str] = (),
) -> ShardSet:
    """Lists shards, reads their footers in parallel and checks them against one schema.

    Args:
        where: What `trainer.storage.expand` takes.
        needed: The columns that every shard must have, with the same type in all.
        skip: How many bad shards may be left out; 0: the first one is an error.
        cache: Folder where footers are kept between runs; None: nowhere.
        filtered_by: Those of the columns whose statistics are read.

    Returns:
        The shards and their common types.

    Raises:
        BadShard: A shard that is not readable Parquet, lacks a column, or has another type.
        DataError: A column that no shard has, or no shard that can be read.
        StorageError: Nothing is stored there, or the store cannot be reached.
    """
    bad: list[str] = []

    def refuse(fault: BadShard) -> None:
        bad.append(f"{fault.where}: {fault.what}")
        if len(bad) > skip:
            if not skip:
                raise fault
            raise DataError(
                f"{len(bad)} bad shards, data.max_bad_shards allows {skip}: {fault.what}",
                where=fault.where,
                remedy="fix the shards, or raise data.max_bad_shards",
            ) from fault

    opened = list(_opened(_found(where), needed, refuse, cache))
    shards = _told_apart(_with_sound_statistics(opened, filtered_by, refuse))
    if not shards:
        raise DataError("no shard could be read", where=str(where), remedy="; ".join(bad[:3]))
    schemas = _schemas(shards, needed)
    partition_types = key_types_of(shards)
    stored = [n for n in needed if any(n in schema for schema in schemas)]
    for name in needed:
        if name not in stored and name not in partition_types:
            raise unknown_column(name, [*schemas[0], *partition_types])
    types = {name: _most_common(s[name] for s in schemas if name in s) for name in stored}
    good = []
    for shard, schema in zip(shards, schemas, strict=True):
        fault = _fault(shard, schema, types, [n for n in needed if n not in stored])
        refuse(fault) if fault else good.append(shard)
    extra = sorted(set().union(*({n for n in s if n not in types} for s in schemas)))
    return ShardSet(tuple(good), types, partition_types, tuple(extra), tuple(bad))


def _found(where: str | Sequence[str]) -> list[storage.StoredObject]:
    """Lists the objects; that there are none is a fault of the data, not of the store."""
    try:
        return storage.expand(where)
    except storage.NotFound as missing:
        raise DataError(missing.what, where=missing.where, remedy=missing.remedy) from missing


def unknown_column(name: str, known: Sequence[str]) -> DataError:
    """Returns the error for a column that the dataset does not have; it names the most similar one."""
    near = difflib.get_close_matches(name, known, n=1)
    shown = ", ".join(list(known)[:12]) + (" …" if len(known) > 12 else "")
    return DataError(
        f"the data has no column {name!r}",
        where="run.data",
        remedy=f"did you mean {near[0]!r}?" if near else f"its columns: {shown}",
    )


def _opened(
    listed: Sequence[storage.StoredObject],
    needed: Sequence[str],
    refuse: Callable[[BadShard], None],
    cache: str | Path | None,
) -> Iterable[Shard]:
    footers = Footers(cache, listed)

    def one(stored: storage.StoredObject) -> Shard | BadShard:
        try:
            metadata, digest = parsed_footer(stored, footers)
            rows = tuple(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups))
            shard = Shard(
                stored.uri, stored.name, stored.size_bytes, stored.version, rows,
                partitions=storage.partition_values(stored.uri),
                identity=f"{stored.uri.rpartition('/')[2]}:{digest}", metadata=metadata,
            )  # fmt: skip
            check_columns(shard, needed)
        except BadShard as fault:
            return fault
        return shard

    def some(part: Sequence[storage.StoredObject]) -> list[Shard | BadShard]:
        return [one(stored) for stored in part]

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="kfit-footer") as pool:
        parts = [listed[at : at + _AT_ONCE] for at in range(0, len(listed), _AT_ONCE)]
        for outcome in (shard for shards in pool.map(some, parts) for shard in shards):
            if isinstance(outcome, BadShard):
                refuse(outcome)
            else:
                yield outcome
    footers.store()


def check_columns(shard: Shard, columns: Iterable[str]) -> None:
    """Checks what the footer says of columns, so that `chunks` may be asked for them.

    Raises:
        BadShard: The footer is damaged.
    """
    try:
        check_chunks(shard.metadata, shard.size_bytes, shard.indices(columns))
    except (pa.ArrowException, OSError) as error:
        raise bad_shard(shard.uri, f"its footer is damaged: {str(error).splitlines()[0]}") from error


#: Identities of shards, and columns, whose statistics were read without harm in this process.
_sound: set[tuple[str, tuple[int, ...]]] = set()


def _with_sound_statistics(
    shards: list[Shard], names: Sequence[str], refuse: Callable[[BadShard], None]
) -> list[Shard]:
    """Refuses shards whose statistics cannot be read; returns the others."""
    keys = {shard.uri: (shard.identity, shard.indices(names)) for shard in shards}
    bad, unknown = set(), [s for s in shards if keys[s.uri][1] and keys[s.uri] not in _sound]
    for at, message in find_fatal_statistics([(s.metadata, keys[s.uri][1]) for s in unknown]):
        bad.add(unknown[at].uri)
        refuse(bad_shard(unknown[at].uri, f"the statistics in its footer are damaged: {message}"))
    _sound.update(keys[s.uri] for s in unknown if s.uri not in bad)
    return [s for s in shards if s.uri not in bad]


def _told_apart(shards: list[Shard]) -> list[Shard]:
    """Numbers shards of equal identity (same file name, same footer) in the order of their URIs."""
    seen: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    for shard in sorted(shards, key=lambda s: s.uri):
        numbers[shard.uri] = seen[shard.identity]
        seen[shard.identity] += 1
    return [replace(s, identity=f"{s.identity}:{numbers[s.uri]}") if numbers[s.uri] else s for s in shards]


def _schemas(shards: Sequence[Shard], needed: Sequence[str]) -> list[dict[str, pa.DataType]]:
    """Column -> type of each shard. Most shards share a schema, and comparing is cheaper than converting."""
    known: list[tuple[Any, bytes | None, dict[str, pa.DataType]]] = []
    out = []
    for shard in shards:
        schema = shard.metadata.schema
        # Parquet's schema knows no fixed lists, dictionaries or views: Arrow keeps its own beside it.
        stored = (shard.metadata.metadata or {}).get(b"ARROW:schema")
        types = next((t for s, own, t in known if own == stored and s.equals(schema)), None)
        if types is None:
            try:
                arrow = schema.to_arrow_schema()
            except (pa.ArrowException, OSError) as error:
                raise bad_shard(shard.uri, f"its schema cannot be read: {error}") from error
            check_unique(arrow.names, needed, shard.uri)
            types = {f.name: plain_type(f.type) for f in arrow}
            known.append((schema, stored, types))
        out.append(types)
    return out


def check_unique(names: Sequence[str], needed: Iterable[str], uri: str) -> None:
    """Refuses a shard that stores a needed column more than once, which is ambiguous.

    Raises:
        DataError: Names the column.
    """
    counts = Counter(names)
    for name in needed:
        if counts[name] > 1:
            raise DataError(
                f"column {name!r} is stored {counts[name]} times", where=uri, remedy="give each column its own name"
            )


def _fault(
    shard: Shard, schema: Mapping[str, pa.DataType], types: Mapping[str, pa.DataType], keys: Sequence[str]
) -> BadShard | None:
    for name, expected in types.items():
        stored_type = schema.get(name)
        if stored_type is None:
            return bad_shard(shard.uri, f"column {name!r} is missing; expected {expected} as in the other shards")
        if stored_type != expected:
            return bad_shard(shard.uri, f"column {name!r} is {stored_type}; expected {expected} as in the other shards")
    for key in keys:
        if key not in shard.partitions:
            return bad_shard(shard.uri, f"partition key {key!r} is missing in its path; expected {key}=…/")
    return None


def _most_common(types: Iterable[pa.DataType]) -> pa.DataType:
    return Counter(types).most_common(1)[0][0]


def key_types_of(shards: Sequence[Shard]) -> dict[str, pa.DataType]:
    """Arrow type of every hive key of the shards' paths: int64 or date32 where all values are such, else string."""
    values: dict[str, set[str]] = {}
    for shard in shards:
        for key in shard.partitions:
            values.setdefault(key, set())
            if (value := shard.partition_value(key)) is not None:
                values[key].add(value)
    return {key: _text_type(texts) for key, texts in values.items()}


def _text_type(values: set[str]) -> pa.DataType:
    for arrow in (pa.int64(), pa.date32()):
        try:
            if values and pa.array(sorted(values)).cast(arrow) is not None:
                return arrow
        except pa.ArrowInvalid:
            continue
    return pa.string()
