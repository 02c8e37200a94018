"""Sequences and texts: what is packed is what the exported model's own layers make of the raw values."""

from __future__ import annotations

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import DataError
from trainer.feed.dataset import Feed
from trainer.feed.prepare import prepare
from trainer.feed.raw import raw_columns
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


def packed(folder, configure, columns, feature, **more):
    rows = len(next(iter(columns.values())))
    table = pa.table({**columns, "label": pa.array([i % 2 for i in range(rows)], pa.int32())})
    pq.write_table(table, folder / "a.parquet")
    name = next(iter(columns))
    config = configure(folder / "a.parquet", features={name: feature}, batch_size=rows, **more)
    prepared = prepare(config)
    with Feed(prepared, "train", batch_size=rows, seed=0, shuffle=False) as feed:
        ((x, _, _),) = feed.dataset()
    return prepared, table, np.asarray(x["codes"])


@pytest.mark.parametrize("arrow", [pa.list_(pa.string()), pa.large_list(pa.string())])
def test_sequences_are_cut_and_padded(tmp_path, configure, arrow):
    wanted = {"kind": "sequence", "length": 3, "min_count": 2}
    prepared, _, codes = packed(tmp_path, configure, {"s": pa.array(LISTS, arrow)}, wanted)
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

    found = keras.Model(given, lookup(field, given))(tf.constant(raw))
    np.testing.assert_array_equal(np.asarray(found), codes)


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
