"""One split as a source of packed rows: its read units, their order, and how a unit is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.feed.order.plan import Blocks, Plan, make_plan
from trainer.feed.order.shuffle import ShuffleWindow, row_order, windows_of
from trainer.feed.order.window_checks import few_groups_warnings
from trainer.feed.order.worker_share import Worker
from trainer.feed.packing.buffers import Rows, row_bytes
from trainer.feed.packing.decoder import Reader
from trainer.feed.packing.pack import Packer
from trainer.feed.shards.row_selection import kept_mask
from trainer.feed.shards.split import SplitName, position_counts, position_mask
from trainer.feed.statistics.prepare import Prepared

#: Size of a window where nothing is shuffled.
_UNSHUFFLED_BYTES = 32 * 1024**2
#: Overhead of a Python bytes object.
_BYTES_OBJECT = 48


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split, ready to be read in any order.

    Attributes:
        prepared: The dataset. split: which of its rows.
        plan: The read units.
        reader: Decodes them. packer: packs them.
        seed, batch_size, shuffle: What decides the order.
        row_bytes: What a row takes in memory.
        worker: Which of several workers reads.
    """

    prepared: Prepared
    split: SplitName
    plan: Plan
    reader: Reader
    packer: Packer
    seed: int
    batch_size: int
    shuffle: bool
    row_bytes: int
    worker: Worker

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-self.plan.total_rows // self.batch_size)

    def windows(self, epoch: int) -> list[ShuffleWindow]:
        """The windows of an epoch."""
        return windows_of(self.plan, self.seed, epoch, shuffle=self.shuffle, lanes=self.lanes)

    @property
    def lanes(self) -> bool:
        """Whether unshuffled batches take from all lanes, so that workers share them; a validation's order is free."""
        return self.worker.workers > 1 and self.split == "validation"

    def order(self, epoch: int, part: ShuffleWindow) -> np.ndarray:
        """Returns the order in which a window yields its rows; see `row_order`."""
        return row_order(
            self.plan,
            part,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            lanes=self.lanes,
        )

    def pack_units(self, units: Sequence[int], targets: Sequence[Rows]) -> None:
        """Reads one read unit, or several slices of one row group, and packs each into its target."""
        plan, first = self.plan, units[0]
        shard, group, groups = self.prepared.shards[plan.shard[first]], int(plan.group[first]), int(plan.groups[first])
        ranges = [(int(plan.start[unit]), int(plan.stop[unit])) for unit in units]
        whole = sum(shard.group_rows[group : group + groups])
        if ranges == [(0, whole)]:
            tables = iter([self.reader.read(shard, group, groups=groups)])
        else:
            tables = self.reader.slices(shard, group, ranges)
        for table, out, rows in zip(tables, targets, ranges, strict=True):
            keep = None
            if len(table) != len(out):
                group_range = range(group, group + groups)
                keep = kept_mask(self.prepared.rule, self.prepared.rows_of, shard, group_range, table, self.split, rows)
                assert keep is not None, "a read unit that is kept in part has a rule that says which part"
            self.packer.pack(table, out, keep)


def source_of(
    prepared: Prepared,
    split: SplitName,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    class_weight: Mapping[int, float] | None,
    worker: Worker | None,
) -> Source:
    """Returns the source of a split; the arguments are those of `Feed`."""
    packer = Packer(prepared.layout, class_weight)
    bytes_a_row = _packed_row_bytes(prepared)
    plan = _plan_of(prepared, split, bytes_a_row, shuffle=shuffle)
    by = [prepared.rule.by] if prepared.rule.kind in ("value", "days") and prepared.rule.by else []
    names = list(dict.fromkeys([*packer.names, *by, *prepared.config.data.filter]))
    reader = Reader(names, prepared.partition_types, packer.encoded)
    return Source(
        prepared=prepared,
        split=split,
        plan=plan,
        reader=reader,
        packer=packer,
        seed=seed,
        batch_size=batch_size,
        shuffle=shuffle,
        row_bytes=bytes_a_row,
        worker=worker or Worker(),
    )


def mixing_warnings(prepared: Prepared) -> tuple[str, ...]:
    """Warns where training's shuffle windows are too small to mix sorted rows; see `few_groups_warnings`."""
    shuffle_bytes = prepared.config.data.shuffle
    if shuffle_bytes is False:
        return ()
    bytes_a_row = _packed_row_bytes(prepared)
    plan = _plan_of(prepared, "train", bytes_a_row, shuffle=True)
    return few_groups_warnings(plan, shuffle_bytes=shuffle_bytes, row_bytes=bytes_a_row)


def _packed_row_bytes(prepared: Prepared) -> int:
    """Bytes of a packed row with its encoded images and ragged codes, averaged over the rows of all shards."""
    images, ragged = ({c.name for c in prepared.layout.images}, {f.column.name for f in prepared.layout.ragged})
    total = 0
    for shard in prepared.shards if images or ragged else ():
        for group in range(len(shard.group_rows)):
            for chunk in shard.chunks(group, (*images, *ragged)):
                name = chunk.path_in_schema
                total += chunk.total_uncompressed_size if name in images else 0
                total += 4 * chunk.num_values if name.partition(".")[0] in ragged else 0
    objects = _BYTES_OBJECT * (len(images) + len(ragged))
    return row_bytes(prepared.layout) + objects + -(-total // max(1, sum(s.rows for s in prepared.shards)))


def _plan_of(prepared: Prepared, split: SplitName, bytes_a_row: int, *, shuffle: bool) -> Plan:
    """Returns the read units of a split, with windows of `data.shuffle` bytes of packed rows."""
    budget = prepared.config.data.shuffle if shuffle else False
    window_bytes = _UNSHUFFLED_BYTES if budget is False else budget
    return make_plan(
        [s.group_rows for s in prepared.shards],
        [s.rows_of(split) for s in prepared.shards],
        window_rows=max(1, window_bytes // bytes_a_row),
        blocks_of=partial(_blocks, prepared, split),
    )


def _blocks(prepared: Prepared, split: SplitName, shard: int, group: int) -> Blocks | None:
    """Where the rows of a split are in a row group: exactly under a split by position, else as the pass counted."""
    split_shard, rule = prepared.shards[shard], prepared.rule
    if rule.kind == "position" and prepared.rows_of is None:
        counts = position_counts(split_shard.identity, split_shard.group_rows, rule.fraction)
        mask = position_mask(
            split_shard.identity, sum(split_shard.group_rows[:group]), split_shard.group_rows[group], counts[group]
        )
        return Blocks(1, mask if split == "validation" else ~mask)
    block_rows = split_shard.blocks.get(split, {}).get(group)
    return None if block_rows is None else Blocks(split_shard.block_rows(group), np.array(block_rows))
