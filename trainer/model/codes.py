"""From raw values to the codes of categorical columns, in the graph and for single values.

The same codes as the feed packs: 0 missing, 1 unseen, 2… the vocabulary; hashed: 0 missing, 1… the buckets.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.schema import FIRST_VOCABULARY_CODE, MISSING_CODE, UNSEEN_CODE, CodeField

_INT64 = 2**63


def code_of(field: CodeField, value: str | float | bool) -> int:
    """The code of one value that is not null."""
    known = str(value) if field.column.dtype == "string" else int(value)
    if field.buckets:
        return 1 + int(tf.strings.to_hash_bucket_fast(str(known), field.buckets))
    try:
        return FIRST_VOCABULARY_CODE + [_as_stored(field, entry) for entry in field.vocabulary].index(known)
    except ValueError:
        return UNSEEN_CODE


def lookup(field: CodeField, raw: Any) -> Any:
    """Codes of a raw column, in the graph.

    Args:
        field: The column's place and vocabulary.
        raw: Symbolic [B], of sequences [B, size], of the column's dtype: an empty string or a NaN is null.

    Returns:
        int32 codes [B]; of sequences and texts [B, size].
    """
    if field.column.kind == "text":
        return ops.cast(_words(field)(raw), "int32")
    codes = _string_codes(field, raw) if field.column.dtype == "string" else _integer_codes(field, raw)
    codes = ops.cast(codes, "int32")
    if field.fill is None:
        return codes
    return ops.where(ops.equal(codes, MISSING_CODE), code_of(field, field.fill), codes)


def _words(field: CodeField) -> keras.layers.TextVectorization:
    """Its defaults are what the feed does: see `trainer.feed.packing.arrow_values.listed`."""
    vocabulary = [str(value) for value in field.vocabulary]
    return keras.layers.TextVectorization(output_sequence_length=field.column.size, vocabulary=vocabulary)


def _string_codes(field: CodeField, raw: Any) -> Any:
    if field.buckets:
        # One bin more than buckets: Keras gives bin 0 to the masked value.
        return keras.layers.Hashing(field.buckets + 1, mask_value="")(raw)
    vocabulary = [str(value) for value in field.vocabulary]
    if not vocabulary:
        return _unseen_unless(ops.equal(keras.layers.Hashing(2, mask_value="")(raw), 0))
    return keras.layers.StringLookup(vocabulary=vocabulary, mask_token="", num_oov_indices=1)(raw)


def _integer_codes(field: CodeField, raw: Any) -> Any:
    if not field.column.dtype.startswith("float"):
        return _present_codes(field, ops.cast(raw, "int64"))
    missing = ops.isnan(raw)
    present = ops.cast(ops.where(missing, ops.zeros_like(raw), raw), "int64")
    return ops.where(missing, MISSING_CODE, _present_codes(field, present))


def _present_codes(field: CodeField, values: Any) -> Any:
    if field.buckets:
        return ops.cast(keras.layers.Hashing(field.buckets)(values), "int32") + 1
    vocabulary = [_signed(_as_stored(field, value)) for value in field.vocabulary]
    if not vocabulary:
        return _unseen_unless(ops.zeros_like(values, dtype="bool"))
    layer = keras.layers.IntegerLookup(vocabulary=vocabulary, num_oov_indices=1, oov_token=_unused(vocabulary))
    return ops.cast(layer(values), "int32") + 1


def _unseen_unless(missing: Any) -> Any:
    """Codes of a column without a vocabulary (all null in training)."""
    return ops.where(missing, MISSING_CODE, UNSEEN_CODE)


def _as_stored(field: CodeField, value: str | int) -> str | int:
    return str(value) if field.column.dtype == "string" else int(value)


def _signed(value: str | int) -> int:
    """uint64 as the int64 of the same bits, which is what the cast in the graph makes of it."""
    return int(value) - 2 * _INT64 if int(value) >= _INT64 else int(value)


def _unused(vocabulary: list[int]) -> int:
    """A token for unseen values; Keras refuses one that is also in the vocabulary."""
    taken = set(vocabulary)
    return next(token for token in range(-1, -len(taken) - 3, -1) if token not in taken)
