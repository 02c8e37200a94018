"""Raw columns as the exported model takes them, streamed from shards; for evaluation and prediction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.config import Condition
from trainer.errors import DataError
from trainer.feed.packing.arrow_values import as_array, is_text, listed, numbers, places, valid_text, vectors
from trainer.feed.packing.decoder import Reader
from trainer.feed.shards.discovery import Shard, check_columns, check_unique, scan
from trainer.feed.shards.filter import make_filter
from trainer.schema import Column, Layout

#: float64 tells all integers up to here from each other.
_EXACT_FLOAT64 = 2**53


def raw_batches(
    layout: Layout,
    uris: str | Sequence[str],
    *,
    rows: int = 8192,
    extra: Sequence[str] = (),
    row_filter: Mapping[str, Condition] | None = None,
) -> Iterator[tuple[pa.Table, dict[str, np.ndarray]]]:
    """Streams shards as a model's inputs; memory is flat for any size.

    Args:
        layout: Says which columns the model takes.
        uris: What `trainer.storage.expand` takes.
        rows: Most rows of an item.
        extra: Columns beside the model's own. With none, items hold every column of the shard.
        row_filter: Conditions by column, as in `data.filter`: only rows that meet all of them are yielded.

    Yields:
        The source rows, at least one, and the model's inputs of the same rows by column name (see `raw_columns`).

    Raises:
        DataError: A shard cannot be read, or a column is not what the model was trained on.
        ConfigError: A column that the data does not have, or a condition that does not fit its column's type.
        StorageError: Nothing is stored there, or the store cannot be reached.
    """
    names = [c.name for c in layout.columns]
    filtered_by = list(row_filter or {})
    shard_set = scan(uris, list(dict.fromkeys([*names, *extra, *filtered_by])), filtered_by=filtered_by)
    # The keys of a single folder may all look like numbers where those of the training data did not.
    layout_types = {c.name: pa.type_for_alias(c.arrow) for c in layout.columns if c.partition}
    partition_types = {**shard_set.partition_types, **layout_types}
    condition = make_filter(row_filter or {}, {**partition_types, **shard_set.types})
    for shard in shard_set.shards:
        columns = list(dict.fromkeys([*names, *extra])) if extra else _all_columns(shard, names)
        reader = Reader(list(dict.fromkeys([*columns, *filtered_by])), partition_types)
        for group in range(len(shard.group_rows)):
            if condition is not None and not condition.may_hold(shard, group, partition_types):
                continue
            first = sum(shard.group_rows[:group])
            for table in reader.stream(shard, rows, groups=[group]):
                row_numbers = np.arange(first, first + len(table))
                first += len(table)
                if condition is not None:
                    mask = condition.mask(table)
                    table, row_numbers = table.filter(pa.array(mask)), row_numbers[mask]
                if len(table):
                    table = table.select(columns)
                    yield table, raw_columns(layout.columns, table, where=shard.uri, row_numbers=row_numbers)


def _all_columns(shard: Shard, names: Sequence[str]) -> list[str]:
    stored = shard.metadata.schema.to_arrow_schema().names
    check_unique(stored, stored, shard.uri)
    check_columns(shard, stored)
    return [*stored, *(n for n in names if n not in stored)]


def raw_columns(
    columns: Sequence[Column], table: pa.Table, where: str = "", row_numbers: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The exported model's inputs.

    Args:
        columns: What the model takes.
        table: Has these columns.
        where: Named in errors.
        row_numbers: int64 [N]: each row's number there; None: 0 to N - 1.

    Returns:
        By column name: an array [N] (vectors and sequences [N, size], ragged ones [N, longest]) of the column's
        dtype; strings are object arrays of str, null is "". NaN is null in float columns.

    Raises:
        DataError: A value that the column's dtype cannot hold.
    """
    raw = {}
    for column in columns:
        with valid_text(column.name, where):
            raw[column.name] = _raw(column, table.column(column.name), where, row_numbers)
    return raw


