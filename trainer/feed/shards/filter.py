"""`data.filter` on rows, and on row groups by the statistics in their footers.

A row group whose footer shows that no row can pass is never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.config import Condition
from trainer.errors import ConfigError
from trainer.feed.shards.column_chunks import statistics_of
from trainer.feed.shards.discovery import Shard

#: Key of the configuration -> comparison; and what a row group's least and greatest value must be for it to hold.
_COMPARISONS = {"at_least": pc.greater_equal, "above": pc.greater, "at_most": pc.less_equal, "below": pc.less}


@dataclass(frozen=True)
class RowFilter:
    """Conditions that a row has to meet, all of them.

    Attributes:
        conditions: By column; values are arrays of the column's type, of one element but for lists.
        nulls: Column -> whether its rows are to be null (True) or not (False).
    """

    conditions: Mapping[str, Mapping[str, pa.Array]]
    nulls: Mapping[str, bool]

    @property
    def columns(self) -> list[str]:
        """Columns that a table needs."""
        return list(dict.fromkeys([*self.conditions, *self.nulls]))

    def mask(self, table: pa.Table) -> np.ndarray:
        """Returns which rows pass: bool [rows]. A null meets no comparison."""
        fits = np.ones(len(table), bool)
        for name, conditions in self.conditions.items():
            values = _plain(table.column(name))
            for key, bounds in conditions.items():
                fits &= _holds(key, values, bounds)
        for name, null in self.nulls.items():
            fits &= table.column(name).is_null().to_numpy() == null
        return fits

    def may_hold(self, shard: Shard, group: int, partition_types: Mapping[str, pa.DataType]) -> bool:
        """Whether a row of a row group can pass, by its footer and its path."""
        for name, conditions in self.conditions.items():
            if name in shard.stored:
                low, high = _range(shard, group, name)
            elif name in partition_types:
                text = shard.partition_value(name)
                if text is None:
                    return False
                low = high = text
            else:
                continue
            for key, bounds in conditions.items():
                if low is not None and not _may_hold(key, low, high, bounds):
                    return False
        return True


def make_filter(configured: Mapping[str, Condition], types: Mapping[str, pa.DataType]) -> RowFilter | None:
    """Returns the filter of a configuration.

    Args:
        configured: `data.filter`.
        types: Arrow types of the columns.

    Returns:
        The filter; None without conditions.

    Raises:
        ConfigError: A value that the column's type cannot be compared with.
    """
    conditions: dict[str, dict[str, pa.Array]] = {}
    nulls: dict[str, bool] = {}
    for name, condition in configured.items():
        given = condition.model_dump(exclude_none=True, by_alias=True)
        if (null := given.pop("null", None)) is not None:
            nulls[name] = null
        if given:
            conditions[name] = {key: _typed(name, key, value, types[name]) for key, value in given.items()}
    return RowFilter(conditions, nulls) if conditions or nulls else None


def _typed(name: str, key: str, value: Any, arrow: pa.DataType) -> pa.Array:
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    try:
        return pa.array(values).cast(arrow) if not pa.types.is_string(arrow) else pa.array(values, pa.string())
    except (pa.ArrowException, TypeError, ValueError):
        raise ConfigError(
            f"{key}: {value!r} cannot be compared with column {name!r}, which is {arrow}",
            where=f"run.data.filter.{name}", remedy=f"give a value that is a {arrow}",
        ) from None  # fmt: skip


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _holds(key: str, values: pa.ChunkedArray, bounds: pa.Array) -> np.ndarray:
    bounds = bounds.cast(values.type)
    if key in _COMPARISONS:
        fits = _COMPARISONS[key](values, bounds[0])
    else:
        fits = pc.is_in(values, value_set=bounds)
        if key == "not_in":
            fits = pc.and_(pc.invert(fits), values.is_valid())
    return np.asarray(fits.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False), bool)


def _range(shard: Shard, group: int, name: str) -> tuple[Any, Any]:
    """Returns least and greatest value of a column in a row group; None where the footer has none."""
    indices = shard.leaves[name]
    known = statistics_of(shard.metadata, group, indices[0]) if len(indices) == 1 else None
    return (known.min, known.max) if known is not None and known.has_min_max else (None, None)


def _may_hold(key: str, low: Any, high: Any, bounds: pa.Array) -> bool:
    try:
        least, most = pa.array([low]).cast(bounds.type)[0], pa.array([high]).cast(bounds.type)[0]
    except (pa.ArrowException, TypeError, ValueError):
        return True
    if key in ("at_least", "above"):
        return bool(_COMPARISONS[key](most, bounds[0]).as_py())
    if key in ("at_most", "below"):
        return bool(_COMPARISONS[key](least, bounds[0]).as_py())
    if key == "not_in":
        return not (least == most and least in bounds.to_pylist())
    inside = pc.and_(pc.greater_equal(bounds, least), pc.less_equal(bounds, most))
    return bool(pc.any(inside).as_py())
