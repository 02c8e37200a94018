"""From a configuration to all that the feed and the model need to know of the data; without TensorFlow.

`inspect` reads footers alone and is what `trainer check` needs; `prepare` adds one pass over the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from trainer.config import Categorical, Config, FractionSplit, NewestSplit, Sequence, resolve_automatic, resolved_uris
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.decoder import Reader, constant
from trainer.feed.packing.layout import make_layout
from trainer.feed.shards.column_types import (
    check_by,
    check_labels,
    check_weight,
    key_types,
    needed_columns,
    resolve_columns,
)
from trainer.feed.shards.discovery import Shard, ShardSet, key_types_of, scan
from trainer.feed.shards.filter import RowFilter, make_filter
from trainer.feed.shards.footers import BadShard
from trainer.feed.shards.split import SplitName, SplitRule, day_numbers, first_validation_day, position_counts
from trainer.feed.statistics import cache as statistics_cache
from trainer.feed.statistics.accumulators import largest_sampled_hash
from trainer.feed.statistics.checks import check_parts, odd_columns
from trainer.feed.statistics.scan import Survey, finish_statistics, survey_set
from trainer.feed.threads import Pool
from trainer.schema import Column, Layout, Statistics

__all__ = ["Inspection", "Prepared", "SplitName", "inspect", "prepare"]


@dataclass(frozen=True)
class Inspection:
    """What the footers say about the dataset.

    Attributes:
        config: The configuration.
        shards: The readable shards; `membership` names the split of each.
        columns: The feature columns.
        label_types: Arrow type of each label.
        rows: Rows by split.
        estimated: Whether `rows` is an estimate: a filter, or a split by a stored column, is known after the pass.
        fingerprint: Changes when a shard comes, goes or changes.
        bad_shards: Shards that were left out, `uri: why`.
        warnings: One line each.
    """

    config: Config
    shards: tuple[Shard, ...]
    columns: tuple[Column, ...]
    label_types: Mapping[str, pa.DataType]
    rows: Mapping[str, int]
    estimated: bool
    fingerprint: str
    bad_shards: tuple[str, ...]
    warnings: tuple[str, ...]
    rule: SplitRule = field(repr=False)
    shard_set: ShardSet = field(repr=False)
    rows_of: RowFilter | None = field(repr=False, default=None)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that is known of the data before the first step.

    Attributes:
        config: The configuration; what is `auto` in `fit` is resolved.
        layout: How raw columns become a packed row.
        statistics: `train` and, where there is one, `validation`.
        rows: Rows by split.
        fingerprint: SHA-256 over the shards' names, sizes and versions.
        shards: The shards, with the rows of each split in every row group.
        bad_shards: Shards that were left out, `uri: why`.
        warnings: One line each.
        partition_types: Arrow types of the hive keys.
        rule: How rows are split.
        rows_of: `data.filter`; None: all rows.
    """

    config: Config
    layout: Layout
    statistics: Mapping[str, Statistics]
    rows: Mapping[str, int]
    fingerprint: str
    shards: tuple[Shard, ...]
    bad_shards: tuple[str, ...]
    warnings: tuple[str, ...]
    partition_types: Mapping[str, pa.DataType] = field(repr=False)
    rule: SplitRule = field(repr=False)
    rows_of: RowFilter | None = field(repr=False, default=None)


def inspect(config: Config, *, cache: str | Path | None = None) -> Inspection:
    """Reads every footer and checks schema, kinds, label and split against the configuration.

    Args:
        config: The configuration.
        cache: Folder where footers are kept between runs; None: nowhere.

    Returns:
        What is known without reading a row.

    Raises:
        ConfigError: Configuration and data do not fit each other.
        DataError: A shard breaks the contract, or there are no rows.
        StorageError: Nothing there, or the store is out of reach.
    """
    shard_set = _scan(config, cache)
    columns = resolve_columns(config, shard_set)
    label_types = check_labels(config, shard_set)
    check_weight(config, shard_set)
    rule, shards = _place(config, shard_set, check_by(config, shard_set))
    rows, estimated = _count(rule, shards)
    rows_of = make_filter(config.data.filter, key_types(shard_set, columns.values()) | dict(shard_set.types))
    if not sum(s.rows for s in shards):
        raise DataError("the dataset has no rows", where=str(config.data.train), remedy="point run.data.train at data")
    extra = shard_set.extra
    shown = ", ".join(extra[:5]) + (f" and {len(extra) - 5} more" if len(extra) > 5 else "")
    return Inspection(
        config, shards, tuple(columns.values()), label_types, rows, estimated or rows_of is not None,
        _fingerprint(shards), shard_set.bad, (f"columns not used: {shown}",) if extra else (), rule, shard_set, rows_of,
    )  # fmt: skip


