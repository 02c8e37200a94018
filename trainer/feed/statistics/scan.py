"""One pass over the dataset: statistics of both splits, and the rows of each split in every row group."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa

from trainer.config import Categorical, Config
from trainer.feed.order.plan import SMALL_ROWS, runs_of
from trainer.feed.packing.arrow_values import encoded_names, numbers, valid_text
from trainer.feed.packing.decoder import Reader
from trainer.feed.shards.discovery import Shard
from trainer.feed.shards.filter import RowFilter
from trainer.feed.shards.footers import BadShard
from trainer.feed.shards.row_selection import kept_mask
from trainer.feed.shards.split import SplitName, SplitRule, row_hashes
from trainer.feed.statistics.accumulators import SAMPLE_ROWS, SplitPart, finish, smallest_hashes
from trainer.feed.statistics.column_parts import Place, column_part, label_part, numeric_part
from trainer.feed.threads import Pool
from trainer.schema import OF_NUMBERS, Column, Statistics

_THREADS = 2
#: Rows of a large row group that are processed at a time.
_SLICE_ROWS = 262_144
#: The sample is reduced when it has grown by this factor: wide datasets sample many columns.
_SAMPLE_ROOM = 1.5
#: Hashed columns may have as many values as rows; only the most frequent are stored.
_HASHED_VALUES = 1000


@dataclass(frozen=True)
class Survey:
    """What the pass reads, and how it is split.

    Attributes:
        config: The configuration.
        columns: Feature columns by name.
        partition_types: Types of hive keys.
        rule: How rows are split. rows_of: `data.filter`; None: all rows.
        largest_hashes: Split -> the largest hash that can still be among its sample. From the split's rows where
            they are known beforehand, else lowered as parts are merged, so that threads sample few rows; the final
            sample does not depend on it.
    """

    config: Config
    columns: Mapping[str, Column]
    partition_types: Mapping[str, pa.DataType]
    rule: SplitRule
    rows_of: RowFilter | None
    largest_hashes: dict[str, int] = field(default_factory=dict)

    @property
    def by_content(self) -> bool:
        """Whether a row's split is known only after it is read."""
        return self.rule.kind in ("value", "days") or self.rows_of is not None


@dataclass(frozen=True)
class Findings:
    """Result of the pass: statistics by split, the shards with their rows of each split, and what was left out."""

    parts: Mapping[SplitName, SplitPart]
    shards: tuple[Shard, ...]
    bad: tuple[str, ...]


@dataclass(frozen=True)
class _RunParts:
    """Statistics of neighbouring row groups by split, and the rows of each split in every row group or block of one."""

    parts: Mapping[SplitName, SplitPart]
    counts: Mapping[SplitName, tuple[int, ...]]
    groups: range
    in_blocks: bool = False

    def counts_of(self, split: SplitName) -> tuple[int, ...]:
        counts = self.counts.get(split, (0,) * len(self.groups))
        return (sum(counts),) if self.in_blocks else counts


