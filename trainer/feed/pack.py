"""Packs a table into rows of 4-byte columns: numbers, codes, label, weight, fill.

One matrix for everything, so that shuffling is one gather and a batch is one slice. It is int32 whatever
stands in it: floats are kept as their bits, which no copy can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trainer.errors import DataError
from trainer.feed.values import encode, encoded_names, numbers, vectors
from trainer.schema import FIRST_VOCABULARY_CODE, MISSING_CODE, UNSEEN_CODE, CodeField, LabelField, Layout, NumberField

#: Rows transposed at a time: the block stays in the second-level cache.
_BLOCK_ROWS = 2048


class Packer:
    """Packs tables by a layout.

    Packed columns: numbers (float32 bits), codes (int32), label (float32 bits; int32 for multiclass),
    weight and fill (float32 bits).

    Args:
        layout: What goes where.
        class_weight: Label index -> factor of the row's weight.
    """

    def __init__(self, layout: Layout, class_weight: Mapping[int, float] | None = None) -> None:
        self._layout = layout
        self._class_weight = dict(class_weight or {})
        self._codes = [_Codes(field) for field in layout.codes]
        self.label_at = layout.numbers_width + layout.codes_width
        self.weight_at, self.fill_at, self.width = self.label_at + 1, self.label_at + 2, self.label_at + 3

    @property
    def names(self) -> list[str]:
        """Columns that a table needs."""
        weight = [self._layout.sample_weight] if self._layout.sample_weight else []
        return list(dict.fromkeys([*(c.name for c in self._layout.columns), self._layout.label.name, *weight]))

    @property
    def encoded(self) -> list[str]:
        """Columns that are best read as dictionaries."""
        return encoded_names([f.column for f in self._layout.codes])

    def pack(self, table: pa.Table, out: np.ndarray, keep: np.ndarray | None = None) -> None:
        """Packs the rows of a table.

        Args:
            table: Has at least `names`.
            out: int32 [K, width], written whole; K rows are kept.
            keep: bool [len(table)] or None for all.

        Raises:
            DataError: A vector of another length, a label that is none of the classes.
        """
        pick = None if keep is None else np.flatnonzero(keep)

        def kept(values: np.ndarray) -> np.ndarray:
            return values if pick is None else values[pick]

        columns = [
            (field.start, kept(_numbers(field, table.column(field.column.name))).view(np.int32))
            for field in self._layout.numbers
        ]
        columns += [
            (at, kept(codes.of(table.column(codes.field.column.name))))
            for at, codes in enumerate(self._codes, self._layout.numbers_width)
        ]
        label = kept(label_values(self._layout.label, table.column(self._layout.label.name)))
        columns.append((self.label_at, label.view(np.int32)))
        columns.append((self.weight_at, self._weights(table, label, kept).view(np.int32)))
        columns.append((self.fill_at, np.ones(len(label), np.float32).view(np.int32)))
        _transpose(columns, out)

    def _weights(self, table: pa.Table, label: np.ndarray, kept: Any) -> np.ndarray:
        weights = np.ones(len(label), np.float32)
        if self._layout.sample_weight:
            weights = kept(numbers(table.column(self._layout.sample_weight)).astype(np.float32))
        if self._class_weight:
            factors = np.ones(int(max(label.max(initial=0), max(self._class_weight))) + 1, np.float32)
            for index, factor in self._class_weight.items():
                factors[index] = factor
            weights = weights * factors[label.astype(np.int64)]
        return weights


def _transpose(columns: Sequence[tuple[int, np.ndarray]], out: np.ndarray) -> None:
    for start in range(0, len(out), _BLOCK_ROWS):
        stop = start + _BLOCK_ROWS
        block = out[start:stop]
        for at, values in columns:
            if values.ndim == 1:
                block[:, at] = values[start:stop]
            else:
                block[:, at : at + values.shape[1]] = values[start:stop]


def _numbers(field: NumberField, values: pa.ChunkedArray) -> np.ndarray:
    """float32 [N] or [N, size]; null is NaN."""
    column = field.column
    found = vectors(column, values) if column.kind == "vector" else numbers(values)
    if field.offset:
        found = found.astype(np.float64) - field.offset
    return np.ascontiguousarray(found.astype(np.float32, copy=False))


def label_values(label: LabelField, values: pa.ChunkedArray) -> np.ndarray:
    """The label as the model learns it.

    Returns:
        float32 [N]; int32 class indices [N] for multiclass.

    Raises:
        DataError: A value that is none of the classes.
    """
    if label.task != "multiclass":
        return np.asarray(numbers(values), np.float32)
    index = {value: i for i, value in enumerate(label.classes)}
    distinct, places = encode(values)
    known = np.array([*(index.get(v, -1) for v in distinct), -1], np.int32)
    found = np.asarray(known[places])
    if (found < 0).any():
        bad = next((v for v in distinct if v not in index), None)
        raise DataError(
            f"label value {bad!r} is none of the {len(index)} classes of the training rows",
            where=f"column {label.name!r}", remedy="give the class training rows, or leave such rows out",
        )  # fmt: skip
    return found


class _Codes:
    """Codes of one categorical column; work per distinct value, then one lookup per row."""

    def __init__(self, field: CodeField) -> None:
        self.field = field
        self._text = field.column.dtype == "string"
        self._vocabulary = {self._stored(v): i for i, v in enumerate(field.vocabulary, FIRST_VOCABULARY_CODE)}
        self._null = MISSING_CODE if field.fill is None else int(self._known([self._stored(field.fill)])[0])

    def _stored(self, value: Any) -> str | int:
        return str(value) if self._text else int(value)

    def of(self, values: pa.ChunkedArray) -> np.ndarray:
        """int32 codes [N]."""
        distinct, places = encode(values)
        known = np.append(self._known(distinct), np.int32(self._null)).astype(np.int32)
        return np.asarray(known[places])

    def _known(self, distinct: Sequence[Any]) -> np.ndarray:
        if self.field.buckets:
            return hashed(distinct, self.field.buckets)
        return np.array([self._vocabulary.get(v, UNSEEN_CODE) for v in distinct], np.int32)


def hashed(distinct: Sequence[Any], buckets: int) -> np.ndarray:
    """Codes 1 … buckets of distinct values, by TensorFlow's own hash of their text."""
    if not len(distinct):
        return np.empty(0, np.int32)
    import tensorflow as tf

    with tf.device("CPU:0"):
        texts = tf.constant(["" if v is None else str(v) for v in distinct])
        return np.asarray(tf.strings.to_hash_bucket_fast(texts, buckets), np.int32) + 1