def _raw(column: Column, values: pa.ChunkedArray, where: str, row_numbers: np.ndarray | None) -> np.ndarray:
    array = as_array(values)
    if column.kind == "image":
        return _pixels(column, array, where, row_numbers)
    if column.kind == "sequence":
        return _padded(column, array, where)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if column.dtype == "string":
        if pa.types.is_list(array.type) or pa.types.is_binary(array.type):
            raise _unfit(column, array, where)
        return np.asarray(array.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False), object)
    if is_text(array.type) or (column.kind == "vector") != _is_list(array.type):
        raise _unfit(column, array, where)
    if pa.types.is_temporal(array.type):
        array = _as_trained(column, array, where)
    array = _exact(column, array, where)
    values_of_rows = vectors(column, array, where) if column.kind == "vector" else numbers(array)
    return _as_dtype(column, values_of_rows, where)


def _as_trained(column: Column, array: pa.Array, where: str) -> pa.Array:
    """A date or timestamp as the kind and unit of time that the model was trained on."""
    stamp = re.match(r"timestamp\[(\w+)", column.arrow)
    if not (pa.types.is_timestamp(array.type) or pa.types.is_date(array.type)):
        raise _unfit(column, array, where)
    if stamp is not None:
        return array.cast(pa.timestamp(stamp[1], getattr(array.type, "tz", None)), safe=False)
    if pa.types.is_timestamp(array.type) and column.arrow.startswith("date"):
        raise _unfit(column, array, where)  # its day depends on a time zone
    return array


def _pixels(column: Column, array: pa.Array, where: str, row_numbers: np.ndarray | None) -> np.ndarray:
    """Decoded images: uint8 [N, height, width, channels]."""
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        raise _unfit(column, array, where)
    if array.null_count:
        raise DataError(f"column {column.name!r} is null in {array.null_count} rows", where=where,
                        remedy="leave those rows out")  # fmt: skip
    # TensorFlow is imported where there are images to decode, not by everyone who reads raw columns.
    from trainer.feed.packing.images import decode_all

    return decode_all(column, array.to_pylist(), where, row_numbers)


def _padded(column: Column, array: pa.Array, where: str) -> np.ndarray:
    """Returns a sequence [N, size], a ragged one [N, longest], padded with "" or NaN."""
    text = column.dtype == "string"
    if not _is_list(array.type) or is_text(array.type.value_type) != column.stores_text:
        raise _unfit(column, array, where)
    rows, flat = listed(column, array)
    flat = flat.cast(pa.string()) if text else _exact(column, flat, where)
    at = places(rows, len(array))
    within = at < column.size
    width = max(1, int(at[within].max(initial=-1)) + 1) if column.ragged else column.size
    out = np.full((len(array), width), "", object) if text else np.full((len(array), width), np.nan)
    flat_values = flat.fill_null("").to_numpy(zero_copy_only=False) if text else numbers(flat)
    out[rows[within], at[within]] = flat_values[within]
    return out


def _exact(column: Column, array: pa.Array, where: str) -> pa.Array:
    """Returns the array, unless the input's dtype would round its integers, which must stay distinct as categories."""
    counted = column.kind in ("categorical", "sequence") and column.dtype == "float64"
    if counted and pa.types.is_integer(array.type) and len(array):
        ends = pc.min_max(array).as_py()
        if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) > _EXACT_FLOAT64:
            raise DataError(
                f"column {column.name!r} has integers beyond 2^53, which the model's input cannot hold", where=where,
                remedy="train the model on data that holds such values",
            )  # fmt: skip
    return array


def _is_list(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow))


def _as_dtype(column: Column, stored: np.ndarray, where: str) -> np.ndarray:
    dtype = np.dtype(column.dtype)
    if stored.dtype == dtype:
        return stored
    if dtype.kind != "f" and stored.dtype.kind == "f":
        missing = int(np.isnan(stored).sum())
        if missing:
            raise DataError(
                f"column {column.name!r} is null in {missing} rows; in training it never was", where=where,
                remedy="fill the column, or train with impute so that null has a meaning",
            )  # fmt: skip
    out = stored.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(out, stored):
        raise DataError(
            f"column {column.name!r} has values that {column.dtype} cannot hold", where=where,
            remedy=f"write the column as {column.arrow}, as in training",
        )  # fmt: skip
    return out


def _unfit(column: Column, array: Any, where: str) -> DataError:
    return DataError(
        f"column {column.name!r} is {array.type}; the model was trained on {column.arrow}", where=where,
        remedy=f"write the column as {column.arrow}",
    )  # fmt: skip