def survey_set(
    survey: Survey,
    shards: Sequence[Shard],
    *,
    skip: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Reads every row once.

    Args:
        survey: What to read.
        shards: Ordered by name. Parts are merged in this order, so the result does not depend on threads.
        skip: How many shards that cannot be decoded may be left out.
        progress: Called with (rows done, all rows).

    Returns:
        The statistics of both splits, and the shards with their rows of each.

    Raises:
        BadShard: One shard too many cannot be decoded.
        DataError: A value that breaks the contract on reading.
    """
    whole: dict[SplitName, SplitPart] = {"train": SplitPart(), "validation": SplitPart()}
    good, bad, done, total = [], [], 0, sum(s.rows for s in shards)
    for shard, runs in _by_shard(survey, shards):
        if isinstance(runs, BadShard):
            bad.append(f"{shard.uri}: {runs.what}")
            if len(bad) > skip:
                raise runs
            continue
        for run in runs:
            for split, part in run.parts.items():
                whole[split].merge(part)
                if whole[split].sampled >= _SAMPLE_ROOM * SAMPLE_ROWS:
                    survey.largest_hashes[split] = whole[split].reduce_sample()
        counts = {split: tuple(n for run in runs for n in run.counts_of(split)) for split in whole}
        blocks: dict[str, dict[int, tuple[int, ...]]] = {
            split: {run.groups.start: run.counts[split] for run in runs if run.in_blocks and split in run.counts}
            for split in whole
        }
        good.append(replace(shard, train_rows=counts["train"], validation_rows=counts["validation"], blocks=blocks))
        done += shard.rows
        if progress is not None:
            progress(done, total)
    return Findings(whole, tuple(good), tuple(bad))


def _by_shard(survey: Survey, shards: Sequence[Shard]) -> Iterator[tuple[Shard, list[_RunParts] | BadShard]]:
    """Yields the parts of each shard in the order of the dataset, computed a few row groups ahead."""
    reader = Reader(_read_names(survey), survey.partition_types, encoded_names(list(survey.columns.values())))
    pool = Pool(_THREADS, "kfit-statistics")
    runs = {shard.uri: list(runs_of(shard.group_rows, SMALL_ROWS)) for shard in shards}
    tasks = deque((shard, run) for shard in shards for run in runs[shard.uri])
    running: deque[Future[_RunParts]] = deque()
    try:
        for shard in shards:
            parts: list[_RunParts] = []
            fault: BadShard | None = None
            for _ in runs[shard.uri]:
                while tasks and len(running) < 2 * _THREADS:
                    running.append(pool.submit(partial(_run_parts, survey, reader, *tasks.popleft())))
                try:
                    parts.append(running.popleft().result())
                except BadShard as error:
                    fault = fault or error
            yield shard, fault or parts
    finally:
        pool.close()


def _read_names(survey: Survey) -> list[str]:
    data = survey.config.data
    names = [*survey.columns, *data.label_columns, data.sample_weight, survey.rule.by, *data.filter]
    return list(dict.fromkeys(n for n in names if n is not None))


def _run_parts(survey: Survey, reader: Reader, shard: Shard, run: tuple[int, int]) -> _RunParts:
    groups = range(*run)
    chosen = survey.rows_of
    if chosen is not None and not any(chosen.may_hold(shard, g, survey.partition_types) for g in groups):
        return _RunParts({}, {}, groups)
    start = sum(shard.group_rows[: groups.start])
    ends = np.cumsum([0, *(shard.group_rows[g] for g in groups)])
    rows_of_run = int(ends[-1])
    in_blocks = survey.by_content and len(groups) == 1 and shard.block_rows(groups.start) < rows_of_run
    edges = np.append(np.arange(0, rows_of_run, shard.block_rows(groups.start)), rows_of_run) if in_blocks else ends
    names: tuple[SplitName, ...] = ("train", "validation")
    splits = [split for split in names if shard.membership in (split, "both")]
    parts = {split: SplitPart() for split in splits}
    counts = {split: np.zeros(len(edges) - 1, np.int64) for split in splits}
    for (low, high), table in _tables(reader, shard, groups, rows_of_run):
        hashes = row_hashes(shard.identity, start + low, len(table), "sample")
        for split in splits:
            with valid_text(survey.rule.by or "", shard.uri):
                side = kept_mask(survey.rule, chosen, shard, groups, table, split, (low, high))
            rows = np.arange(len(table)) if side is None else np.flatnonzero(side)
            largest = survey.largest_hashes.get(split, 2**64 - 1)
            sampled = rows[smallest_hashes(hashes[rows], largest)]
            parts[split].merge(_part(survey, table, Place(shard, start + low, rows, sampled), hashes))
            counts[split] += np.diff(np.searchsorted(rows + low, edges))
    return _RunParts(parts, {split: tuple(counted.tolist()) for split, counted in counts.items()}, groups, in_blocks)


def _tables(reader: Reader, shard: Shard, groups: range, rows: int) -> Iterator[tuple[tuple[int, int], pa.Table]]:
    """Yields tables with their range of rows in the run; a very large row group is never decoded as a whole."""
    if len(groups) > 1 or rows <= _SLICE_ROWS:
        yield (0, rows), reader.read(shard, groups.start, groups=len(groups))
        return
    ranges = [(low, min(rows, low + _SLICE_ROWS)) for low in range(0, rows, _SLICE_ROWS)]
    yield from zip(ranges, reader.slices(shard, groups.start, ranges), strict=True)


def _part(survey: Survey, table: pa.Table, place: Place, hashes: np.ndarray) -> SplitPart:
    part = SplitPart(len(place.rows), {}, [hashes[place.sampled]])
    data = survey.config.data
    for column in survey.columns.values():
        with valid_text(column.name, place.shard.uri):
            part.columns[column.name] = column_part(column, table.column(column.name), place)
    for target in survey.config.targets:
        name, task, label = target.label.column, target.task, table.column(target.label.column)
        with valid_text(name, place.shard.uri):
            as_number = task in OF_NUMBERS
            part.columns[name] = (
                numeric_part(numbers(label), label, place) if as_number else label_part(task, label, place)
            )
    if data.sample_weight is not None:
        weight = table.column(data.sample_weight)
        part.columns[data.sample_weight] = numeric_part(numbers(weight), weight, place)
    return part


def finish_statistics(survey: Survey, part: SplitPart) -> Statistics:
    """Returns the statistics of a split."""
    part.reduce_sample()
    features = survey.config.data.features.items()
    hashed = {name for name, feature in features if isinstance(feature, Categorical) and feature.encode == "hash"}
    return Statistics(
        part.rows,
        {
            name: finish(column, most_values=_HASHED_VALUES if name in hashed else None)
            for name, column in part.columns.items()
        },
    )