def _scan(config: Config, cache: str | Path | None) -> ShardSet:
    data = config.data
    skip = data.max_bad_shards if data.on_bad_shard == "skip" else 0
    needed = needed_columns(config)
    filtered_by = list(data.filter)
    train = scan(data.train_uris, needed, skip=skip, cache=cache, filtered_by=filtered_by)
    if data.validation is None or isinstance(data.validation, FractionSplit | NewestSplit):
        return train
    validation_uris = resolved_uris(data.validation, "run.data.validation")
    allowed = max(0, skip - len(train.bad))
    validation = scan(validation_uris, needed, skip=allowed, cache=cache, filtered_by=filtered_by)
    # The type of a key follows from its values in both splits: {1, x} and {1} is text.
    partition_types = key_types_of((*train.shards, *validation.shards))
    shared = {s.uri for s in train.shards} & {s.uri for s in validation.shards}
    if shared:
        raise ConfigError(
            f"{len(shared)} shards are both in data.train and in data.validation", where=min(shared),
            remedy="give each shard to one of them",
        )  # fmt: skip
    for name in needed:
        train_type, validation_type = (s.types.get(name, partition_types.get(name)) for s in (train, validation))
        if train_type != validation_type:
            raise BadShard(
                f"column {name!r} is {validation_type}; expected {train_type} as in the training shards",
                where=validation.shards[0].uri, remedy="write both with the same types",
            )  # fmt: skip
    shards = (*train.shards, *(replace(s, membership="validation") for s in validation.shards))
    extra = tuple(sorted({*train.extra, *validation.extra}))
    return ShardSet(shards, train.types, partition_types, extra, (*train.bad, *validation.bad))


def _place(config: Config, shard_set: ShardSet, by_type: pa.DataType | None) -> tuple[SplitRule, tuple[Shard, ...]]:
    """Returns the split rule and the shards with their split. `prepare` finds a cutoff day that lies within files."""
    split = config.data.validation
    if isinstance(split, FractionSplit):
        rule = SplitRule("position" if split.by is None else "value", split.fraction, split.by)
        return rule, tuple(replace(s, membership="both") for s in shard_set.shards)
    if not isinstance(split, NewestSplit):
        return SplitRule(), shard_set.shards
    rule = SplitRule("days", split.newest, split.by)
    if split.by in shard_set.types:
        return rule, tuple(replace(s, membership="both") for s in shard_set.shards)
    days = [
        int(day_numbers(pa.chunked_array([constant(s.partition_value(split.by), by_type, 1)]))[0])
        for s in shard_set.shards
    ]
    cutoff = first_validation_day(days, split.newest)
    placed = tuple(
        replace(s, membership="validation" if day >= cutoff else "train")
        for s, day in zip(shard_set.shards, days, strict=True)
    )
    return replace(rule, kind="none", cutoff_day=cutoff), placed


def _count(rule: SplitRule, shards: tuple[Shard, ...]) -> tuple[dict[str, int], bool]:
    total = sum(s.rows for s in shards)
    if rule.kind == "position":
        validation_rows = sum(sum(position_counts(s.identity, s.group_rows, rule.fraction)) for s in shards)
    elif rule.kind == "none":
        validation_rows = sum(s.rows for s in shards if s.membership == "validation")
    else:
        validation_rows = round(total * rule.fraction)
    rows = {"train": total - validation_rows, "validation": validation_rows}
    return {k: v for k, v in rows.items() if v or k == "train"}, rule.kind in ("value", "days")


def _fingerprint(shards: tuple[Shard, ...]) -> str:
    digest = hashlib.sha256()
    for shard in sorted(shards, key=lambda s: (s.name, s.uri)):
        digest.update(f"{shard.name}\0{shard.size_bytes}\0{shard.version}\0{shard.membership}\n".encode())
    return digest.hexdigest()


