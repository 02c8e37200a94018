"""Which rows belong to the set: `data.filter` on rows, and on row groups by what their footers say.

A row group whose footer shows that no row can fit is never read.
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
    """Conditions that all have to hold.

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
        """Which rows belong to the set: bool [rows]. A null fits no comparison."""
        kept = np.ones(len(table), bool)
        for name, conditions in self.conditions.items():
            values = _plain(table.column(name))
            for key, wanted in conditions.items():
                kept &= _holds(key, values, wanted)
        for name, null in self.nulls.items():
            kept &= table.column(name).is_null().to_numpy() == null
        return kept

    def may_hold(self, shard: Shard, group: int, partition_types: Mapping[str, pa.DataType]) -> bool:
        """Whether a row of a row group can belong to the set, as far as its footer and its path tell."""
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
            for key, wanted in conditions.items():
                if low is not None and not _may_hold(key, low, high, wanted):
                    return False
        return True


def make_filter(wanted: Mapping[str, Condition], types: Mapping[str, pa.DataType]) -> RowFilter | None:
    """The filter of a configuration.

    Args:
        wanted: `data.filter`.
        types: Arrow types of the columns.

    Returns:
        The filter; None where everything belongs to the set.

    Raises:
        ConfigError: A value that the column's type cannot be compared with.
    """
    conditions: dict[str, dict[str, pa.Array]] = {}
    nulls: dict[str, bool] = {}
    for name, condition in wanted.items():
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


def _holds(key: str, values: pa.ChunkedArray, wanted: pa.Array) -> np.ndarray:
    wanted = wanted.cast(values.type)
    if key in _COMPARISONS:
        found = _COMPARISONS[key](values, wanted[0])
    else:
        found = pc.is_in(values, value_set=wanted)
        if key == "not_in":
            found = pc.and_(pc.invert(found), values.is_valid())
    return np.asarray(found.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False), bool)


def _range(shard: Shard, group: int, name: str) -> tuple[Any, Any]:
    """Least and greatest value of a column in a row group; None where the footer does not say."""
    indices = shard.leaves[name]
    known = statistics_of(shard.metadata, group, indices[0]) if len(indices) == 1 else None
    return (known.min, known.max) if known is not None and known.has_min_max else (None, None)


def _may_hold(key: str, low: Any, high: Any, wanted: pa.Array) -> bool:
    try:
        least, most = pa.array([low]).cast(wanted.type)[0], pa.array([high]).cast(wanted.type)[0]
    except (pa.ArrowException, TypeError, ValueError):
        return True
    if key in ("at_least", "above"):
        return bool(_COMPARISONS[key](most, wanted[0]).as_py())
    if key in ("at_most", "below"):
        return bool(_COMPARISONS[key](least, wanted[0]).as_py())
    if key == "not_in":
        return not (least == most and least in wanted.to_pylist())
    inside = pc.and_(pc.greater_equal(wanted, least), pc.less_equal(wanted, most))
    return bool(pc.any(inside).as_py())
