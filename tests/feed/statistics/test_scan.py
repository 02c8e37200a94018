"""Statistics agree with numpy over the whole split, and the data's contract is held."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import ConfigError, DataError
from trainer.feed.packing.pack import label_values
from trainer.feed.shards.row_selection import validation_mask
from trainer.feed.shards.split import row_hashes
from trainer.feed.statistics import accumulators
from trainer.feed.statistics.class_weights import row_class_weights
from trainer.feed.statistics.prepare import prepare
from trainer.model.codes import code_of


def write(folder, columns, group=16):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "a.parquet", row_group_size=group)
    return folder


def test_statistics_agree_with_numpy(write_set, configure):
    folder = write_set((100, 1, 0, 57))
    statistics = prepare(configure(folder, sample_weight="weight")).statistics["train"]
    table = pq.read_table(folder)
    assert statistics.rows == 158
    for name in ("number", "gaps", "weight"):
        values = np.array(table[name].drop_null()).astype(float)
        column = statistics.columns[name]
        assert column.nulls == table[name].null_count
        np.testing.assert_allclose(
            [column.mean, column.variance, column.minimum, column.maximum],
            [values.mean(), values.var(), values.min(), values.max()], rtol=1e-12,
        )  # fmt: skip
        np.testing.assert_allclose(list(column.quantiles.values()), np.quantile(values, list(column.quantiles)))
        assert sum(column.histogram[1]) == len(values)
        assert column.distinct == len(np.unique(values))
    words = [w for w in table["word"].to_pylist() if w is not None]
    assert dict(statistics.columns["word"].values) == {w: words.count(w) for w in set(words)}
    assert statistics.columns["label"].values == ((0, 79), (1, 79))
    vectors = np.stack(table["vector"].to_pylist())
    np.testing.assert_allclose(statistics.columns["vector"].element_means, vectors.mean(axis=0))
    np.testing.assert_allclose(statistics.columns["vector"].element_variances, vectors.var(axis=0))
    np.testing.assert_allclose(statistics.columns["vector"].variance, vectors.var())


def test_merged_moments_are_as_exact_as_one_pass_over_a_far_mean():
    values = np.random.default_rng(0).normal(1e9, 1.0, 10_000)
    merged = accumulators.Moments.of(values[:1])
    for part in np.array_split(values[1:], 37):
        merged = merged.merge(accumulators.Moments.of(part))
    np.testing.assert_allclose(merged.pooled(), [values.mean(), values.var()], rtol=1e-8)


def test_the_sample_is_bounded_and_does_not_depend_on_threads(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(accumulators, "SAMPLE_ROWS", 500)
    monkeypatch.setattr("trainer.feed.statistics.scan.SAMPLE_ROWS", 500)
    values = np.random.default_rng(0).normal(size=20_000)
    folder = write(tmp_path / "s", {"x": values, "label": np.arange(20_000) % 2}, group=1000)
    config = configure(folder, features={"x": {"kind": "numeric"}}, validation={"fraction": 0.1})
    first, second = (prepare(config) for _ in range(2))
    assert first.statistics == second.statistics
    column = first.statistics["train"].columns["x"]
    assert sum(column.histogram[1]) == 500
    hashes = np.concatenate([row_hashes(s.identity, 0, s.rows, "sample") for s in first.shards])
    training_rows = np.flatnonzero(~_validates(first))
    sampled = training_rows[np.argsort(hashes[training_rows])[:500]]
    assert column.quantiles == dict(
        zip(column.quantiles, np.quantile(values[sampled], list(column.quantiles)), strict=True)
    )


def test_statistics_are_read_from_the_cache_until_the_data_changes(write_set, configure, tmp_path):
    config = configure(write_set((50, 50)), validation={"fraction": 0.2})
    passes = []
    runs = [prepare(config, cache=tmp_path / "cache", progress=lambda a, b: passes.append((a, b))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert passes == [(50, 100), (100, 100)]
    changed = prepare(configure(write_set((50, 51)), validation={"fraction": 0.2}), cache=tmp_path / "cache")
    assert changed.fingerprint != runs[0].fingerprint
    assert sum(changed.rows.values()) == 101


def test_a_vocabulary_comes_from_training_rows_alone_the_most_frequent_first(tmp_path, configure):
    train = write(tmp_path / "t", {"c": ["b", "a", "a", "", None, "rare"], "label": [0, 1] * 3})
    validation = write(tmp_path / "v", {"c": ["new"] * 2, "label": [0, 1]})
    feature = {"kind": "categorical", "max_vocabulary": 2}
    field = prepare(
        configure(train, features={"c": feature}, validation=str(validation), batch_size=2)
    ).layout.codes[0]  # fmt: skip
    assert field.vocabulary == ("a", "b")
    assert [code_of(field, v) for v in ("a", "b", "rare", "new")] == [2, 3, 1, 1]


def test_large_integers_and_timestamps_get_an_offset(tmp_path, configure):
    base = 1_700_000_000_000_000
    columns = {
        "at": pa.array([base, base + 10], pa.timestamp("us")), "big": pa.array([2**40, 2**40 + 2]),
        "small": pa.array([1, 2]), "f": pa.array([1e9, 2e9], pa.float32()), "label": [0, 1],
    }  # fmt: skip
    features = {n: {"kind": "numeric"} for n in ("at", "big", "small", "f")}
    config = configure(write(tmp_path / "s", columns), features=features, batch_size=1)
    offsets = {f.column.name: f.offset for f in prepare(config).layout.numbers}
    assert offsets == {"at": float(base + 5), "big": float(2**40 + 1), "small": 0.0, "f": 0.0}


@pytest.mark.parametrize(("centre", "lost"), [(0.0, False), (1e5, False), (1e9, True)])
def test_vectors_whose_digits_float32_loses_are_a_warning(centre, lost, tmp_path, configure):
    values = centre + np.random.default_rng(0).normal(0.0, 20.0, (40, 2))
    columns = {"v": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2), "label": [0, 1] * 20}
    config = configure(write(tmp_path / "s", columns), features={"v": {"kind": "vector", "size": 2}}, batch_size=4)
    assert any("'v' loses digits: " in w and "steps of 64" in w for w in prepare(config).warnings) == lost


@pytest.mark.parametrize("transform", ["standard", "none"])
def test_large_regression_labels_keep_their_digits_or_say_that_they_do_not(transform, tmp_path, configure):
    """1e9 + 3x + 2: packed labels minus their offset are exact; without a scale there is a warning."""
    x = np.arange(40.0)
    folder = write(tmp_path / "s", {"x": x, "label": 1e9 + 3 * x + 2})
    label = {"column": "label", "transform": transform}
    features = {"x": {"kind": "numeric"}}
    prepared = prepare(configure(folder, features=features, label=label, task="regression", batch_size=4))
    exact = label_values(prepared.layout.label, pa.chunked_array([1e9 + 3 * x + 2])).astype(np.float64)
    restored = exact + prepared.layout.label.offset
    assert bool(np.abs(restored - (1e9 + 3 * x + 2)).max() < 1e-3) == (transform == "standard")
    assert any("label 'label' loses digits" in w for w in prepared.warnings) == (transform == "none")


NAN, INF = float("nan"), float("inf")
BREACHES = {
    "label null": ({"x": [1.0, 2.0], "label": [0, None]}, {}, "label 'label' is null in 1 train rows"),
    "label not binary": ({"x": [1.0, 2.0, 3.0], "label": [0, 1, 2]}, {}, "takes the values 0, 1, 2"),
    "label fraction": ({"x": [1.0, 2.0], "label": [0.0, 0.5]}, {}, "takes the values 0, 0.5"),
    "one class": ({"x": [1.0, 2.0], "label": [1, 1]}, {}, r"one class only \(1\)"),
    "all null": ({"x": pa.array([None, None], pa.float64()), "label": [0, 1]}, {}, "null in all 2 training rows"),
    "null": ({"x": [1.0, None], "label": [0, 1]}, {}, "column 'x' is null in 1 of 2 train rows"),
    "NaN": ({"x": [1.0, NAN], "label": [0, 1]}, {}, "column 'x' is NaN in 1 of 2 train rows"),
    "infinite": ({"x": [1.0, -INF], "label": [0, 1]}, {"features": {"x": {"kind": "numeric", "impute": "mean"}}},
                 "column 'x' is infinite in 1 train values"),
    "beyond float32": ({"x": [1.0, 1e300], "label": [0, 1]}, {}, "beyond what float32 holds"),
    "negative weight": ({"x": [1.0, 2.0], "label": [0, 1], "w": [1.0, -1.0]}, {"sample_weight": "w"}, "is negative"),
    "weights that float32 flushes": (
        {"x": [1.0, 2.0], "label": [0, 1], "w": [1e-40, 1e-40]}, {"sample_weight": "w"}, "is at most 1e-40",
    ),
    "null weight": ({"x": [1.0, 2.0], "label": [0, 1], "w": [1.0, None]}, {"sample_weight": "w"}, "is null, NaN or"),
    "zero weights": ({"x": [1.0, 2.0], "label": [0, 1], "w": [0.0, 0.0]}, {"sample_weight": "w"}, "0 in all"),
}  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_contract_is_one_error(breach, tmp_path, configure):
    columns, data, message = BREACHES[breach]
    folder = write(tmp_path / "s", columns)
    with pytest.raises(DataError, match=message):
        prepare(configure(folder, **{"features": {"x": {"kind": "numeric"}}, "batch_size": 1} | data))


def test_the_first_bad_row_is_named(tmp_path, configure):
    values = [float(i) for i in range(40)]
    values[33] = NAN
    folder = write(tmp_path / "s", {"x": values, "label": [0, 1] * 20})
    with pytest.raises(DataError) as error:
        prepare(configure(folder, features={"x": {"kind": "numeric"}}))
    assert error.value.where == f"{folder}/a.parquet row 33"


def test_a_vector_of_another_length_names_column_and_shard(tmp_path, configure):
    folder = write(tmp_path / "s", {"v": pa.array([[1.0, 2.0], [1.0]]), "label": [0, 1]})
    with pytest.raises(DataError, match="column 'v' has a row of 1 elements; expected 2") as error:
        prepare(configure(folder, features={"v": {"kind": "vector", "size": 2}}, batch_size=1))
    assert error.value.where == f"{folder}/a.parquet"


def test_a_batch_larger_than_the_set_is_refused(write_set, configure):
    with pytest.raises(ConfigError, match="batch_size 101 is more than the 100 training rows"):
        prepare(configure(write_set(), batch_size=101))


def test_a_constant_column_is_a_warning(tmp_path, configure):
    folder = write(tmp_path / "s", {"x": [1.0, 1.0], "c": ["a", "a"], "z": [1, 2], "label": [0, 1]})
    features = {"x": {"kind": "numeric"}, "c": {"kind": "categorical"}, "z": {"kind": "numeric"}}
    assert prepare(configure(folder, features=features, batch_size=1)).warnings == (
        "column 'c' is constant: nothing can be learnt from it",
        "column 'x' is constant: nothing can be learnt from it",
    )


def test_class_weights_balance_as_scikit_learn_does(tmp_path, configure):
    labels = ["cat"] * 6 + ["ant"] * 3 + ["bee"] * 1
    folder = write(tmp_path / "s", {"x": np.arange(10.0), "label": labels})
    features = {"x": {"kind": "numeric"}}

    def weights(class_weight):
        config = configure(
            folder, features=features, task="multiclass", batch_size=1, fit={"class_weight": class_weight}
        )
        return row_class_weights(config, prepare(config))

    from sklearn.utils.class_weight import compute_class_weight

    balanced = compute_class_weight("balanced", classes=np.array(["ant", "bee", "cat"]), y=np.array(labels))
    assert weights("balanced") == pytest.approx(dict(enumerate(balanced)))
    assert weights({"bee": 5}) == {0: 1.0, 1: 5.0, 2: 1.0}
    assert weights(None) is None
    with pytest.raises(ConfigError, match="class_weight 'dog'"):
        weights({"dog": 2})


def test_a_large_row_group_is_looked_at_in_slices(write_set, configure, monkeypatch):
    folder = write_set((200, 30), group=200)
    config = configure(folder, validation={"fraction": 0.3})
    whole = prepare(config)
    monkeypatch.setattr("trainer.feed.statistics.scan._SLICE_ROWS", 64)
    sliced = prepare(config)
    assert [(s.train_rows, s.validation_rows) for s in sliced.shards] == [
        (s.train_rows, s.validation_rows) for s in whole.shards
    ]
    for split, statistics in sliced.statistics.items():
        assert statistics.rows == whole.statistics[split].rows
        for name, column in statistics.columns.items():
            other = whole.statistics[split].columns[name]
            assert (column.rows, column.nulls, column.distinct) == (other.rows, other.nulls, other.distinct)
            assert column.mean == pytest.approx(other.mean, rel=1e-12, nan_ok=True)


def test_the_sample_is_the_smallest_hashes_of_the_rows_that_the_filter_keeps(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(accumulators, "SAMPLE_ROWS", 500)
    monkeypatch.setattr("trainer.feed.statistics.scan.SAMPLE_ROWS", 500)
    values = np.random.default_rng(0).normal(size=20_000)
    table = {"x": values, "keep": np.arange(20_000) % 25, "label": np.arange(20_000) // 25 % 2}
    folder = write(tmp_path / "s", table, group=1000)
    features = {"x": {"kind": "numeric"}}
    few = prepare(configure(folder, features=features, filter={"keep": {"equals": 3}}, validation={"fraction": 0.5}))
    for split in ("train", "validation"):
        column = few.statistics[split].columns["x"]
        assert 350 < column.rows < 450
        assert column.distinct == sum(column.histogram[1]) == column.rows
    many = prepare(configure(folder, features=features, filter={"keep": {"at_least": 3}}, validation={"fraction": 0.1}))
    assert many.rows["validation"] > 1500
    assert [many.statistics[split].columns["x"].distinct for split in ("train", "validation")] == [500, 500]
    # The same rows without a filter: which rows are sampled depends on their hashes alone.
    hashes = np.concatenate([row_hashes(s.identity, 0, s.rows, "sample") for s in many.shards])
    training_rows = np.flatnonzero((table["keep"] >= 3) & ~_validates(many))
    smallest = training_rows[np.argsort(hashes[training_rows])[:500]]
    assert many.statistics["train"].columns["x"].percentiles == tuple(
        np.percentile(values[smallest], np.arange(101), method="inverted_cdf")
    )


def _validates(prepared):
    """Which rows of the set validate, by position."""
    (shard,) = prepared.shards
    table = pq.read_table(shard.uri)
    return validation_mask(prepared.rule, shard, range(len(shard.group_rows)), table)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_integers_that_float64_cannot_tell_apart_are_refused_and_not_called_constant(tmp_path, configure, dtype):
    labels = np.arange(1000) % 2
    far = (np.arange(1000) % 7 + 2**62).astype(dtype)
    features = {"x": {"kind": "numeric"}}
    folder = write(tmp_path / "far", {"x": far, "label": labels}, group=100)
    with pytest.raises(DataError, match=r"near 4.61e\+18 that differ by 6 at most; float64 counts in steps of 1024"):
        prepare(configure(folder, features=features))
    folder = write(
        tmp_path / "wide", {"x": far * 0 + np.arange(1000, dtype=dtype) * 10**15, "label": labels}, group=100
    )
    assert not prepare(configure(folder, features=features)).warnings
    folder = write(tmp_path / "same", {"x": far * 0 + dtype_value(dtype), "label": labels}, group=100)
    assert "constant" in prepare(configure(folder, features=features)).warnings[-1]


def dtype_value(dtype):
    return np.array(2**62 + 1, dtype)
