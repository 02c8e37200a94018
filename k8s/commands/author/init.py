"""`kfit init`: a job file from a Parquet schema and the first rows.

A column that no model should see, or that init cannot place safely, stands in the file as a comment with the reason,
so that a person decides.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from trainer import date_parts, storage
from trainer.errors import ConfigError, DataError
from trainer.feed.shards.column_chunks import check_chunks, find_fatal_statistics, statistics_of
from trainer.feed.shards.plain_types import plain_type

_MAGIC = b"PAR1"
#: So many compressed bytes of the first shard are read at most; where its first row group has more, init goes by
#: the schema alone.
_MOST_READ_BYTES = 64 * 1024**2
_SAMPLE_ROWS = 65_536
#: Fewer rows say little about how many values a column has.
_FEWEST_ROWS = 100
#: Integers of more values than this are amounts.
_MOST_CODES = 20
#: Rows that each code needs.
_ROWS_OF_A_CODE = 50
_YEARS = range(1900, 2101)
#: A text column with more values than this share of its rows names the row more than it describes it.
_MOST_VALUES = 0.5
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Guess:
    """What becomes of a column: the feature's settings, or (None) why it is left to a person."""

    settings: str | None
    why: str = ""


def job_file(data_uri: str, *, label: str, task: str | None, output: str, name: str) -> str:
    """The job file as YAML.

    Args:
        data_uri: A folder, an object or a glob.
        label: Column to predict.
        task: A task of the job file; None infers it from the label's type where that is certain.
        output: Where runs write.
        name: The job's name.

    Raises:
        ConfigError: The label is no column, or its type leaves the task open.
        DataError: The first shard is not Parquet.
        StorageError: No Parquet there, or the store refuses.
    """
    shard = next((s for s in storage.expand(data_uri) if s.size_bytes), None)
    if shard is None:
        raise DataError("every shard has zero bytes", where=data_uri, remedy="write the data again")
    metadata = read_footer(shard)
    schema = metadata.schema.to_arrow_schema()
    if label not in schema.names:
        raise ConfigError(
            f"no column {label!r}", where=shard.uri, remedy=f"--label is one of: {', '.join(schema.names)}"
        )
    nulls = nulls_by_column(metadata)
    sample = read_sample(shard, metadata)
    task = task or infer_task(schema.field(label), None if sample is None else sample.column(label))
    guesses = {
        f.name: guess(f, nulls.get(f.name, 0), None if sample is None else sample.column(f.name))
        for f in schema
        if f.name != label
    }
    guesses |= {key: Guess(None, "a hive partition") for key in storage.partition_values(shard.name) if key != label}
    if not any(g.settings for g in guesses.values()):
        raise ConfigError("no column beside the label that can be a feature", where=shard.uri)
    return _yaml(data_uri, label, task, output, name, guesses)


def read_footer(shard: storage.StoredObject) -> pq.FileMetaData:
    """Reads a shard's footer alone: two small reads, however large the shard is."""
    size = shard.size_bytes
    tail = storage.read(shard.uri, max(0, size - 8), size)
    if len(tail) < 8 or tail[4:] != _MAGIC:
        raise DataError("not Parquet: its last bytes are not PAR1", where=shard.uri, remedy="write the shard again")
    length = int(struct.unpack("<I", tail[:4])[0])
    footer = storage.read(shard.uri, max(0, size - 8 - length), size)
    try:
        metadata = pq.read_metadata(pa.BufferReader(_MAGIC + footer))
        check_chunks(metadata, size, range(metadata.num_columns))
        return metadata
    except (pa.ArrowException, OSError) as broken:
        raise DataError(f"unreadable footer: {broken}", where=shard.uri, remedy="write the shard again") from broken


