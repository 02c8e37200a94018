"""Resolves features of the job file and stored types to columns, and refuses kinds that do not fit the type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from trainer import date_parts
from trainer.config import (
    Categorical,
    Config,
    Date,
    Feature,
    Image,
    NewestSplit,
    Numeric,
    Sequence,
    Target,
    Text,
    Vector,
)
from trainer.errors import ConfigError, DataError
from trainer.feed.shards.discovery import ShardSet
from trainer.schema import Column

_T = pa.types


def needed_columns(config: Config) -> list[str]:
    """Names of the columns that a run reads: features, label, sample weight, and what split and filter go by."""
    by = getattr(config.data.validation, "by", None)
    names = [*config.data.features, *config.data.label_columns, config.data.sample_weight, by, *config.data.filter]
    return list(dict.fromkeys(n for n in names if n is not None))


def resolve_columns(
    config: Config,
    shard_set: ShardSet,
    nulls: Mapping[str, int] | None = None,
    largest: Mapping[str, int] | None = None,
) -> dict[str, Column]:
    """Validates each feature against its Arrow type.

    Args:
        config: The configuration.
        shard_set: The shards' types.
        nulls: Nulls of each column, from the statistics: a categorical int with nulls becomes float64.
        largest: Largest magnitude of each column of integer categories, from the statistics: what float64 cannot
            represent becomes text.

    Returns:
        Columns by name, in the order of the job file.

    Raises:
        DataError: A stored type that does not fit the kind.
        ConfigError: A vector of another stored length.
    """
    return {
        name: _as_text_if_wide(
            _column(name, feature, shard_set, bool((nulls or {}).get(name))), feature, (largest or {}).get(name, 0)
        )
        for name, feature in config.data.features.items()
    }


def _as_text_if_wide(column: Column, feature: Feature, largest: int) -> Column:
    if not isinstance(feature, Categorical | Sequence):
        return column
    # TensorFlow hashes the text of an int64: a uint64 beyond it would have the text of another number.
    limit = 2**63 - 1 if column.dtype == "uint64" and feature.kind == "categorical" and feature.buckets else None
    limit = 2**53 if column.dtype == "float64" else limit
    return replace(column, dtype="string") if limit is not None and largest > limit else column


def key_types(shard_set: ShardSet, columns: Iterable[Column]) -> dict[str, pa.DataType]:
    """Returns the types that hive keys are read with: a category of dates is text."""
    texts = {c.name: pa.string() for c in columns if c.partition and c.stores_text}
    return {**shard_set.partition_types, **texts}


def _column(name: str, feature: Feature, shard_set: ShardSet, has_nulls: bool) -> Column:
    partition = name not in shard_set.types
    arrow = shard_set.partition_types[name] if partition else shard_set.types[name]
    nullable = has_nulls or feature.impute is not None or feature.indicator
    if isinstance(feature, Vector):
        return _vector(name, feature, arrow, nullable)
    if isinstance(feature, Sequence):
        return _sequence(name, feature, arrow)
    if isinstance(feature, Image):
        if not _T.is_binary(arrow):
            raise _wrong(name, arrow, "image", None)
        return Column(name, "image", str(arrow), "uint8", shape=(feature.height, feature.width, feature.channels))
    if isinstance(feature, Text):
        if not _T.is_string(arrow):
            raise _wrong(name, arrow, "text", None)
        return Column(name, "text", str(arrow), "string", size=feature.length, partition=partition)
    if isinstance(feature, Numeric):
        if not is_number(arrow):
            raise _wrong(name, arrow, "numeric", "categorical" if is_category(arrow) else None)
        return Column(name, "numeric", str(arrow), input_dtype(arrow, nullable), partition=partition)
    if isinstance(feature, Date):
        return _date(name, feature, arrow, nullable, partition=partition)
    if partition and _T.is_date(arrow):
        arrow = pa.string()
    if not is_category(arrow):
        raise _wrong(name, arrow, "categorical", "numeric" if is_number(arrow) else None)
    return Column(name, "categorical", str(arrow), input_dtype(arrow, nullable), partition=partition)


def _date(name: str, feature: Date, arrow: pa.DataType, nullable: bool, *, partition: bool) -> Column:
    if not (_T.is_date(arrow) or _T.is_timestamp(arrow)):
        raise _wrong(name, arrow, "date", "numeric" if is_number(arrow) else None)
    has_time = _T.is_timestamp(arrow)
    parts = date_parts.default_parts(has_time) if feature.parts == "auto" else tuple(dict.fromkeys(feature.parts))
    if not has_time and (strange := [part for part in parts if part not in date_parts.OF_DATE]):
        raise ConfigError(
            f"column {name!r} is {arrow}, which has no {strange[0]}",
            where=f"run.data.features.{name}.parts",
            remedy=f"take some of {', '.join(date_parts.OF_DATE)}",
        )
    if zone := getattr(arrow, "tz", None):
        date_parts.zone_offsets(zone)  # refuses a zone that this machine does not know
    packed = date_parts.packed_names(parts, feature.cyclic)
    dtype = input_dtype(arrow, nullable)
    return Column(name, "date", str(arrow), dtype, size=len(packed), partition=partition, parts=packed)


def _vector(name: str, feature: Vector, arrow: pa.DataType, nullable: bool) -> Column:
    is_list = _T.is_list(arrow) or _T.is_fixed_size_list(arrow)
    if not is_list or not is_number(arrow.value_type):
        raise _wrong(name, arrow, "vector", "numeric" if is_number(arrow) else None)
    if _T.is_fixed_size_list(arrow) and arrow.list_size != feature.size:
        raise ConfigError(
            f"size is {feature.size}, the data has vectors of {arrow.list_size}",
            where=f"run.data.features.{name}",
            remedy=f"set size: {arrow.list_size}",
        )
    return Column(name, "vector", str(arrow), input_dtype(arrow.value_type, nullable), size=feature.size)


def _sequence(name: str, feature: Sequence, arrow: pa.DataType) -> Column:
    if not _is_list_of_values(arrow):
        raise _wrong(name, arrow, "sequence", None)
    # Where a row is shorter its input is padded: with "" or, as for an int that may be null, with NaN.
    dtype = "string" if _T.is_string(arrow.value_type) else "float64"
    return Column(name, "sequence", str(arrow), dtype, size=feature.length, ragged=feature.ragged)


def _is_list_of_values(arrow: pa.DataType) -> bool:
    is_list = _T.is_list(arrow) or _T.is_fixed_size_list(arrow)
    return is_list and bool(_T.is_string(arrow.value_type) or _T.is_integer(arrow.value_type))


def _wrong(name: str, arrow: pa.DataType, kind: str, other: str | None) -> DataError:
    allowed = {
        "numeric": "an int, float, bool, decimal, date or timestamp",
        "date": "a date or timestamp",
        "categorical": "a string, int or bool",
        "vector": "a list of numbers",
        "sequence": "a list of strings or ints",
        "text": "a string",
        "image": "binary, an encoded image in each row",
    }[kind]
    return DataError(
        f"column {name!r} is {arrow}; kind {kind} takes {allowed}",
        where=f"run.data.features.{name}",
        remedy=f"set kind: {other}, or write the column with another type" if other else "write it with another type",
    )


def is_number(arrow: pa.DataType) -> bool:
    """Whether a type can be numeric."""
    return bool(
        _T.is_integer(arrow) or _T.is_floating(arrow) or _T.is_boolean(arrow) or _T.is_decimal(arrow)
        or _T.is_date(arrow) or _T.is_timestamp(arrow)
    )  # fmt: skip


def is_category(arrow: pa.DataType) -> bool:
    """Whether a type can be categorical."""
    return bool(_T.is_string(arrow) or _T.is_integer(arrow) or _T.is_boolean(arrow))


def input_dtype(arrow: pa.DataType, nullable: bool) -> str:
    """Dtype of the exported model's input, see `trainer.schema.Column`."""
    if _T.is_string(arrow):
        return "string"
    if _T.is_decimal(arrow):
        return "float64"
    if _T.is_float16(arrow):
        return "float32"
    if _T.is_float32(arrow) or _T.is_float64(arrow):
        return "float32" if _T.is_float32(arrow) else "float64"
    if nullable:
        return "float64"
    if _T.is_date(arrow):
        return "int32"
    if _T.is_timestamp(arrow):
        return "int64"
    return "bool" if _T.is_boolean(arrow) else str(arrow)


