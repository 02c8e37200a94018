"""Statistics of one column over a part of its rows: moments, counts, nulls, and where the first bad row is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.feed.packing.arrow_values import encode, listed, numbers, vectors
from trainer.feed.packing.image_sizes import decoding_bytes
from trainer.feed.shards.discovery import Shard
from trainer.feed.statistics.accumulators import ColumnPart, Moments
from trainer.schema import Column

#: float64 tells all integers up to here from each other.
_EXACT_FLOAT64 = 2**53
#: How files of PNG, JPEG, GIF and BMP begin.
_IMAGE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")


@dataclass(frozen=True)
class Place:
    """The rows of a part: indices of its rows and of its sampled rows in the table, which begins at row `start`."""

    shard: Shard
    start: int
    rows: np.ndarray
    sampled: np.ndarray

    def first(self, flags: np.ndarray) -> str:
        """Returns `<uri> row <number>` of the first of the part's rows that is flagged, or ""."""
        hit = self.rows[flags[self.rows]]
        return f"{self.shard.uri} row {self.start + int(hit[0])}" if len(hit) else ""


def column_part(column: Column, values: pa.ChunkedArray, place: Place) -> ColumnPart:
    """Returns the statistics of a feature column."""
    if column.kind == "categorical":
        return _counted_part(values, place)
    if column.kind == "image":
        return _image_part(column, values, place)
    if column.kind in ("sequence", "text"):
        return _listed_part(column, values, place)
    where = f"{place.shard.uri}"
    as_numbers = vectors(column, values, where) if column.kind == "vector" else numbers(values)
    return numeric_part(as_numbers, values, place)


def numeric_part(as_numbers: np.ndarray, values: pa.ChunkedArray, place: Place) -> ColumnPart:
    """Returns moments, sampled values, and the counts of values that are null or not finite.

    Args:
        as_numbers: [N] or [N, size]: the values as numbers.
        values: The same values as stored; only they tell null from NaN.
        place: Which rows belong to the part.
    """
    of_split = as_numbers if len(place.rows) == len(as_numbers) else as_numbers[place.rows]
    moments = Moments.of(of_split)
    part = ColumnPart(rows=len(place.rows), moments=moments)
    flat = as_numbers if as_numbers.ndim == 1 else as_numbers[:, 0]
    part.lowest, part.highest = _stored_range(moments, values, place.rows)
    part.sample = [flat[place.sampled].astype(np.float64)] if as_numbers.ndim == 1 else []
    if as_numbers.dtype.kind != "f":
        return part
    finite = np.isfinite(of_split)
    if finite.all() and not values.null_count:
        return part
    null = np.asarray(values.is_null().to_numpy(), bool) if values.null_count else np.zeros(len(as_numbers), bool)
    present = ~null if as_numbers.ndim == 1 else ~null[:, None]
    nan, inf = np.isnan(as_numbers) & present, np.isinf(as_numbers)
    part.nulls = int(null[place.rows].sum())
    part.nans, part.infinities = int(nan[place.rows].sum()), int(inf[place.rows].sum())
    bad = inf | nan
    part.first_null = place.first(null)
    part.first_bad = place.first(bad if bad.ndim == 1 else bad.any(axis=1))
    return part


def _stored_range(moments: Moments, values: pa.ChunkedArray, rows: np.ndarray) -> tuple[float, float]:
    """Returns the least and greatest value; the stored ones of integers that float64 rounds to one value."""
    lowest, highest = moments.minimum, moments.maximum
    whole = pa.types.is_integer(values.type) or pa.types.is_timestamp(values.type)
    if lowest == highest and abs(lowest) > _EXACT_FLOAT64 and whole:
        ends = pc.min_max(values.take(pa.array(rows)).cast(pa.decimal128(20)
                          if pa.types.is_uint64(values.type) else pa.int64()))  # fmt: skip
        lowest, highest = int(ends["min"].as_py()), int(ends["max"].as_py())
    return lowest, highest


def _counted_part(values: pa.ChunkedArray, place: Place) -> ColumnPart:
    distinct, places = encode(values)
    counts = np.bincount(places[place.rows] + 1, minlength=len(distinct) + 1)
    part = ColumnPart(rows=len(place.rows), nulls=int(counts[0]))
    part.counts = Counter({v: int(n) for v, n in zip(distinct, counts[1:], strict=True) if n})
    if part.nulls:
        part.first_null = place.first(places < 0)
    return part


def _image_part(column: Column, values: pa.ChunkedArray, place: Place) -> ColumnPart:
    """Counts nulls and finds the largest image. A value that does not begin as an image counts as NaN."""
    null = values.is_null().to_numpy()
    known = np.zeros(len(null), bool)
    for signature in _IMAGE_SIGNATURES:
        known |= pc.starts_with(values, signature).fill_null(False).to_numpy()
    part = ColumnPart(rows=len(place.rows), nulls=int(null[place.rows].sum()), first_null=place.first(null))
    stored = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    sizes = [decoding_bytes(stored[row], column.shape[-1]) if known[row] else 0 for row in place.rows]
    if sizes:
        largest = int(np.argmax(sizes))
        part.highest = float(sizes[largest])
        part.largest_image = f"{place.shard.uri} row {place.start + int(place.rows[largest])}"
    broken = ~known & ~null
    part.nans, part.first_bad = int(broken[place.rows].sum()), place.first(broken)
    return part


def _listed_part(column: Column, values: pa.ChunkedArray, place: Place) -> ColumnPart:
    """Counts the values of a sequence or the words of a text; an empty row is not null."""
    rows, flat = listed(column, values)
    null = values.is_null().to_numpy()
    chosen = np.zeros(len(null), bool)
    chosen[place.rows] = True
    distinct, at = encode(flat)
    counts = np.bincount(at[chosen[rows]] + 1, minlength=len(distinct) + 1)
    part = ColumnPart(rows=len(place.rows), nulls=int(null[place.rows].sum()), first_null=place.first(null))
    part.counts = Counter({v: int(n) for v, n in zip(distinct, counts[1:], strict=True) if n})
    return part


def label_part(task: str, values: pa.ChunkedArray, place: Place) -> ColumnPart:
    """Counts the values of a binary, multiclass or multilabel label."""
    if task == "multilabel":
        return _listed_part(Column("", "sequence", "", ""), values, place)
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        as_numbers = numbers(values)
        null = np.isnan(as_numbers)
        distinct, counts = np.unique(as_numbers[place.rows][~null[place.rows]], return_counts=True)
        part = ColumnPart(rows=len(place.rows), nulls=int(null[place.rows].sum()), first_null=place.first(null))
        part.counts = Counter(
            {int(v) if float(v).is_integer() else float(v): int(n) for v, n in zip(distinct, counts, strict=True)}
        )
        return part
    return _counted_part(values, place)
