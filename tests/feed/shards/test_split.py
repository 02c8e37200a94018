"""Splits are stable, disjoint, of the right size, and the same for a copy of the set elsewhere."""

from __future__ import annotations

import datetime
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.feed.conftest import table_of
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.decoder import Reader
from trainer.feed.packing.raw_columns import raw_batches
from trainer.feed.shards.row_selection import validation_mask
from trainer.feed.shards.split import first_validation_day, position_counts, position_mask, value_mask
from trainer.feed.statistics.prepare import inspect, prepare


def validation_ids(prepared):
    """Ids of the validation rows, as the feed decides."""
    by = [prepared.rule.by] if prepared.rule.by else []
    reader = Reader(list(dict.fromkeys(["id", *by])), prepared.partition_types)
    out = []
    for shard in prepared.shards:
        for group in range(len(shard.group_rows)):
            table = reader.read(shard, group)
            mask = validation_mask(prepared.rule, shard, range(group, group + 1), table)
            if mask is None:
                mask = np.full(len(table), shard.membership == "validation")
            assert int(mask.sum()) == shard.validation_rows[group]
            assert shard.train_rows[group] + shard.validation_rows[group] == shard.group_rows[group]
            out += np.array(table["id"])[mask].tolist()
    return out


@given(st.lists(st.integers(0, 500), max_size=8), st.floats(0.01, 0.99))
def test_a_share_by_position_is_exact_within_a_row_of_the_shard(groups, fraction):
    counts = position_counts("part-0.parquet", groups, fraction)
    assert abs(sum(counts) - fraction * sum(groups)) <= 1
    for rows, count in zip(groups, counts, strict=True):
        assert position_mask("part-0.parquet", 0, rows, count).sum() == count


def test_the_same_rows_validate_in_every_run_and_in_a_copy_elsewhere(write_set, configure):
    here, there = write_set(folder="here", hive=True), write_set(folder="there", hive=True)
    splits = [prepare(configure(w, validation={"fraction": 0.25})) for w in (here, here, there)]
    ids = [validation_ids(p) for p in splits]
    assert ids[0] == ids[1] == ids[2]
    assert 22 <= len(ids[0]) <= 28
    assert splits[0].rows == {"train": 100 - len(ids[0]), "validation": len(ids[0])}


def test_a_new_shard_leaves_the_rows_of_the_others_where_they_are(write_set, configure):
    folder = write_set((50, 50), folder="set")
    before = validation_ids(prepare(configure(folder, validation={"fraction": 0.2})))
    write_set((50, 50, 50), folder="set")
    after = validation_ids(prepare(configure(folder, validation={"fraction": 0.2})))
    assert [i for i in after if i < 100] == before


def test_rows_of_one_value_stay_together(write_set, configure):
    prepared = prepare(configure(write_set((400, 400)), validation={"fraction": 0.4, "by": "word"}))
    validating = set(validation_ids(prepared))
    for group in (None, "a", "b", "c"):
        ids = {i for i in range(800) if (None if i % 400 % 5 == 0 else "abc"[i % 400 % 3]) == group}
        assert ids <= validating or not ids & validating
    assert 0 < len(validating) < 800


def test_a_hash_by_value_has_about_its_share():
    mask = value_mask(pa.chunked_array([pa.array([f"user-{i}" for i in range(10_000)])]), 0.3)
    assert abs(mask.mean() - 0.3) < 0.02


def test_the_newest_days_validate_by_hive_folder(write_set, configure):
    prepared = prepare(configure(write_set((30, 30, 30, 30), hive=True), validation={"newest": 0.3, "by": "dt"}))
    assert validation_ids(prepared) == list(range(60, 120))


