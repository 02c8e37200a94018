"""`data.filter`: rows that belong to the set, and row groups that are never read because none of them do."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import ConfigError, DataError
from trainer.feed.packing.decoder import Reader
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import inspect, prepare

WITH_ID = {"id": {"kind": "numeric"}, "number": {"kind": "numeric"}}


def ids_of(prepared, split="train"):
    with Feed(prepared, split, batch_size=8, seed=0, shuffle=False) as feed:
        return [
            int(value)
            for x, _, w in feed.dataset()
            for value in x["numbers"][: round(float(w[0, 1]) * 8), 0].numpy().tolist()
        ]


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"id": {"at_least": 30, "below": 75}}, lambda r: 30 <= r["id"] < 75),
        ({"id": {"above": 30, "at_most": 75}}, lambda r: 30 < r["id"] <= 75),
        ({"word": {"in": ["a", "c"]}}, lambda r: r["word"] in ("a", "c")),
        ({"word": {"not_in": ["a"]}}, lambda r: r["word"] in ("b", "c")),
        ({"word": {"equals": "b"}, "digit": {"not_in": [0, 1]}}, lambda r: r["word"] == "b" and r["digit"] > 1),
        ({"word": {"null": True}}, lambda r: r["word"] is None),
        ({"word": {"null": False}, "gaps": {"at_least": 3.5}}, lambda r: r["word"] and (r["gaps"] or 0) >= 3.5),
    ],
)
def test_only_rows_that_pass_the_filter_are_read(write_set, configure, conditions, holds):
    folder = write_set((60, 0, 1, 39))
    prepared = prepare(configure(folder, features=WITH_ID, filter=conditions, batch_size=4))
    expected = [row["id"] for row in pq.read_table(folder).to_pylist() if holds(row)]
    assert ids_of(prepared) == expected
    assert prepared.rows == {"train": len(expected)}
    assert prepared.statistics["train"].columns["id"].minimum == min(expected)


def test_a_filter_leaves_the_sides_of_a_split_as_they_were(write_set, configure):
    folder = write_set((60, 39))
    both = {"features": WITH_ID, "validation": {"fraction": 0.3}}
    whole = prepare(configure(folder, **both))
    some = prepare(configure(folder, filter={"id": {"below": 50}}, batch_size=4, **both))
    for split in ("train", "validation"):
        assert ids_of(some, split) == [i for i in ids_of(whole, split) if i < 50]


def test_row_groups_that_cannot_hold_a_row_are_not_read(write_set, configure, monkeypatch):
    folder = write_set((100, 100), group=20)
    read = []
    plain = Reader.read

    def noted(self, shard, group, *args, **kwargs):
        read.append((shard.name, group))
        return plain(self, shard, group, *args, **kwargs)

    monkeypatch.setattr(Reader, "read", noted)
    monkeypatch.setattr("trainer.feed.statistics.scan.SMALL_ROWS", 0)
    prepared = prepare(configure(folder, features=WITH_ID, filter={"id": {"at_least": 130, "below": 150}}))
    expected = [("part-1.parquet", 1), ("part-1.parquet", 2)]
    assert sorted(read) == expected
    read.clear()
    ids_of(prepared)
    assert set(read) == {("part-1.parquet", 1)}  # the two as one


def test_hive_keys_filter_too(write_set, configure):
    folder = write_set((20, 20, 20), hive=True)
    conditions = {"dt": {"at_least": "2013-01-02"}}
    prepared = prepare(configure(folder, features=WITH_ID, filter=conditions, batch_size=4))
    assert ids_of(prepared) == list(range(20, 60))


def test_dates_and_the_newest_days_of_what_is_left(tmp_path, configure):
    days = [datetime.date(2013, 1, 1 + i // 10) for i in range(100)]
    table = pa.table({"at": days, "id": np.arange(100), "number": np.ones(100), "label": np.arange(100) % 2})
    pq.write_table(table, tmp_path / "a.parquet")
    config = configure(
        tmp_path / "a.parquet", features=WITH_ID, batch_size=4, filter={"at": {"below": "2013-01-06"}},
        validation={"newest": 0.2, "by": "at"},
    )  # fmt: skip
    prepared = prepare(config)
    assert ids_of(prepared) == list(range(40))
    assert ids_of(prepared, "validation") == list(range(40, 50))


def test_what_cannot_be_compared_is_refused(write_set, configure):
    config = configure(write_set((20,)), features=WITH_ID, filter={"id": {"at_least": "many"}})
    with pytest.raises(ConfigError, match="at_least: 'many' cannot be compared with column 'id', which is int64"):
        inspect(config)
    with pytest.raises(DataError, match="the data has no column 'ids'"):
        inspect(configure(write_set((20,)), features=WITH_ID, filter={"ids": {"null": False}}))


def test_a_filter_that_lets_nothing_through_is_an_error(write_set, configure):
    config = configure(write_set((20,)), features=WITH_ID, filter={"id": {"above": 1000}})
    with pytest.raises(DataError, match="no row is left to train on") as error:
        prepare(config)
    assert error.value.where == "run.data.filter"
