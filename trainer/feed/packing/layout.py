"""From statistics to the packed layout: vocabularies, classes, offsets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trainer.config import Categorical, Config, Sequence, Target, Text
from trainer.errors import ConfigError, DataError
from trainer.schema import (
    OF_NUMBERS,
    CodeField,
    Column,
    ColumnStatistics,
    LabelField,
    Layout,
    NumberField,
    Statistics,
)

#: float32 counts exactly up to here.
_EXACT_FLOAT32 = 2**24
_WIDE = ("int32", "uint32", "int64", "uint64", "float64")


def make_layout(
    config: Config, columns: Mapping[str, Column], label_types: Mapping[str, object], train: Statistics
) -> Layout:
    """Places every feature.

    Args:
        config: The configuration.
        columns: Feature columns by name, in the order of the job file.
        label_types: Arrow type of each label.
        train: Statistics of the training split.

    Returns:
        The layout.

    Raises:
        ConfigError: A stand-in for null that the column cannot hold.
        DataError: No value of a column is left for its vocabulary.
    """
    numbers: list[NumberField] = []
    codes: list[CodeField] = []
    width = codes_width = 0
    for name, column in columns.items():
        feature = config.data.features[name]
        if column.kind == "image":
            continue
        if isinstance(feature, Categorical | Sequence | Text):
            codes.append(_code_field(feature, column, codes_width, train.columns[name]))
            codes_width += 0 if column.ragged else column.size
        else:
            offset = _offset(column, train.columns[name])
            numbers.append(NumberField(column, width, offset, required=feature.impute is None))
            width += column.size
    images = tuple(column for column in columns.values() if column.kind == "image")
    labels = [_label(target, str(label_types[target.label.column]), train) for target in config.targets]
    return Layout(tuple(numbers), tuple(codes), labels[0], config.data.sample_weight, images, tuple(labels[1:]))


def _offset(column: Column, known: ColumnStatistics) -> float:
    large = max(abs(known.minimum), abs(known.maximum)) > _EXACT_FLOAT32
    return float(round(known.mean)) if column.kind == "numeric" and column.dtype in _WIDE and large else 0.0


def _label(target: Target, arrow: str, train: Statistics) -> LabelField:
    spec, task = target.label, target.task
    known = train.columns[spec.column]
    classes = tuple(sorted((v for v, _ in known.values), key=lambda v: v))
    label = LabelField(spec.column, arrow, task, classes if task in ("multiclass", "multilabel") else ())
    if task == "count":
        return replace(label, transform="log", mean=math.log(known.mean or 1.0))
    if task == "quantile":
        label = replace(label, quantiles=tuple(spec.quantiles))
    if task not in OF_NUMBERS or spec.transform == "none":
        return label
    return _scaled_label(replace(label, transform=spec.transform), known)


def _scaled_label(label: LabelField, known: ColumnStatistics) -> LabelField:
    """The label's scale. That of `log1p` comes from the 101 percentiles: the pass adds up y, not its logarithm."""
    if label.transform == "log1p":
        logs = np.log1p(np.asarray(known.percentiles))
        return replace(label, mean=float(logs.mean()), deviation=float(logs.std()) or 1.0)
    deviation = math.sqrt(known.variance)
    largest = max(abs(known.minimum), abs(known.maximum))
    # float32 keeps 24 bits: what is lost of the largest label has to be far less than the labels' spread.
    offset = known.mean if largest * 2.0**-24 > 1e-5 * deviation else 0.0
    return replace(label, offset=offset, mean=known.mean, deviation=deviation or 1.0)


def _code_field(
    feature: Categorical | Sequence | Text, column: Column, start: int, known: ColumnStatistics
) -> CodeField:
    constant = None if feature.impute is None else _stored(column, feature.impute.constant)
    # With an indicator nulls must stay visible; the model fills them then.
    fill = None if feature.indicator else constant
    if isinstance(feature, Categorical) and feature.buckets is not None:
        return CodeField(column, start, buckets=feature.buckets, fill=fill)
    counts = dict(known.values)
    if constant is not None and known.nulls:
        counts[constant] = counts.get(constant, 0) + known.nulls
    ranked = sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    # A text that ends in NUL counts as unseen, here and in the exported model, whose tables cannot hold it.
    holdable = [(v, n) for v, n in ranked if not (isinstance(v, str) and v.endswith("\0"))]
    vocabulary = tuple(v for v, n in holdable[: feature.max_vocabulary] if n >= feature.min_count)
    if not vocabulary:
        raise DataError(
            f"no value of column {column.name!r} occurs in training {feature.min_count} times",
            where=f"run.data.features.{column.name}.min_count", remedy="use a smaller min_count",
        )  # fmt: skip
    return CodeField(column, start, vocabulary=vocabulary, fill=fill)


def _stored(column: Column, constant: object) -> str | int:
    if column.stores_text:
        return str(constant)
    try:
        return int(constant)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise ConfigError(
            f"impute.constant {constant!r} is no {column.arrow}", where=f"run.data.features.{column.name}",
            remedy="give a value of the column's own type",
        ) from None  # fmt: skip
