"""From raw values to the codes of categorical columns, in the graph and for single values.

The same codes as the feed packs: 0 missing, 1 unseen, 2… the vocabulary; hashed: 0 missing, 1… the buckets.

Columns of one kind share their operations, so that the graph of a set with thousands of columns stays small: one table
maps every value of any of them to its place in the union of their vocabularies, and a second one maps the pair of
column and place to the column's own code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.schema import FIRST_VOCABULARY_CODE, MISSING_CODE, UNSEEN_CODE, CodeField

_INT64 = 2**63
#: Stands in the table of columns that have no vocabulary; a value like it counts as unseen all the same.
_NO_VALUE = "[NONE]"


def code_of(field: CodeField, value: str | float | bool) -> int:
    """The code of one value that is not null."""
    known: str | int = str(value) if field.column.stores_text else int(value)
    if field.buckets:
        return 1 + int(tf.strings.to_hash_bucket_fast(str(known), field.buckets))
    try:
        return FIRST_VOCABULARY_CODE + [str(entry) for entry in field.vocabulary].index(str(known))
    except ValueError:
        return UNSEEN_CODE


def shares_lookup(field: CodeField) -> tuple[object, ...]:
    """Columns with equal keys can be given to `lookup` together."""
    alone = field.column.name if field.column.kind == "text" or field.column.ragged else ""
    return field.column.dtype, field.buckets, alone


def lookup(fields: Sequence[CodeField], raw: Any) -> Any:
    """Codes of raw columns, in the graph.

    Args:
        fields: The columns' places and vocabularies; all with the same `shares_lookup`.
        raw: Symbolic [B, S] of the columns' dtype, S the sum of their sizes, in this order (a ragged sequence [B, any];
            one text [B]). An empty string or a NaN is null.

    Returns:
        int32 codes [B, S]; of a text [B, size].
    """
    if fields[0].column.kind == "text":
        return ops.cast(_words(fields[0])(raw), "int32")
    # [S]: which column each place belongs to; of a single column [1], whatever its width.
    owners = np.repeat(np.arange(len(fields)), [f.column.size for f in fields]) if len(fields) > 1 else np.zeros(1, int)
    text = fields[0].column.dtype == "string"
    codes = _text_codes(fields, owners, raw) if text else _integer_codes(fields, owners, raw)
    fills = np.array([MISSING_CODE if f.fill is None else code_of(f, f.fill) for f in fields], np.int32)[owners]
    return ops.where(ops.equal(codes, MISSING_CODE), fills, codes) if fills.any() else codes


def _words(field: CodeField) -> keras.layers.TextVectorization:
    """Its defaults are what the feed does: see `trainer.feed.packing.arrow_values.listed`."""
    vocabulary = [str(value) for value in field.vocabulary]
    return keras.layers.TextVectorization(output_sequence_length=field.column.size, vocabulary=vocabulary)


def _text_codes(fields: Sequence[CodeField], owners: np.ndarray, raw: Any) -> Any:
    """int32 [B, S]."""
    if fields[0].buckets:
        # One bin more than buckets: Keras gives bin 0 to the masked value.
        return ops.cast(keras.layers.Hashing(fields[0].buckets + 1, mask_value="")(raw), "int32")
    vocabularies = [[str(value) for value in field.vocabulary] for field in fields]
    union = _union(vocabularies)
    known = set(union)
    unseen = next(token for i in itertools.count() if (token := f"[UNSEEN {i}]") not in known)
    layer = keras.layers.StringLookup(
        vocabulary=union or [_NO_VALUE], mask_token="", num_oov_indices=1, oov_token=unseen
    )
    return _own_codes(vocabularies, union, owners, layer(raw))


def _integer_codes(fields: Sequence[CodeField], owners: np.ndarray, raw: Any) -> Any:
    """int32 [B, S]."""
    missing = ops.isnan(raw) if fields[0].column.dtype.startswith("float") else None
    values = ops.cast(raw if missing is None else ops.where(missing, ops.zeros_like(raw), raw), "int64")
    codes = _present_codes(fields, owners, values)
    return codes if missing is None else ops.where(missing, MISSING_CODE, codes)


def _present_codes(fields: Sequence[CodeField], owners: np.ndarray, values: Any) -> Any:
    if fields[0].buckets:
        return ops.cast(keras.layers.Hashing(fields[0].buckets)(values), "int32") + 1
    vocabularies = [[_signed(int(value)) for value in field.vocabulary] for field in fields]
    union = _union(vocabularies)
    layer = keras.layers.IntegerLookup(vocabulary=union or [0], num_oov_indices=1, oov_token=_unused(union or [0]))
    return _own_codes(vocabularies, union, owners, layer(values) + 1)


def _own_codes(vocabularies: Sequence[Sequence[Any]], union: Sequence[Any], owners: np.ndarray, places: Any) -> Any:
    """From places in the union to the codes of each column.

    Args:
        vocabularies: Of each column, in the order of its codes.
        union: All their values.
        owners: [S] or [1]: the column of each place.
        places: [B, S] int64: 0 missing, 1 in none of the vocabularies, 2… the union.
    """
    if len(vocabularies) == 1:
        return ops.cast(places if union else ops.minimum(places, UNSEEN_CODE), "int32")
    width = len(union) + FIRST_VOCABULARY_CODE
    place_of = {value: place for place, value in enumerate(union, FIRST_VOCABULARY_CODE)}
    pairs = [place_of[value] + width * owner for owner, known in enumerate(vocabularies) for value in known]
    # Pairs stand in the order of columns and, within one, of codes: the index among them tells the code.
    before = np.cumsum([0, *map(len, vocabularies)])[:-1]
    layer = keras.layers.IntegerLookup(vocabulary=pairs or [-2], num_oov_indices=1)
    index = ops.cast(layer(places + (width * owners).astype(np.int64)), "int32")
    known = index + (FIRST_VOCABULARY_CODE - 1 - before[owners]).astype(np.int32)
    codes = ops.where(ops.equal(index, 0), UNSEEN_CODE, known)
    return ops.where(ops.equal(places, 0), MISSING_CODE, codes)


def _union(vocabularies: Iterable[Sequence[Any]]) -> list[Any]:
    """Every value once, in the order of its first appearance."""
    return list(dict.fromkeys(itertools.chain.from_iterable(vocabularies)))


def _signed(value: int) -> int:
    """uint64 as the int64 of the same bits, which is what the cast in the graph makes of it."""
    return value - 2 * _INT64 if value >= _INT64 else value


def _unused(vocabulary: Sequence[int]) -> int:
    """A token for unseen values; Keras refuses one that is also in the vocabulary."""
    taken = set(vocabulary)
    return next(token for token in range(-1, -len(taken) - 3, -1) if token not in taken)
