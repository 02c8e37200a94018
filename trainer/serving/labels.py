"""Labels of raw rows, as metrics take them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainer.errors import DataError
from trainer.feed.packing.arrow_values import encode, numbers
from trainer.metrics import Floats
from trainer.schema import LabelField


def label_values(label: LabelField, table: pa.Table, where: str = "") -> Floats:
    """The label of every row.

    Args:
        label: The model's label.
        table: Raw rows.
        where: The data, for errors.

    Returns:
        float64 [rows]: 0 or 1, the class's index, or the value.

    Raises:
        DataError: The column is missing, null or not finite, or holds a value that is not a class of the model.
    """
    if label.name not in table.column_names:
        raise DataError(f"label column {label.name!r} is missing", where=where, remedy="scoring needs labelled rows")
    column = table.column(label.name)
    if label.task == "multiclass":
        distinct, places = encode(column)
        known = {value: index for index, value in enumerate(label.classes)}
        indices = np.array([*(known.get(value, -1) for value in distinct), -2], np.int64)[places]
        _refuse_nulls(label.name, int((indices == -2).sum()), where)
        _refuse_unknown(label.name, [v for v in distinct if v is not None and v not in known], where)
        return np.asarray(indices, np.float64)
    if not _is_number(column.type):
        raise DataError(f"label {label.name!r} is {column.type}; expected {label.arrow}", where=where,
                        remedy=f"write the column as {label.arrow}, as in training")  # fmt: skip
    values: Floats = numbers(column).astype(np.float64)
    _refuse_nulls(label.name, int((~np.isfinite(values)).sum()), where)
    if label.task == "binary":
        _refuse_unknown(label.name, np.unique(values[(values != 0) & (values != 1)]).tolist(), where)
    return values


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
