"""Sequences and texts: what is packed is what the exported model's own layers make of the raw values."""

from __future__ import annotations

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import DataError
from trainer.feed.packing.raw_columns import raw_columns
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import prepare
from trainer.model.codes import lookup

LISTS = [["a", "b"], [], None, ["a", None, "c", "d", "e"], ["z"], ["b", "b", "a"]]
INTS = [[1, 2], [], None, [3, None, 1, 1, 2], [9], [2**40]]
TEXTS = [
    "The cat's pyjamas, and THE dog!",
    None,
    "",
    "  blanks\tand\nlines  ",
    "Ünïcode STAYS — as it is",
    "…",
    "a_b c-d [e] {f}",
]


def packed(folder, configure, columns, feature, key="codes", **more):
    rows = len(next(iter(columns.values())))
    table = pa.table({**columns, "label": pa.array([i % 2 for i in range(rows)], pa.int32())})
    pq.write_table(table, folder / "a.parquet")
    name = next(iter(columns))
    config = configure(folder / "a.parquet", features={name: feature}, batch_size=rows, **more)
    prepared = prepare(config)
    with Feed(prepared, "train", batch_size=rows, seed=0, shuffle=False) as feed:
        ((x, _, _),) = feed.dataset()
    return prepared, table, np.asarray(x[key])


@pytest.mark.parametrize("arrow", [pa.list_(pa.string()), pa.large_list(pa.string())])
def test_sequences_are_cut_and_padded(tmp_path, configure, arrow):
    sequence = {"kind": "sequence", "length": 3, "min_count": 2}
    prepared, _, codes = packed(tmp_path, configure, {"s": pa.array(LISTS, arrow)}, sequence)
    assert prepared.layout.codes[0].vocabulary == ("a", "b")
    a, b, unseen = 2, 3, 1
    expected = [[a, b, 0], [0, 0, 0], [0, 0, 0], [a, 0, unseen], [unseen, 0, 0], [b, b, a]]
    assert codes.tolist() == expected


@pytest.mark.parametrize(
    ("name", "values", "feature"),
    [
        ("s", pa.array(LISTS, pa.list_(pa.string())), {"kind": "sequence", "length": 3}),
        ("s", pa.array(INTS, pa.list_(pa.int64())), {"kind": "sequence", "length": 3, "max_vocabulary": 2}),
        ("s", pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), {"kind": "sequence", "length": 2}),
        ("t", pa.array(TEXTS), {"kind": "text", "length": 4}),
        ("t", pa.array(TEXTS), {"kind": "text", "length": 9, "min_count": 2}),
    ],
)
def test_the_exported_layers_find_the_same_codes(tmp_path, configure, name, values, feature):
    prepared, table, codes = packed(tmp_path, configure, {name: values}, feature)
    (field,) = prepared.layout.codes
    raw = raw_columns([field.column], table)[name]
    shape = (field.column.size,) if field.column.kind == "sequence" else ()
    given = keras.Input(shape=shape, dtype=field.column.dtype)
    import tensorflow as tf

    looked_up = keras.Model(given, lookup([field], given))(tf.constant(raw))
    np.testing.assert_array_equal(np.asarray(looked_up), codes)


