"""What the feed and the model agree on: columns, what is known of them, and how a batch is packed.

The feed writes packed batches and the model reads them; neither imports the other. Both read this.

A batch leaves the feed as ``(x, y, w)``:

* ``x["numbers"]``  float32 ``[B, N]``: numeric columns, parts of dates and elements of vectors; null is NaN.
* ``x["codes"]``    int32 ``[B, C]``: categorical columns; 0 is missing, 1 unseen, 2… the vocabulary
  (hashed columns: 0 is missing, 1… the buckets). Sequences and texts: a code for each of `size` values or
  words, 0 after the last.
* ``x["ragged_0"]``… int32 ``[B, longest]``: codes of a ragged sequence, as wide as the batch's longest row, at least 1.
* ``x["image_0"]``…  uint8 ``[B, height, width, channels]``: images, in the order of the job file.
* ``y``             float32 ``[B]`` (int32 for multiclass): the label, of a regression minus `LabelField.offset`;
  multilabel float32 ``[B, classes]``, 1 for each class of a row; several labels float32 ``[B, W]``, one after another.
* ``w``             float32 ``[B, 2]``: the row's loss weight, and the batch's fill (real rows / B).

``x`` lacks a key whose width is 0. The last batch of an epoch is filled up to B with rows of weight 0,
and its real rows weigh B / real rows more, so that a mean over B is the mean over the real rows for any
number of replicas. The fill tells metrics how much such a batch counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["numeric", "date", "categorical", "vector", "sequence", "text", "image"]
Task = Literal["binary", "multiclass", "multilabel", "regression", "count", "quantile"]
#: Tasks whose label is a number on a scale, and no class.
OF_NUMBERS = frozenset({"regression", "count", "quantile"})

#: Arrow's name of an integer type, also as the elements of a list.
_INTEGER = re.compile(r"\bu?int(8|16|32|64)\b")
#: Codes of categorical columns below the vocabulary.
MISSING_CODE = 0
UNSEEN_CODE = 1
FIRST_VOCABULARY_CODE = 2


@dataclass(frozen=True)
class Column:
    """One column of the set, as its shards store it.

    Attributes:
        name: Its name in the schema, or the key of a hive partition.
        kind: How it is used.
        arrow: Its Arrow type as text: `int64`, `timestamp[us]`, `dictionary<...>` is given as its value type.
        dtype: dtype of the exported model's input: `float32`, `float64`, `int8`…`uint64`, `bool`, `string`.
            An integer or bool column that may be null enters as `float64` with NaN for null (as pandas
            does); decimals as `float64`; dates as `int32` days and timestamps as `int64` in their own
            unit since the epoch. A null string is the empty string. Categories and sequences of integers that
            float64 cannot hold beside a null (or int64, for hashing) enter as `string`, their decimal text.
        size: Elements of a vector, parts of a date, most values of a sequence, words of a text; 1 for the other kinds.
        partition: Whether it is a hive partition key, not stored in the files.
        shape: height, width and channels of an image, which enters the exported model as pixels.
        ragged: Whether a sequence is as wide as a batch's longest row, not `size`.
        parts: Of a date: its packed columns, see `trainer.date_parts.packed_names`.
    """

    name: str
    kind: Kind
    arrow: str
    dtype: str
    size: int = 1
    partition: bool = False
    shape: tuple[int, ...] = ()
    ragged: bool = False
    parts: tuple[str, ...] = ()

    @property
    def stores_text(self) -> bool:
        """Whether the shards store strings; the input's dtype may be `string` for integers too."""
        return self.dtype == "string" and not _INTEGER.search(self.arrow)