def read_sample(shard: storage.StoredObject, metadata: pq.FileMetaData) -> pa.Table | None:
    """Rows of a shard's first row groups, evenly spaced; None where they are too large, or do not decode."""
    groups = _first_groups(metadata)
    if not groups:
        return None
    spans = [_span(metadata.row_group(g)) for g in groups]
    start, stop = min(first for first, _ in spans), max(last for _, last in spans)
    sparse = mmap.mmap(-1, shard.size_bytes)  # pages that nobody writes take no memory
    sparse[start:stop] = storage.read(shard.uri, start, stop)
    try:
        table = pq.ParquetFile(pa.BufferReader(sparse), metadata=metadata).read_row_groups(groups)
    except (pa.ArrowException, OSError):
        return None  # `trainer check` names the fault
    every = max(1, -(-len(table) // _SAMPLE_ROWS))
    return table.take(pa.array(range(0, len(table), every), pa.int64()))


def _first_groups(metadata: pq.FileMetaData) -> list[int]:
    """The first row groups that have no more than `_MOST_READ_BYTES` together."""
    groups, size = [], 0
    for g in range(metadata.num_row_groups):
        start, stop = _span(metadata.row_group(g))
        size += stop - start
        if size > _MOST_READ_BYTES:
            break
        groups.append(g)
    return groups


def _span(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Where a row group's bytes begin and end in its file."""
    chunks = [group.column(c) for c in range(group.num_columns)]
    starts = [min(c.data_page_offset, c.dictionary_page_offset or c.data_page_offset) for c in chunks]
    return min(starts), max(start + c.total_compressed_size for start, c in zip(starts, chunks, strict=True))


def nulls_by_column(metadata: pq.FileMetaData) -> dict[str, int]:
    """Nulls of every flat column, as far as the footer's statistics tell; nothing where they are damaged."""
    indices = range(metadata.num_columns)
    if any(find_fatal_statistics([(metadata, indices)])):
        return {}
    counts: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for index in indices:
            known = statistics_of(metadata, group, index)
            if known is not None and known.has_null_count:
                path = metadata.schema.column(index).path
                counts[path] = counts.get(path, 0) + known.null_count
    return counts


def infer_task(label: pa.Field, values: pa.ChunkedArray | None = None) -> str:
    """The task that a label's type, or its first values, leave no doubt about.

    Raises:
        ConfigError: They leave it open.
    """
    kind = plain_type(label.type)
    if types.is_list(kind) and (types.is_string(kind.value_type) or types.is_integer(kind.value_type)):
        return "multilabel"
    enough = values is not None and len(values) >= _FEWEST_ROWS and not types.is_nested(kind)
    distinct = set(values.unique().drop_null().to_pylist()) if enough and values is not None else set()
    if types.is_boolean(kind) or distinct == {0, 1}:
        return "binary"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "regression"
    # Two integers other than 0 and 1 are two classes: nobody learns an amount that has two values.
    if types.is_string(kind) or (types.is_integer(kind) and len(distinct) == 2):
        return "multiclass"
    if values is not None and types.is_integer(kind) and len(distinct) > max(100, len(values) // 10):
        return "regression"
    if not types.is_integer(kind):
        raise ConfigError(
            f"no task predicts a column of type {label.type}",
            where=label.name,
            remedy="--label is a bool, a number, a string, or a list of strings or integers",
        )
    raise ConfigError(
        f"a label of type {label.type} may be a class or an amount",
        where=label.name,
        remedy="say --task binary or multiclass for classes, regression for amounts, count for numbers of events",
    )


def guess(field: pa.Field, nulls: int, values: pa.ChunkedArray | None = None) -> Guess:
    """What a column's name, Arrow type and first values say about it."""
    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    nans = values is not None and types.is_floating(kind) and pc.any(pc.is_nan(values)).as_py()
    # A column of which no null was seen may lack a value where the model is asked; without a stand-in it has no answer.
    missing = ", impute: mean, indicator: true" if nulls or nans else ", impute: mean"
    if re.search(r"(^|_)(id|uuid|key)$", field.name, re.IGNORECASE):
        return Guess(None, "an identifier by its name")
    if values is not None and len(values) >= _FEWEST_ROWS and (why := _useless(kind, values)):
        return Guess(None, why)
    if types.is_boolean(kind) or (types.is_integer(kind) and values is not None and is_code(values)):
        return Guess("{kind: categorical}")
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return Guess(f"{{kind: numeric{missing}}}")
    if types.is_string(kind) or types.is_large_string(kind):
        return Guess("{kind: categorical}")
    if types.is_fixed_size_list(kind) and (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)):
        return Guess(f"{{kind: vector, size: {kind.list_size}}}")
    if types.is_date(kind) or types.is_timestamp(kind):
        return _dates(kind, nulls, values)
    return Guess(None, f"{kind} is no column kind")


def _dates(kind: pa.DataType, nulls: int, values: pa.ChunkedArray | None) -> Guess:
    """The parts that the rows which were read can teach: all of a cycle must occur in them."""
    parts = date_parts.default_parts(types.is_timestamp(kind))
    if values is not None and len(values) >= _FEWEST_ROWS:
        whole = values.drop_null().combine_chunks().cast(pa.date32() if types.is_date(kind) else kind)
        raw = whole.cast(pa.int32() if types.is_date(kind) else pa.int64()).to_numpy()
        columns = date_parts.packed_parts(raw, str(kind), parts).T
        distinct = {part: len(set(column.tolist())) for part, column in zip(parts, columns, strict=True)}
        needed = {"year": 2, "month": 12, "weekday": 7, "hour": 2}
        parts = tuple(part for part in parts if distinct[part] >= needed[part])
    if not parts:
        return Guess(None, "its dates are too near each other in the rows that were read; kind: date has more parts")
    missing = ", impute: median, indicator: true" if nulls else ", impute: median"
    return Guess(f"{{kind: date, parts: [{', '.join(parts)}]{missing}}}")


def is_code(values: pa.ChunkedArray) -> bool:
    """Whether integers name things instead of counting or measuring them.

    They do where there are at most 20 different ones, and either

    * all are frequent (in at least 50 rows), and there are two, or they run from 0 or 1 without a gap: a count, such
      as rooms, has a thin tail, or
    * the frequent ones have gaps now wider, now narrower, and are not all years (1900 to 2100).

    Runs that start elsewhere are years, ages or grades; gaps that are equal or only grow are doses, or amounts rounded
    to 1, 10, 100.
    """
    if len(values) < _FEWEST_ROWS:
        return False
    rows = {c["values"]: c["counts"] for c in values.drop_null().value_counts().to_pylist()}
    frequent = sorted(value for value, count in rows.items() if count >= _ROWS_OF_A_CODE)
    if len(rows) > _MOST_CODES or len(frequent) < 2:
        return False
    gaps = [after - before for before, after in pairwise(frequent)]
    if gaps != sorted(gaps):
        return not all(value in _YEARS for value in frequent)
    return len(frequent) == len(rows) and (len(rows) == 2 or (set(gaps) == {1} and frequent[0] in (0, 1)))


def _useless(kind: pa.DataType, values: pa.ChunkedArray) -> str:
    """Why no model should see a column; "" where nothing speaks against it."""
    text = types.is_string(kind) or types.is_large_string(kind)
    if not (text or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)):
        return ""
    distinct = len(values.unique())
    if distinct == 1:
        return "the same value in every row that was read"
    if text and distinct > _MOST_VALUES * len(values):
        return f"{distinct:,} values in {len(values):,} rows; kind: text reads its words"
    if types.is_integer(kind) and not values.null_count and distinct == len(values):
        steps = pc.unique(pc.pairwise_diff(values.combine_chunks()).drop_null())
        if len(steps) == 1:
            return "it counts the rows"
    return ""


def _yaml(data_uri: str, label: str, task: str, output: str, name: str, guesses: dict[str, Guess]) -> str:
    lines = [
        f"name: {_scalar(name)}",
        "run:",
        "  data:",
        f"    train: {_scalar(data_uri)}",
        "    validation: {fraction: 0.1}",
        f"    label: {_scalar(label)}",
        "    features:   # remove what is not known when the model is asked",
        *(f"      {_scalar(n)}: {g.settings}" for n, g in guesses.items() if g.settings),
        *(f"      # {_scalar(n)}: left out, {g.why}" for n, g in guesses.items() if not g.settings),
        f"  task: {task}",
        "  model: {builtin: mlp}   # epochs, batch size and learning rate follow the number of rows: docs/job-file.md",
        "  output:",
        f"    uri: {_scalar(output)}",
    ]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """Text as YAML reads it back: JSON's quoting is YAML's wherever a plain word might mean something else."""
    plain = _PLAIN_KEY.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)