def prepare(
    config: Config,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Reads the footers, then every row once, and checks the data against its contract.

    Args:
        config: The configuration.
        cache: Folder where footers and the result of the pass are kept for the next run; None: nowhere.
        progress: Called with (rows done, all rows).

    Returns:
        All that is known of the data.

    Raises:
        ConfigError: Configuration and data do not fit each other, e.g. a batch larger than the dataset.
        DataError: The data breaks its contract.
        StorageError: The store is out of reach.
    """
    seen = inspect(config, cache=cache)
    key = statistics_cache.cache_key(config, seen.fingerprint, [s.uri for s in seen.shards])
    rule = _with_cutoff(seen)
    known = statistics_cache.load(cache, key) if cache is not None else None
    if known is None:
        known = _survey(seen, rule, progress)
        if cache is not None:
            statistics_cache.store(cache, key, known)
    shards = tuple(
        replace(s, train_rows=train_rows, validation_rows=validation_rows, blocks=known.blocks.get(s.uri, {}))
        for s in seen.shards
        if s.uri in known.split_rows
        for train_rows, validation_rows in [known.split_rows[s.uri]]
    )
    rows = {split: s.rows for split, s in known.statistics.items()}
    _check_rows(config, rows)
    nulls = {n: sum(s.columns[n].nulls for s in known.statistics.values()) for n in config.data.features}
    columns = resolve_columns(config, seen.shard_set, nulls, _largest_categories(config, known.statistics))
    layout = make_layout(config, columns, seen.label_types, known.statistics["train"])
    resolved = resolve_automatic(config, rows["train"], rows.get("validation", 0))
    return Prepared(
        config=resolved,
        layout=layout,
        statistics=known.statistics,
        rows=rows,
        fingerprint=seen.fingerprint,
        shards=shards,
        bad_shards=(*seen.bad_shards, *known.bad),
        warnings=(*seen.warnings, *known.odd),
        partition_types=key_types(seen.shard_set, seen.columns),
        rule=rule,
        rows_of=seen.rows_of,
    )


def _largest_categories(config: Config, statistics: Mapping[str, Statistics]) -> dict[str, int]:
    """Largest magnitude of each column whose categories are integers."""
    values = {
        name: [abs(v) for split in statistics.values() for v, _ in split.columns[name].values if isinstance(v, int)]
        for name, feature in config.data.features.items()
        if isinstance(feature, Categorical | Sequence)
    }
    return {name: max(magnitudes) for name, magnitudes in values.items() if magnitudes}


def _survey(
    seen: Inspection, rule: SplitRule, progress: Callable[[int, int], None] | None
) -> statistics_cache.ScanResult:
    config = seen.config
    columns = {c.name: c for c in seen.columns}
    skip = config.data.max_bad_shards - len(seen.bad_shards) if config.data.on_bad_shard == "skip" else 0
    exact = not seen.estimated and not skip
    survey = Survey(
        config=config,
        columns=columns,
        partition_types=key_types(seen.shard_set, seen.columns),
        rule=rule,
        rows_of=seen.rows_of,
        largest_hashes={split: largest_sampled_hash(rows) for split, rows in seen.rows.items()} if exact else {},
    )
    findings = survey_set(survey, seen.shards, skip=skip, progress=progress)
    if not findings.parts["train"].rows:
        raise DataError(
            "no row is left to train on",
            where="run.data.filter" if seen.rows_of else "run.data.validation",
            remedy="let more rows through the filter" if seen.rows_of else "let fewer rows validate, or add data",
        )
    check_parts(config, findings.parts)
    return statistics_cache.ScanResult(
        {split: finish_statistics(survey, part) for split, part in findings.parts.items() if part.rows},
        {s.uri: (s.train_rows, s.validation_rows) for s in findings.shards},
        {s.uri: s.blocks for s in findings.shards if any(s.blocks.values())},
        findings.bad,
        tuple(odd_columns(config, findings.parts["train"])),
    )


def _check_rows(config: Config, rows: Mapping[str, int]) -> None:
    batch = config.fit.batch_size
    if batch != "auto" and batch > rows["train"]:
        raise ConfigError(
            f"batch_size {batch} is more than the {rows['train']} training rows", where="run.fit.batch_size",
            remedy=f"use at most {rows['train']}",
        )  # fmt: skip
    if config.data.validation is not None and not rows.get("validation"):
        raise ConfigError(
            "data.validation leaves no row to validate on", where="run.data.validation",
            remedy="use a larger share, or more data",
        )  # fmt: skip


def _with_cutoff(seen: Inspection) -> SplitRule:
    """Returns the rule with its first validation day; reads the column of days where it is stored in the files."""
    rule = seen.rule
    if rule.kind != "days" or rule.by is None:
        return rule
    chosen, by = seen.rows_of, rule.by
    reader = Reader(
        list(dict.fromkeys([by, *(chosen.columns if chosen else [])])), key_types(seen.shard_set, seen.columns)
    )

    def days_of(shard: Shard, group: int) -> set[int]:
        table = reader.read(shard, group)
        days = day_numbers(table.column(by))
        return set((days if chosen is None else days[chosen.mask(table)]).tolist())

    pool = Pool(2, "kfit-days")
    try:
        tasks = [
            pool.submit(partial(days_of, shard, group))
            for shard in seen.shards
            for group in range(len(shard.group_rows))
        ]
        days: set[int] = set().union(*(task.result() for task in tasks))
    finally:
        pool.close()
    return replace(rule, cutoff_day=first_validation_day(days, rule.fraction))