def check_labels(config: Config, shard_set: ShardSet) -> dict[str, pa.DataType]:
    """Returns the type of each label after checking that it fits the task.

    Raises:
        DataError: The type does not fit the task.
    """
    return {target.label.column: _checked_label(target, shard_set) for target in config.targets}


def _checked_label(target: Target, shard_set: ShardSet) -> pa.DataType:
    name, task = target.label.column, target.task
    arrow = shard_set.types.get(name, shard_set.partition_types.get(name))
    if task == "multilabel":
        if not _is_list_of_values(arrow):
            raise _label(target, arrow, "a list of strings or ints", "for one class a row set task: multiclass")
        return arrow
    number = _T.is_integer(arrow) or _T.is_floating(arrow) or _T.is_boolean(arrow) or _T.is_decimal(arrow)
    if task == "multiclass" and not (_T.is_string(arrow) or _T.is_integer(arrow) or _T.is_boolean(arrow)):
        other = "for several classes a row set task: multilabel" if _is_list_of_values(arrow) else None
        raise _label(target, arrow, "a string or an int", other or "for numbers to predict set task: regression")
    if task != "multiclass" and not number:
        allowed = "a bool, or a number that is 0 or 1" if task == "binary" else "a number"
        text = "set task: multiclass, or write the label as 0 and 1" if task == "binary" else "set task: multiclass"
        other = "set task: multilabel" if _is_list_of_values(arrow) else "write it with another type"
        raise _label(target, arrow, allowed, text if _T.is_string(arrow) else other)
    return arrow


