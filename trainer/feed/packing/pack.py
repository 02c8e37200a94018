"""Packs a table into rows: a matrix of numbers, a matrix of codes, labels and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from trainer.date_parts import packed_parts
from trainer.errors import DataError
from trainer.feed.packing.arrow_values import as_array, encode, encoded_names, listed, numbers, places, vectors
from trainer.feed.packing.buffers import Rows
from trainer.feed.packing.transpose import Turner
from trainer.schema import (
    FIRST_VOCABULARY_CODE,
    MISSING_CODE,
    UNSEEN_CODE,
    CodeField,
    Column,
    LabelField,
    Layout,
    NumberField,
)

#: Vocabularies of integers that span no more than this are looked up in an array of at most 4 MiB.
_TABLE_VALUES = 2**20


class Packer:
    """Packs tables by a layout.

    Args:
        layout: The columns of a packed row.
        class_weight: Label index -> factor of the row's weight.
    """

    def __init__(self, layout: Layout, class_weight: Mapping[int, float] | None = None) -> None:
        self.layout = layout
        self._class_weight = dict(class_weight or {})
        self._codes = [_Codes(field) for field in layout.packed_codes]
        self._ragged = [_Codes(field) for field in layout.ragged]
        self._turn = Turner()

    @property
    def names(self) -> list[str]:
        """Columns that a table needs."""
        weight = [self.layout.sample_weight] if self.layout.sample_weight else []
        labels = [label.name for label in self.layout.labels]
        return list(dict.fromkeys([*(c.name for c in self.layout.columns), *labels, *weight]))

    @property
    def encoded(self) -> list[str]:
        """Columns to read as dictionaries, which is faster."""
        return encoded_names([f.column for f in self.layout.codes])

    def pack(self, table: pa.Table, out: Rows, keep: np.ndarray | None = None) -> None:
        """Packs the rows of a table.

        Args:
            table: Has at least `names`.
            out: K rows, all of them overwritten.
            keep: bool [len(table)], true for K rows; None: all rows.

        Raises:
            DataError: A vector of another length, or a label that is not one of the classes.
        """
        pick = None if keep is None else np.flatnonzero(keep)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        self._turn([(f.start, _numbers(f, columns[f.column.name])) for f in self.layout.numbers], out.numbers, pick)
        self._turn([(c.field.start, c.of(columns[c.field.column.name])) for c in self._codes], out.codes, pick)
        images = [as_array(columns[c.name]).to_numpy(zero_copy_only=False) for c in self.layout.images]
        for at, stored in enumerate([*images, *(c.bytes_of(columns[c.field.column.name]) for c in self._ragged)]):
            out.encoded[:, at] = stored if pick is None else stored[pick]
        for place in self.layout.targets:
            label = label_values(place.label, columns[place.label.name])
            place.labels(out.label)[:] = label if pick is None else label[pick]
        self._weigh(columns, out, pick)

    def _weigh(self, columns: Mapping[str, pa.ChunkedArray], out: Rows, pick: np.ndarray | None) -> None:
        out.weight[:] = 1.0
        weight = out.weight[:, 0]
        if self.layout.sample_weight:
            stored_weight = numbers(columns[self.layout.sample_weight])
            weight[:] = stored_weight if pick is None else stored_weight[pick]
        if self._class_weight:
            factors = np.ones(int(max(out.label.max(initial=0), max(self._class_weight))) + 1, np.float32)
            for index, factor in self._class_weight.items():
                factors[index] = factor
            weight *= factors[out.label.astype(np.int64)]


def _numbers(field: NumberField, values: pa.ChunkedArray) -> np.ndarray:
    """[N] or [N, size] of any dtype that casts to float32; null is NaN."""
    column = field.column
    if column.kind == "date":
        # As the exported model gets it: float64 rounds a nullable timestamp.
        return np.asarray(packed_parts(numbers(values).astype(column.dtype), column.arrow, column.parts))
    stored = vectors(column, values) if column.kind == "vector" else numbers(values)
    return stored.astype(np.float64) - field.offset if field.offset else stored


def label_values(label: LabelField, values: pa.ChunkedArray) -> np.ndarray:
    """Returns the label as the model learns it.

    Returns:
        float32 [N], minus the label's offset; int32 class indices [N] for multiclass; float32 [N, classes] for
        multilabel, 1 for each class of a row.

    Raises:
        DataError: A value that is not one of the classes.
    """
    if not label.classes:
        labels = numbers(values)
        return np.asarray(labels.astype(np.float64) - label.offset if label.offset else labels, np.float32)
    labels, unknown = classes_of(label, values)
    if unknown or (label.task == "multiclass" and (labels < 0).any()):
        bad = unknown[0] if unknown else None
        raise DataError(
            f"label value {bad!r} is none of the {len(label.classes)} classes of the training rows",
            where=f"column {label.name!r}", remedy="give the class training rows, or leave such rows out",
        )  # fmt: skip
    return labels


def classes_of(label: LabelField, values: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """A multiclass or multilabel label by its classes.

    Returns:
        int32 [N] class indices, -1 for null and for a value that is no class; multilabel float32 [N, classes]. And the
        values that are no class.
    """
    several = label.task == "multilabel"
    rows, flat = listed(Column(label.name, "sequence", "", ""), values) if several else (None, values)
    index = {value: i for i, value in enumerate(label.classes)}
    distinct, places = encode(flat)
    known = np.array([*(index.get(v, -1) for v in distinct), -1], np.int32)
    codes = np.asarray(known[places])
    unknown = [value for value in distinct if value not in index and value not in (None, "")]
    if rows is None:
        return codes, unknown
    hot = np.zeros((len(values), len(label.classes)), np.float32)
    hot[rows[codes >= 0], codes[codes >= 0]] = 1.0
    return hot, unknown


class _Codes:
    """Encodes one categorical column: work per distinct value, then one lookup per row."""

    def __init__(self, field: CodeField) -> None:
        self.field = field
        self._text = field.column.stores_text
        self._vocabulary = {self._stored(v): i for i, v in enumerate(field.vocabulary, FIRST_VOCABULARY_CODE)}
        self._null = MISSING_CODE if field.fill is None else int(self._known([self._stored(field.fill)])[0])
        self._table = None if self._text or field.buckets else _Table.of(self._vocabulary)

    def _stored(self, value: Any) -> str | int:
        return str(value) if self._text else int(value)

    def of(self, values: pa.ChunkedArray) -> np.ndarray:
        """Returns int32 codes [N]; of a sequence or a text [N, size], 0 after the last."""
        column = self.field.column
        if column.kind == "categorical":
            return self._of_values(values)
        out = np.full((len(values), column.size), MISSING_CODE, np.int32)
        rows, at, codes = self._kept(values)
        out[rows, at] = codes
        return out

    def bytes_of(self, values: pa.ChunkedArray) -> np.ndarray:
        """A ragged sequence: for each row the bytes of its int32 codes, little-endian: objects [N]."""
        rows, _, codes = self._kept(values)
        ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(values)))]) * 4
        buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(codes.astype("<i4"))]
        binary = pa.Array.from_buffers(pa.large_binary(), len(values), buffers)
        return np.asarray(binary.to_numpy(zero_copy_only=False), object)

    def _kept(self, values: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first `size` values of every row: row, place in the row, and code, each [M]."""
        rows, flat = listed(self.field.column, values)
        at = places(rows, len(values))
        within = at < self.field.column.size
        return rows[within], at[within], self._of_values(flat)[within]

    def _of_values(self, values: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """int32 codes [N]."""
        if self._table is not None and (codes := self._table.codes(as_array(values), self._null)) is not None:
            return codes
        distinct, places = encode(values)
        known = np.append(self._known(distinct), np.int32(self._null)).astype(np.int32)
        return np.take(known, places, mode="wrap")

    def _known(self, distinct: Sequence[Any]) -> np.ndarray:
        if self.field.buckets:
            return hashed(distinct, self.field.buckets)
        return np.fromiter(map(self._vocabulary.get, distinct, repeat(UNSEEN_CODE)), np.int32, len(distinct))


@dataclass(frozen=True)
class _Table:
    """The codes of a range of integers as an array that is indexed by value.

    Attributes:
        first: The integer of the second entry.
        known: int32: a code for each integer; the first entry stands for all below, the last for all above.
    """

    first: int
    known: np.ndarray

    @classmethod
    def of(cls, vocabulary: Mapping[Any, int]) -> _Table | None:
        """Returns the table of a vocabulary; None where it spans too wide a range."""
        if not vocabulary:
            return None
        first, last = min(vocabulary), max(vocabulary)
        if last - first > _TABLE_VALUES or not -(2**62) < first <= last < 2**62:
            return None
        known = np.full(last - first + 3, UNSEEN_CODE, np.int32)
        for value, code in vocabulary.items():
            known[value - first + 1] = code
        return cls(first, known)

    def codes(self, values: pa.Array, null: int) -> np.ndarray | None:
        """Returns int32 codes [N]; None for types other than integers up to int64."""
        if not pa.types.is_integer(values.type) or pa.types.is_uint64(values.type):
            return None
        missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
        plain = values.to_numpy() if missing is None else values.fill_null(0).to_numpy()
        # The difference may wrap around at the ends of int64, but never into the table: no value is that near.
        codes: np.ndarray = np.take(self.known, np.subtract(plain, self.first - 1, dtype=np.int64), mode="clip")
        if missing is not None:
            codes[missing] = null
        return codes


def hashed(distinct: Sequence[Any], buckets: int) -> np.ndarray:
    """Returns codes 1 … buckets of distinct values, by TensorFlow's hash of their text."""
    if not len(distinct):
        return np.empty(0, np.int32)
    import tensorflow as tf

    with tf.device("CPU:0"):
        texts = tf.constant(["" if v is None else str(v) for v in distinct])
        return np.asarray(tf.strings.to_hash_bucket_fast(texts, buckets), np.int32) + 1
