"""Raw columns are what the exported model takes, streamed in shards' order."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import DataError
from trainer.feed.packing.packed_inputs import packed_inputs
from trainer.feed.packing.raw_columns import raw_batches, raw_columns
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import prepare
from trainer.schema import Column


def test_rows_stream_in_order_with_all_their_columns(write_set, configure):
    folder = write_set((60, 0, 1, 39), hive=True)
    features = {"number": {"kind": "numeric"}, "dt": {"kind": "categorical"}}
    prepared = prepare(configure(folder, features=features))
    items = list(raw_batches(prepared.layout, str(folder), rows=16))
    assert max(len(t) for t, _ in items) <= 16
    assert pa.concat_tables(t for t, _ in items)["id"].to_pylist() == list(range(100))
    assert (
        np.concatenate([c["dt"] for _, c in items]).tolist()
        == ["2013-01-01"] * 60 + ["2013-01-03"] + ["2013-01-04"] * 39
    )
    narrow, _ = next(raw_batches(prepared.layout, [str(folder / "dt=2013-01-01")], extra=["label"]))
    assert narrow.column_names == ["number", "dt", "label"] or narrow.column_names == ["number", "label", "dt"]


def test_a_filter_leaves_out_rows_and_the_row_groups_that_cannot_hold_one(write_set, configure):
    folder = write_set((60, 0, 1, 39), hive=True)
    config = configure(folder, features={"number": {"kind": "numeric"}}, filter={
        "gaps": {"null": False, "at_least": 3}, "dt": {"not_in": ["2013-01-03"]}, "id": {"below": 90},
    })  # fmt: skip
    prepared = prepare(config)
    whole = pq.read_table(folder, partitioning=None)
    expected = [
        row["id"] for row in whole.to_pylist() if row["gaps"] is not None and row["gaps"] >= 3 and row["id"] < 90
        and row["id"] != 60
    ]  # fmt: skip
    items = list(
        raw_batches(prepared.layout, str(folder), rows=16, extra=["label", "id"], row_filter=config.data.filter)
    )
    assert [i for table, _ in items for i in table["id"].to_pylist()] == expected
    assert all(table.column_names == ["number", "label", "id"] and len(table) for table, _ in items)
    assert [v for _, columns in items for v in columns["number"].tolist()] == [
        whole["number"][whole["id"].to_pylist().index(i)].as_py() for i in expected
    ]
    everything, _ = next(raw_batches(prepared.layout, str(folder), row_filter=config.data.filter))
    assert "gaps" in everything.column_names
    assert "vector" in everything.column_names


def test_the_packed_inputs_of_a_table_are_those_of_the_feed(write_set, configure):
    folder = write_set((40,))
    prepared = prepare(configure(folder, batch_size=40, shuffle=False))
    with Feed(prepared, "train", batch_size=40, seed=0, shuffle=False) as feed:
        x, _, _ = next(iter(feed.dataset()))
    packed = packed_inputs(prepared.layout, pq.read_table(folder))
    assert packed.keys() == x.keys()
    for key, values in packed.items():
        np.testing.assert_array_equal(values, x[key].numpy())


RAW = {
    "int": ("int32", pa.array([1, 2], pa.int32()), np.array([1, 2], np.int32)),
    "int with null": ("float64", pa.array([1, None], pa.int32()), np.array([1.0, np.nan])),
    "bool": ("bool", pa.array([True, False]), np.array([True, False])),
    "bool with null": ("float64", pa.array([True, None]), np.array([1.0, np.nan])),
    "decimal": ("float64", pa.array([1.5, 2.0]).cast(pa.decimal128(6, 2)), np.array([1.5, 2.0])),
    "date": ("int32", pa.array([datetime.date(1970, 1, 3)] * 2), np.array([2, 2], np.int32)),
    "timestamp": ("int64", pa.array([5, 6], pa.timestamp("us")), np.array([5, 6])),
    "string": ("string", pa.array(["a", None]), np.array(["a", ""], object)),
    "dictionary": ("string", pa.array(["a", "b"]).dictionary_encode(), np.array(["a", "b"], object)),
    "float with null": ("float32", pa.array([1, None], pa.float32()), np.array([1, np.nan], np.float32)),
}


@pytest.mark.parametrize("case", RAW)
def test_each_type_becomes_its_dtype(case):
    dtype, values, expected = RAW[case]
    kind = "categorical" if dtype == "string" else "numeric"
    raw = raw_columns([Column("x", kind, str(values.type), dtype)], pa.table({"x": values}))["x"]
    assert raw.dtype == expected.dtype
    np.testing.assert_array_equal(raw, expected)


def test_a_null_that_training_never_saw_is_an_error():
    column = Column("x", "numeric", "int64", "int64")
    with pytest.raises(DataError, match="null in 1 rows; in training it never was"):
        raw_columns([column], pa.table({"x": [1, None]}))


@pytest.mark.parametrize("values", [["a"], [[1.0]], [2**40], [0.5]])
def test_a_column_of_another_kind_is_an_error(values, tmp_path, write_set, configure):
    prepared = prepare(configure(write_set((20,)), features={"digit": {"kind": "numeric"}}))
    pq.write_table(pa.table({"digit": values}), tmp_path / "new.parquet")
    with pytest.raises(DataError, match="column 'digit'"):
        list(raw_batches(prepared.layout, str(tmp_path / "new.parquet")))