def _label(target: Target, arrow: pa.DataType, allowed: str, remedy: str) -> DataError:
    key = target.label_key if target.prefix else f"{target.label_key}.column"
    what = f"label {target.label.column!r} is {arrow}; task {target.task} takes {allowed}"
    return DataError(what, where=f"run.{key}", remedy=remedy)


def check_weight(config: Config, shard_set: ShardSet) -> None:
    """Checks that the sample weight is a number.

    Raises:
        DataError: It is not.
    """
    name = config.data.sample_weight
    if name is None:
        return
    arrow = shard_set.types.get(name, shard_set.partition_types.get(name))
    if not is_number(arrow) or _T.is_temporal(arrow):
        raise DataError(
            f"sample weight {name!r} is {arrow}; expected a number", where="run.data.sample_weight",
            remedy="write it as a float >= 0",
        )  # fmt: skip


def check_by(config: Config, shard_set: ShardSet) -> pa.DataType | None:
    """Returns the type of the column that the validation split uses; None where it uses none.

    Raises:
        ConfigError: Not a date or timestamp for `newest`, not a plain value for `fraction`.
    """
    rule = config.data.validation
    by = getattr(rule, "by", None)
    if by is None:
        return None
    arrow: pa.DataType = shard_set.types.get(by, shard_set.partition_types.get(by))
    if isinstance(rule, NewestSplit):
        fits, allowed = _T.is_date(arrow) or _T.is_timestamp(arrow), "a date or a timestamp"
    else:
        fits = is_category(arrow) or _T.is_date(arrow) or _T.is_timestamp(arrow)
        allowed = "a string, int, bool, date or timestamp"
    if not fits:
        raise ConfigError(
            f"column {by!r} is {arrow}; expected {allowed}", where="run.data.validation.by",
            remedy="name another column",
        )  # fmt: skip
    return arrow