@dataclass(frozen=True)
class ColumnStatistics:
    """What one pass over a split knows of one column.

    Attributes:
        rows: Rows seen, nulls included.
        nulls: Null rows (for float columns NaN is counted apart, in `nans`).
        nans: NaN values. infinities: infinite values.
        mean: Mean of the finite values; variance: population variance (Chan et al. 1983, pairwise merge).
            Vectors: over all elements.
        minimum, maximum: of the finite values. Of images `maximum` is what decoding the largest takes, in bytes.
        quantiles: Probability -> value (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), from a deterministic
            sample of at most 65,536 rows: exact below that.
        histogram: (edges [K + 1], counts [K]) of numeric columns, from the same sample.
        values: (value, rows) most frequent first, then by value: all of them for categorical columns
            and labels.
        distinct: Number of distinct values (numeric: within the sample).
        first_bad: Shard and row of the first NaN or infinity, for the error.
        element_means, element_variances: vectors only, one per element.
        percentiles: The 0th to the 100th, each a value of the sample, so that frequent values show as ties.
    """

    rows: int
    nulls: int
    nans: int = 0
    infinities: int = 0
    mean: float = 0.0
    variance: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: Mapping[float, float] = field(default_factory=dict)
    histogram: tuple[tuple[float, ...], tuple[int, ...]] = ((), ())
    values: tuple[tuple[str | int, int], ...] = ()
    distinct: int = 0
    first_bad: str = ""
    element_means: tuple[float, ...] = ()
    element_variances: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """One split's statistics: rows, every feature column, the label and the sample weight by name."""

    rows: int
    columns: Mapping[str, ColumnStatistics]


@dataclass(frozen=True)
class NumberField:
    """A numeric column, a date or a vector inside `numbers`.

    Attributes:
        column: The column.
        start: Its first packed column; it takes `column.size` of them.
        offset: Subtracted in float64 before the cast to float32, so that timestamps and large
            identifiers keep their precision. 0.0 for most columns.
        required: Whether a row that lacks it has no answer: training saw no null, and nothing stands in for one.
    """

    column: Column
    start: int
    offset: float = 0.0
    required: bool = False


@dataclass(frozen=True)
class CodeField:
    """A categorical column, a sequence or a text inside `codes`; a ragged sequence stands by itself.

    Attributes:
        column: The column.
        start: Its first packed column; it takes `column.size` of them, a ragged one none.
        vocabulary: Its known values in code order (code 2 is the first); empty when hashed.
        buckets: Number of hash buckets, 0 for a vocabulary. A value's code is
            1 + tf.strings.to_hash_bucket_fast(text of the value, buckets).
        fill: The value that stands in for null, or None: null is code 0.
    """

    column: Column
    start: int
    vocabulary: tuple[str | int, ...] = ()
    buckets: int = 0
    fill: str | int | None = None

    @property
    def cardinality(self) -> int:
        """How many codes there are: every code is in [0, cardinality)."""
        return self.buckets + 1 if self.buckets else len(self.vocabulary) + FIRST_VOCABULARY_CODE


