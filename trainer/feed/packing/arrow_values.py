"""Arrow columns as numpy values: how null, bool, decimal and time are converted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.errors import DataError
from trainer.schema import Column

_T = pa.types
#: What keras.layers.TextVectorization strips by default.
_PUNCTUATION = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'
#: Types whose memory is that of a numpy array.
_PLAIN = frozenset(t.id for t in (pa.float32(), pa.float64(), pa.int8(), pa.int16(), pa.int32(), pa.int64(),
                                  pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()))  # fmt: skip


def as_array(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Returns a column as one array."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    combined = values.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def numbers(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Returns a numeric column [N] in its own dtype; with nulls as floats with NaN.

    Bools are uint8, decimals float64, dates int32 days, timestamps int64 in their own unit.
    """
    array = as_array(values)
    if array.type.id in _PLAIN and not array.null_count:
        return np.asarray(array.to_numpy())
    if _T.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if _T.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif _T.is_decimal(kind):
        array = array.cast(pa.float64())
    elif _T.is_date(kind):
        array = array.cast(pa.date32()).cast(pa.int32())
    elif _T.is_timestamp(kind):
        array = array.cast(pa.int64())
    if array.null_count and not _T.is_floating(array.type):
        array = pc.cast(array, pa.float64(), safe=False)
    floats = np.asarray(array.to_numpy(zero_copy_only=False))
    return floats.astype(np.float32) if floats.dtype == np.float16 else floats


def vectors(column: Column, values: pa.ChunkedArray | pa.Array, where: str = "") -> np.ndarray:
    """Returns a vector column [N, size]; a null row is NaN throughout.

    Raises:
        DataError: A row with another number of elements.
    """
    array = as_array(values)
    valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(array).drop_null()
    wrong = lengths.filter(pc.not_equal(lengths, column.size))
    if len(wrong):
        raise DataError(
            f"column {column.name!r} has a row of {wrong[0].as_py()} elements; expected {column.size}",
            where=where, remedy="write vectors of one length, or set its size",
        )  # fmt: skip
    flat = numbers(array.flatten()).reshape(-1, column.size)
    if valid.all():
        return flat
    out = np.full((len(array), column.size), np.nan, flat.dtype if flat.dtype.kind == "f" else np.float64)
    out[valid] = flat
    return out


def encode(values: pa.ChunkedArray | pa.Array) -> tuple[list[Any], np.ndarray]:
    """Returns the distinct values of a categorical column, and the index of each row's value.

    Returns:
        Distinct values (str, or int for ints and bools), and int64 [N] indices into them; -1 is null.
        The empty string is null.
    """
    array = as_array(values)
    if not _T.is_dictionary(array.type):
        array = array.cast(pa.uint8()) if _T.is_boolean(array.type) else array
        array = array.dictionary_encode()
    distinct = _plain_values(array.dictionary)
    indices = array.indices.fill_null(-1) if array.indices.null_count else array.indices
    places = indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    missing = [distinct.index(nothing) for nothing in (None, "") if nothing in distinct]
    if missing:
        places = np.where(np.isin(places, missing), -1, places)
    return distinct, places


def _plain_values(values: pa.Array) -> list[Any]:
    """Python values; through numpy where that loses nothing, being several times faster."""
    if values.null_count or _T.is_boolean(values.type):
        return [int(v) if isinstance(v, bool) else v for v in values.to_pylist()]
    plain: list[Any] = values.to_numpy(zero_copy_only=False).tolist()
    return plain


def listed(column: Column, values: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The values of a sequence, or the words of a text, one after another.

    Words are those of keras.layers.TextVectorization: ASCII letters in lower case, without punctuation, cut
    at ASCII blanks; so that the exported model, which has that layer, finds the same ones.

    Returns:
        int64 [M]: the row of each, ascending; and the values [M].
    """
    array = as_array(values)
    if column.kind == "text":
        array = array.dictionary_decode() if _T.is_dictionary(array.type) else array
        plain = pc.replace_substring_regex(pc.ascii_lower(array.fill_null("")), _PUNCTUATION, "")
        array = pc.ascii_split_whitespace(plain)
    # Not list_parent_indices: of a fixed-size list it counts what stands below a null, which flatten leaves out.
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array)), lengths)
    flat = array.flatten()
    if column.kind == "text":
        words = pc.not_equal(flat, "")
        return rows[words.to_numpy(zero_copy_only=False)], flat.filter(words)
    return rows, flat


def places(rows: np.ndarray, count: int) -> np.ndarray:
    """Numbers the values within each row: int64 [M], given the row of each, int64 [M] ascending in [0, count)."""
    first = np.searchsorted(rows, np.arange(count))
    return np.asarray(np.arange(len(rows)) - first[rows], np.int64)


@contextlib.contextmanager
def valid_text(name: str, where: str) -> Iterator[None]:
    """Translates what Arrow and Python raise on text that is not UTF-8.

    Raises:
        DataError: Names the column and where it is.
    """
    try:
        yield
    except (UnicodeDecodeError, pa.ArrowException) as error:
        if not isinstance(error, UnicodeDecodeError) and "Wrapping" not in str(error) and "UTF8" not in str(error):
            raise
        raise DataError(
            f"column {name!r} holds text that is not UTF-8", where=where,
            remedy="write the text as UTF-8, or the column as binary and leave it out",
        ) from error  # fmt: skip


def is_text(arrow: pa.DataType) -> bool:
    """Whether a type holds strings."""
    return bool(_T.is_string(arrow) or _T.is_large_string(arrow) or _T.is_string_view(arrow))


def encoded_names(columns: Sequence[Column]) -> list[str]:
    """Stored string columns: Parquet's own dictionaries are kept for them."""
    return [c.name for c in columns if c.kind == "categorical" and c.stores_text and not c.partition]