@pytest.mark.parametrize(
    ("values", "feature"),
    [
        (pa.array(LISTS, pa.list_(pa.string())), {"length": 4}),
        (pa.array(INTS, pa.large_list(pa.int64())), {"length": 100, "max_vocabulary": 2}),
        (pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), {"length": 1}),
        (pa.array([[], None, []], pa.list_(pa.string())).take(pa.array([0, 1, 2, 1])), {"length": 3}),
    ],
)
def test_a_ragged_sequence_is_as_wide_as_its_longest_row_and_exported_alike(tmp_path, configure, values, feature):
    if not pa.compute.sum(pa.compute.list_value_length(values)).as_py():
        values = pa.concat_arrays([values, pa.array([["only"]], values.type)])
    sequence = {"kind": "sequence", "ragged": True, **feature}
    prepared, table, codes = packed(tmp_path, configure, {"s": values}, sequence, key="ragged_0")
    longest = max(len(row or []) for row in values.to_pylist())
    assert codes.shape == (len(values), min(longest, feature["length"]))
    (field,) = prepared.layout.ragged
    assert (prepared.layout.packed_codes, prepared.layout.codes_width) == ((), 0)
    raw = raw_columns([field.column], table)["s"]
    given = keras.Input(shape=(None,), dtype=field.column.dtype)
    import tensorflow as tf

    looked_up = keras.Model(given, lookup([field], given))(tf.constant(raw))
    np.testing.assert_array_equal(np.asarray(looked_up), codes)


def test_ragged_rows_stay_with_their_own_through_shuffle_batches_and_split(tmp_path, configure):
    """Row i holds i % 23 values, all of them i: so a row says itself what must stand in it."""
    rows = 500
    lists = pa.array([[i] * (i % 23) for i in range(rows)], pa.list_(pa.int32()))
    table = pa.table({"s": lists, "n": np.arange(rows, dtype="f4"), "label": np.arange(rows) % 2})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70)
    features = {"s": {"kind": "sequence", "length": 20, "ragged": True}, "n": {"kind": "numeric"}}
    config = configure(tmp_path / "a.parquet", features=features, batch_size=32, validation={"fraction": 0.2})
    prepared = prepare(config)
    vocabulary = prepared.layout.ragged[0].vocabulary
    seen = []
    with Feed(prepared, "train", batch_size=32, seed=3, shuffle=True) as feed:
        for (x, _, weight), (apart, _, _) in zip(feed.dataset(), feed.dataset(padded=False), strict=True):
            real = np.asarray(weight)[:, 0] > 0
            numbers, codes = np.asarray(x["numbers"])[real, 0].astype(int), np.asarray(x["ragged_0"])[real]
            assert x["ragged_0"].shape[1] == max(1, *(min(n % 23, 20) for n in numbers))
            for n, row in zip(numbers.tolist(), codes, strict=True):
                known = [vocabulary.index(n) + 2] * min(n % 23, 20) if n % 23 else []
                assert row.tolist() == known + [0] * (len(row) - len(known))
            seen += numbers.tolist()
            lengths = apart["ragged_0"].row_lengths().numpy().tolist()
            assert lengths == [min(n % 23, 20) for n in np.asarray(apart["numbers"])[:, 0].astype(int).tolist()]
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == prepared.rows["train"] == 400


def test_words_are_counted_in_the_training_rows_alone(tmp_path, configure):
    texts = pa.array([f"every word{i % 10}" for i in range(100)])
    prepared = prepare_split(tmp_path, configure, texts)
    values = dict(prepared.statistics["train"].columns["t"].values)
    assert values["every"] == prepared.rows["train"] == 80
    assert sum(values.values()) == 160


def prepare_split(folder, configure, texts):
    table = pa.table({"t": texts, "label": pa.array([i % 2 for i in range(len(texts))], pa.int32())})
    pq.write_table(table, folder / "a.parquet")
    features = {"t": {"kind": "text", "length": 4}}
    return prepare(configure(folder / "a.parquet", features=features, validation={"fraction": 0.2}))


@pytest.mark.parametrize(
    ("values", "feature", "says"),
    [
        (pa.array([1, 2]), {"kind": "sequence", "length": 2}, "kind sequence takes a list of strings or ints"),
        (pa.array([[1.5], []]), {"kind": "sequence", "length": 2}, "kind sequence takes a list of strings or ints"),
        (pa.array([1, 2]), {"kind": "text"}, "kind text takes a string"),
    ],
)
def test_other_types_are_refused(tmp_path, configure, values, feature, says):
    with pytest.raises(DataError, match=says):
        packed(tmp_path, configure, {"s": values}, feature)