@dataclass(frozen=True)
class LabelField:
    """The label, and the scale on which a regression is learnt: (t(y) - mean) / deviation.

    Attributes:
        name: Its column.
        arrow: Its Arrow type as text.
        task: What is predicted.
        classes: The values of a multiclass or multilabel label in class order (else empty).
        transform: t is log(1 + y) for `log1p`, y itself for `standard` and `none`. `log` is that of counts: the model
            answers with the logarithm of the expected count, less `mean`, the logarithm of the mean count.
        offset: Subtracted from y in float64 before the cast to float32, so that large labels keep their
            precision. 0.0 for most; never with `log1p` and `log`.
        mean: Of t(y); deviation: of t(y), 1 for a constant. 0 and 1 where nothing is scaled.
        quantiles: Those that are predicted, rising, one column of predictions each; else empty.
    """

    name: str
    arrow: str
    task: Task
    classes: tuple[str | int, ...] = ()
    transform: Literal["standard", "log1p", "none", "log"] = "none"
    offset: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    quantiles: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        """Columns of predictions."""
        return len(self.classes or self.quantiles) or 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row's packed label: (), or (classes,) where a row may have several."""
        return (len(self.classes),) if self.task == "multilabel" else ()

    @property
    def width(self) -> int:
        """Columns of the packed label among several."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class LabelPlace:
    """Where a label stands among all of a model.

    Attributes:
        label: The label.
        prefix: Of its metrics' and columns' names: "" where it is the only one, else its name and "_".
        columns, outputs: Its columns of `y` and of the predictions; None where it is the only one.
    """

    label: LabelField
    prefix: str = ""
    columns: slice | None = None
    outputs: slice | None = None

    def labels(self, y: Any) -> Any:
        """Its part of all labels: [rows], multilabel [rows, classes]."""
        if self.columns is None:
            return y
        return y[:, self.columns] if self.label.shape else y[:, self.columns.start]

    def predictions(self, p: Any) -> Any:
        """Its part of all predictions: [rows, outputs]."""
        return p if self.outputs is None else p[:, self.outputs]


def label_places(labels: Sequence[LabelField]) -> tuple[LabelPlace, ...]:
    """Where each of a model's labels stands."""
    if len(labels) == 1:
        return (LabelPlace(labels[0]),)
    places, column, output = [], 0, 0
    for label in labels:
        ends = column + label.width, output + label.outputs
        places.append(LabelPlace(label, f"{label.name}_", slice(column, ends[0]), slice(output, ends[1])))
        column, output = ends
    return tuple(places)


@dataclass(frozen=True)
class Layout:
    """How raw columns become a packed row. The order of fields is the job file's order of features."""

    numbers: tuple[NumberField, ...]
    codes: tuple[CodeField, ...]
    label: LabelField
    sample_weight: str | None = None
    images: tuple[Column, ...] = ()
    further_labels: tuple[LabelField, ...] = ()

    @property
    def labels(self) -> tuple[LabelField, ...]:
        """What is predicted: a list of one, or of several."""
        return (self.label, *self.further_labels)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Of a row of `y`."""
        return (sum(label.width for label in self.labels),) if self.further_labels else self.label.shape

    @property
    def label_is_code(self) -> bool:
        """Whether `y` is int32; among several labels a class index is a float32."""
        return self.label.task == "multiclass" and not self.further_labels

    @property
    def label_offset(self) -> float | tuple[float, ...]:
        """What packed labels lack: 0.0 where it is none; of several labels one for each column of `y`."""
        if not self.further_labels:
            return self.label.offset
        offsets = tuple(label.offset for label in self.labels for _ in range(label.width))
        return offsets if any(offsets) else 0.0

    @property
    def targets(self) -> tuple[LabelPlace, ...]:
        """Where each label stands."""
        return label_places(self.labels)

    def only(self, label: LabelField) -> Layout:
        """The layout of a model that predicts one of the labels."""
        return replace(self, label=label, further_labels=())

    @property
    def numbers_width(self) -> int:
        """Columns of `numbers`."""
        return sum(f.column.size for f in self.numbers)

    @property
    def codes_width(self) -> int:
        """Columns of `codes`."""
        return sum(f.column.size for f in self.packed_codes)

    @property
    def packed_codes(self) -> tuple[CodeField, ...]:
        """What stands in `codes`."""
        return tuple(f for f in self.codes if not f.column.ragged)

    @property
    def ragged(self) -> tuple[CodeField, ...]:
        """Sequences that are ragged, each under a `ragged_key` of its own."""
        return tuple(f for f in self.codes if f.column.ragged)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The feature columns: numbers first, then codes, then images."""
        return (*(f.column for f in self.numbers), *(f.column for f in self.codes), *self.images)


def ragged_key(index: int) -> str:
    """The key of a batch's `x` under which a ragged sequence stands."""
    return f"ragged_{index}"


def image_key(index: int) -> str:
    """The key of a batch's `x` under which an image column stands."""
    return f"image_{index}"
