"""Every Arrow type that Parquet can store is fed as its plain type, or refused with one error before the first step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import DataError
from trainer.feed.packing.packed_inputs import packed_inputs
from trainer.feed.packing.raw_columns import raw_batches
from trainer.feed.statistics.prepare import inspect, prepare

ROWS = 40
WORDS = pa.array(["abc"[i % 3] for i in range(ROWS)])
LISTS = pa.array([["a", "b"][: i % 3] for i in range(ROWS)])
SEQUENCE = {"kind": "sequence", "length": 3}
TEXT = {"kind": "text", "length": 3}


def of_lists(values):
    return pa.ListArray.from_arrays(LISTS.offsets, values)


def not_utf8():
    offsets, content = pa.py_buffer(np.arange(0, 2 * ROWS + 1, 2, dtype=np.int32)), pa.py_buffer(b"\xff\xfe" * ROWS)
    return pa.Array.from_buffers(pa.string(), ROWS, [None, offsets, content])


PLAIN = {
    "string_view": (WORDS.cast(pa.string_view()), {"kind": "categorical"}, WORDS),
    "string_view as text": (WORDS.cast(pa.string_view()), TEXT, WORDS),
    "list<string_view>": (of_lists(LISTS.values.cast(pa.string_view())), SEQUENCE, LISTS),
    "list<dictionary<string>>": (of_lists(LISTS.values.dictionary_encode()), SEQUENCE, LISTS),
    "large_list<large_string>": (LISTS.cast(pa.large_list(pa.large_string())), SEQUENCE, LISTS),
    "dictionary<int>": (pa.array(range(ROWS)).dictionary_encode(), {"kind": "numeric"}, pa.array(range(ROWS))),
}


def write(folder, columns):
    folder.mkdir()
    labels = pa.array((np.arange(ROWS) % 2).astype("i4"))
    table = pa.Table.from_arrays([*(v for _, v in columns), labels], names=[*(n for n, _ in columns), "label"])
    pq.write_table(table, folder / "a.parquet")
    return folder


@pytest.mark.parametrize("name", PLAIN)
def test_an_encoded_type_is_fed_and_served_as_its_plain_type(name, tmp_path, configure):
    stored, feature, plain = PLAIN[name]
    packed, raw = [], []
    for folder, values in (("stored", stored), ("plain", plain)):
        where = write(tmp_path / folder, [("x", values)])
        prepared = prepare(configure(where, features={"x": feature}))
        table, columns = next(raw_batches(prepared.layout, str(where)))
        packed.append(packed_inputs(prepared.layout, table))
        raw.append(columns["x"])
    for key in packed[1]:
        np.testing.assert_array_equal(packed[0][key], packed[1][key])
    np.testing.assert_array_equal(raw[0], raw[1])


@pytest.mark.parametrize(
    "feature", [{"kind": "categorical"}, TEXT, {"kind": "categorical", "buckets": 8, "encode": "hash"}]
)
def test_text_that_is_not_utf8_names_its_column_and_shard(feature, tmp_path, configure):
    folder = write(tmp_path / "set", [("x", not_utf8())])
    with pytest.raises(DataError, match="column 'x' holds text that is not UTF-8") as error:
        prepare(configure(folder, features={"x": feature}))
    assert error.value.where == f"{folder}/a.parquet"


def test_a_split_by_text_that_is_not_utf8_is_refused(tmp_path, configure):
    folder = write(tmp_path / "set", [("x", pa.array(np.arange(ROWS) * 1.0)), ("by", not_utf8())])
    with pytest.raises(DataError, match="column 'by' holds text that is not UTF-8"):
        prepare(configure(folder, features={"x": {"kind": "numeric"}}, validation={"fraction": 0.5, "by": "by"}))


def test_a_column_stored_twice_is_refused_where_it_is_used(tmp_path, configure):
    folder = write(tmp_path / "set", [("x", WORDS), ("x", WORDS), ("n", pa.array(np.arange(ROWS) * 1.0))])
    with pytest.raises(DataError, match="column 'x' is stored 2 times"):
        inspect(configure(folder, features={"x": {"kind": "categorical"}}))
    prepared = prepare(configure(folder, features={"n": {"kind": "numeric"}}))
    with pytest.raises(DataError, match="column 'x' is stored 2 times"):
        next(raw_batches(prepared.layout, str(folder)))
    assert len(next(raw_batches(prepared.layout, str(folder), extra=["label"]))[0]) == ROWS
