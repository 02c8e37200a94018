"""Labels of raw rows, as metrics take them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainer.errors import DataError
from trainer.feed.packing.arrow_values import numbers
from trainer.feed.packing.pack import classes_of
from trainer.metrics import Floats
from trainer.schema import LabelField, Layout


def all_label_values(layout: Layout, table: pa.Table, where: str = "") -> Floats:
    """The labels of every row as `label_values`; of several labels side by side, [rows, W]."""
    parts = [label_values(label, table, where) for label in layout.labels]
    return parts[0] if len(parts) == 1 else np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def label_values(label: LabelField, table: pa.Table, where: str = "") -> Floats:
    """One label of every row.

    Args:
        label: The model's label.
        table: Raw rows.
        where: The data, for errors.

    Returns:
        float64 [rows]: 0 or 1, the class's index, or the value; multilabel [rows, classes] of 0 and 1.

    Raises:
        DataError: The column is missing, null or not finite, or holds a value that is not a class of the model.
    """
    if label.name not in table.column_names:
        raise DataError(f"label column {label.name!r} is missing", where=where, remedy="scoring needs labelled rows")
    column = table.column(label.name)
    if label.classes:
        is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
        if is_list != (label.task == "multilabel"):
            raise _wrong_type(label, column.type, where)
        classes, unknown = classes_of(label, column)
        _refuse_unknown(label.name, unknown, where)
        _refuse_nulls(label.name, column.null_count if is_list else int((classes < 0).sum()), where)
        return np.asarray(classes, np.float64)
    if not _is_number(column.type):
        raise _wrong_type(label, column.type, where)
    values: Floats = numbers(column).astype(np.float64)
    _refuse_nulls(label.name, int((~np.isfinite(values)).sum()), where)
    if label.task == "binary":
        _refuse_unknown(label.name, np.unique(values[(values != 0) & (values != 1)]).tolist(), where)
    return values


def _wrong_type(label: LabelField, arrow: pa.DataType, where: str) -> DataError:
    return DataError(
        f"label {label.name!r} is {arrow}; expected {label.arrow}",
        where=where,
        remedy=f"write the column as {label.arrow}, as in training",
    )


def _is_number(arrow: pa.DataType) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_integer(arrow) or kinds.is_floating(arrow) or kinds.is_boolean(arrow) or kinds.is_decimal(arrow)
    )


def _refuse_nulls(name: str, count: int, where: str) -> None:
    if count:
        raise DataError(
            f"label {name!r} is null or not finite in {count} rows", where=where, remedy="leave those rows out"
        )


def _refuse_unknown(name: str, values: list[object], where: str) -> None:
    if values:
        shown = ", ".join(repr(v) for v in sorted(values, key=str)[:5])
        raise DataError(
            f"label {name!r} takes values that the model does not know: {shown}",
            where=where,
            remedy="score on the classes that the model was trained on",
        )