def test_the_newest_days_validate_by_timestamp(tmp_path, configure):
    moments = [datetime.datetime(2013, 1, 1 + i // 10, i % 24) for i in range(50)]
    table = pa.table({"id": range(50), "at": pa.array(moments, pa.timestamp("ms")), "x": np.arange(50.0),
                      "label": [i % 2 for i in range(50)]})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    config = configure(
        tmp_path / "a.parquet", features={"x": {"kind": "numeric"}}, validation={"newest": 0.2, "by": "at"}
    )
    assert validation_ids(prepare(config)) == list(range(40, 50))


def test_too_few_days_are_refused():
    assert first_validation_day([1, 2, 3, 4, 2], 0.25) == 4
    with pytest.raises(ConfigError, match="leaves none to train on"):
        first_validation_day([1], 0.5)


def test_own_uris_must_not_share_a_shard(write_set, configure):
    folder = write_set((40, 40))
    config = configure(folder, validation=str(folder / "part-1.parquet"))
    with pytest.raises(ConfigError, match=r"both in data\.train and in data.validation"):
        inspect(config)
    own = configure(str(folder / "part-0.parquet"), validation=str(folder / "part-1.parquet"))
    assert prepare(own).rows == {"train": 40, "validation": 40}


def test_null_dates_cannot_be_placed(tmp_path, configure):
    table = pa.table({"at": pa.array([None, datetime.date(2013, 1, 1)]), "x": [1.0, 2.0], "label": [0, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    config = configure(tmp_path / "a.parquet", features={"x": {"kind": "numeric"}}, batch_size=1,
                       validation={"newest": 0.2, "by": "at"})  # fmt: skip
    with pytest.raises(DataError, match="1 nulls in the column that the split goes by"):
        prepare(config)
    assert next(raw_batches(prepare(configure(tmp_path / "a.parquet", features={"x": {"kind": "numeric"}},
                                              batch_size=1)).layout, str(tmp_path)))[0].num_rows == 2  # fmt: skip


def rows_that_validate(prepared):
    """Every row of a set as (folder, id), of those that validate."""
    ids = set()
    for shard in prepared.shards:
        table, start = pq.read_table(shard.uri, partitioning=None), 0
        for group, rows in enumerate(shard.group_rows):
            part = table.slice(start, rows)
            mask = validation_mask(prepared.rule, shard, range(group, group + 1), part)
            ids |= {(shard.uri.split("/")[-2], i) for i in part["id"].filter(pa.array(mask)).to_pylist()}
            start += rows
    return ids


def test_files_of_one_name_split_by_themselves_however_they_are_listed(tmp_path, configure):
    days = [tmp_path / "set" / f"day{n}" for n in range(1, 13)]
    for n, day in enumerate(days):
        day.mkdir(parents=True)
        # Some differ in their content alone, the last two in nothing but their folder.
        pq.write_table(table_of(12, start=12 * min(n, 10), seed=n), day / "part-0.parquet")
    shutil.copytree(tmp_path / "set", tmp_path / "copy" / "elsewhere")
    listings = [
        tmp_path / "set", tmp_path / "set" / "day*" / "*.parquet", tmp_path / "copy",
    ]  # fmt: skip
    splits = [prepare(configure(where, batch_size=4, validation={"fraction": 0.2})) for where in listings]
    as_list = configure(days[0], batch_size=4, validation={"fraction": 0.2}, train=[str(day) for day in reversed(days)])
    splits.append(prepare(as_list))
    sides = [rows_that_validate(s) for s in splits]
    assert sides[0] == sides[1] == sides[2] == sides[3]
    places = {day.name: sorted(i % 12 for folder, i in sides[0] if folder == day.name) for day in days}
    assert len({tuple(p) for p in places.values()}) > 8
    assert abs(len(sides[0]) - 0.2 * 144) < 6


@pytest.mark.parametrize(("train", "validation"), [(["1", "x"], ["1"]), (["1", "2"], ["1", "x"])])
def test_a_hive_key_has_one_type_over_training_and_validation(train, validation, tmp_path, configure):
    """Text where a value of either is no number, whichever it is."""
    for side, keys in {"train": train, "validation": validation}.items():
        for n, key in enumerate(keys):
            folder = tmp_path / side / f"store={key}"
            folder.mkdir(parents=True)
            pq.write_table(table_of(30, start=30 * n), folder / f"{side}.parquet")
    features = {"store": {"kind": "categorical"}, "number": {"kind": "numeric"}}
    prepared = prepare(configure(tmp_path / "train", features=features, validation=str(tmp_path / "validation")))
    assert prepared.rows == {"train": 60, "validation": 30 * len(validation)}
    assert prepared.layout.codes[0].vocabulary == tuple(train)
