"""Which rows train and which validate: a pure function of identities, positions and values.

A row is identified by its shard (`Shard.identity`) and its position there, so it falls into the same split in every
run, on every machine, for a copy of the dataset elsewhere, and whether a folder, a glob or a list named its shard.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.errors import ConfigError, DataError

SplitName = Literal["train", "validation"]

_US_PER_DAY = 86_400_000_000
_NULL = "\0null"


@dataclass(frozen=True)
class SplitRule:
    """How rows are split.

    Attributes:
        kind: none: all rows of a shard belong to one split; position, value: by hash; days: by date.
        fraction: Share that validates.
        by: Column of value and days.
        cutoff_day: days: the first day, since 1970, that validates.
    """

    kind: Literal["none", "position", "value", "days"] = "none"
    fraction: float = 0.0
    by: str | None = None
    cutoff_day: int = 0


def splitmix64(values: np.ndarray) -> np.ndarray:
    """Mixes uint64 values (Steele et al. 2014, SplitMix64's finaliser).

    Args:
        values: uint64 [N].

    Returns:
        uint64 [N], practically independent and uniform.
    """
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def text_hash(text: str) -> int:
    """Returns a hash of 64 bits that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def row_hashes(identity: str, start: int, rows: int, purpose: str) -> np.ndarray:
    """Hashes rows by their position.

    Args:
        identity: The shard's.
        start: First row, counted in the shard.
        rows: How many.
        purpose: Keeps hashes for different uses apart.

    Returns:
        uint64 [rows].
    """
    base = np.uint64(text_hash(f"{purpose}:{identity}"))
    return splitmix64(base ^ splitmix64(np.arange(start, start + rows, dtype=np.uint64)))


def position_counts(identity: str, group_rows: Sequence[int], fraction: float) -> tuple[int, ...]:
    """Returns the validation rows of each row group, by systematic sampling: a shard has its share within one row.

    Args:
        identity: `Shard.identity`: adding or removing shards does not move the rows of others.
        group_rows: Rows of each row group.
        fraction: Share that validates.

    Returns:
        One count a row group.
    """
    shift = text_hash(f"shift:{identity}") / 2**64
    ends = np.cumsum([0, *group_rows])
    cuts = np.floor(ends * fraction + shift).astype(np.int64)
    return tuple(int(k) for k in np.minimum(np.diff(cuts), group_rows))


def position_mask(identity: str, start: int, rows: int, count: int) -> np.ndarray:
    """The validation rows of a row group: the `count` smallest hashes.

    Returns:
        bool [rows], true for validation.
    """
    mask = np.zeros(rows, bool)
    if count:
        mask[np.argpartition(row_hashes(identity, start, rows, "split"), count - 1)[:count]] = True
    return mask


def value_mask(values: pa.ChunkedArray, fraction: float) -> np.ndarray:
    """The validation rows by a hash of their value; null is a value.

    Returns:
        bool [rows], true for validation.
    """
    encoded = _combined(values).dictionary_encode()
    limit = int(fraction * 2**64)
    chosen = np.array([text_hash(f"value:{_text(v)}") < limit for v in encoded.dictionary.to_pylist()] + [False])
    chosen[-1] = text_hash(f"value:{_NULL}") < limit
    codes = encoded.indices.fill_null(len(chosen) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(chosen[codes], bool)


def _text(value: Any) -> str:
    return _NULL if value is None else str(value)


def day_numbers(values: pa.ChunkedArray) -> np.ndarray:
    """Days since 1970 (UTC) of dates and timestamps.

    Returns:
        int64 [rows].

    Raises:
        DataError: A null, which belongs to neither split.
    """
    array = _combined(values)
    if array.null_count:
        raise DataError(
            f"{array.null_count} nulls in the column that the split goes by", where="run.data.validation.by",
            remedy="fill them, or split by another column",
        )  # fmt: skip
    if pa.types.is_timestamp(array.type):
        micros = pc.cast(array, pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()).to_numpy()
        return np.asarray(np.floor_divide(micros, _US_PER_DAY), np.int64)
    return np.asarray(array.cast(pa.date32()).cast(pa.int32()).to_numpy(), np.int64)


def first_validation_day(days: Iterable[int], share: float) -> int:
    """The day from which on rows validate, so that `share` of the days do, rounded up.

    Raises:
        ConfigError: Then no day would be left for training.
    """
    known = sorted(set(days))
    newest = math.ceil(share * len(known) - 1e-9)
    if newest >= len(known):
        raise ConfigError(
            f"newest: {share} of {len(known)} days leaves none to train on", where="run.data.validation",
            remedy="use a smaller share, or more days",
        )  # fmt: skip
    return known[len(known) - newest]


def _combined(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
