"""Selects the rows of a table that belong to a split and pass `data.filter`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainer.feed.shards.discovery import Shard
from trainer.feed.shards.filter import RowFilter
from trainer.feed.shards.split import SplitName, SplitRule, day_numbers, position_counts, position_mask, value_mask


def kept_mask(
    rule: SplitRule,
    chosen: RowFilter | None,
    shard: Shard,
    groups: range,
    table: pa.Table,
    split: SplitName,
    rows: tuple[int, int] | None = None,
) -> np.ndarray | None:
    """Returns which rows of neighbouring row groups belong to a split.

    Args:
        rule: How rows are split.
        chosen: `data.filter`; None: all rows.
        shard: The shard.
        groups: Its row groups.
        table: Their rows, or some of them.
        split: The split.
        rows: Which of their rows the table holds: (first, one past the last). None: all.

    Returns:
        bool [rows]; None where all do.
    """
    mask = validation_mask(rule, shard, groups, table, rows)
    side = None if mask is None else (mask if split == "validation" else ~mask)
    if chosen is None:
        return side
    return chosen.mask(table) if side is None else chosen.mask(table) & side


def validation_mask(
    rule: SplitRule, shard: Shard, groups: range, table: pa.Table, rows: tuple[int, int] | None = None
) -> np.ndarray | None:
    """Returns which rows of neighbouring row groups are validation rows.

    Args:
        rule: How rows are split.
        shard: The shard.
        groups: Its row groups.
        table: Their rows, or some of them; has the rule's column.
        rows: Which of their rows the table holds: (first, one past the last). None: all.

    Returns:
        bool [rows]; None where the shard belongs to one split as a whole.
    """
    if shard.membership != "both" or rule.kind == "none":
        return None
    if rule.kind == "position":
        starts = np.cumsum([0, *shard.group_rows])
        counts = position_counts(shard.identity, shard.group_rows, rule.fraction)
        masks = (position_mask(shard.identity, int(starts[g]), shard.group_rows[g], counts[g]) for g in groups)
        mask = np.concatenate([np.empty(0, bool), *masks])
        return mask if rows is None else mask[rows[0] : rows[1]]
    assert rule.by is not None
    if rule.kind == "value":
        return value_mask(table.column(rule.by), rule.fraction)
    return day_numbers(table.column(rule.by)) >= rule.cutoff_day
