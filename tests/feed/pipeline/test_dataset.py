"""Batches hold what the shards hold, every row once, from any step on, and the feed ends cleanly."""

from __future__ import annotations

import errno
import gc
import tempfile
import threading
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import trainer
from tests.feed.pipeline.streams import ID, ROW_BYTES, WITH_ID, batches, flat, ids, opened
from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.feed.statistics.prepare import prepare
from trainer.model.codes import code_of


@pytest.fixture
def small_windows(write_set, configure):
    """A set of 200 rows that is read in several windows."""
    folder = write_set((90, 0, 1, 109), group=10)
    return prepare(configure(folder, features=WITH_ID, shuffle=50 * ROW_BYTES))


def feed_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("kfit")]


def test_packed_values_are_those_of_the_shards(write_set, configure):
    folder = write_set((60, 0, 1, 39))
    prepared = prepare(configure(folder, features=WITH_ID, sample_weight="weight"))
    with opened(prepared) as feed:
        read = batches(feed)
    table = pq.read_table(folder).to_pandas().set_index("id")
    digit, word = prepared.layout.codes
    for x, y, w in read:
        fill = float(w[0, 1])
        for row in range(round(fill * 16)):
            known = table.loc[int(x["numbers"][row, ID])]
            expected = [known["gaps"], known.name, known["number"], *known["vector"]]
            np.testing.assert_array_equal(x["numbers"][row], np.array(expected, np.float32))
            missing = known["word"] is None or known["word"] != known["word"]
            codes = [code_of(digit, int(known["digit"])), 0 if missing else code_of(word, known["word"])]
            assert x["codes"][row].tolist() == codes
            assert y[row] == known["label"]
            assert w[row, 0] == pytest.approx(known["weight"] / fill)


def test_every_row_comes_once_an_epoch_in_another_order_each_time(small_windows):
    with opened(small_windows) as feed:
        first, second = ids(batches(feed)), ids(batches(feed))
    assert sorted(flat(first)) == sorted(flat(second)) == list(range(200))
    assert first != second
    assert [len(b) for b in first] == [16] * 12 + [8]


@pytest.mark.parametrize("step", [1, 5, 12])
def test_any_step_opens_with_the_same_batches(small_windows, step):
    with opened(small_windows) as feed:
        whole = [ids(batches(feed)) for _ in range(2)]
    with opened(small_windows, epoch=1, step=step) as feed:
        assert ids(batches(feed)) == whole[1][step:]
        feed.seek(0)
        assert ids(batches(feed)) == whole[0]
        assert ids(batches(feed)) == whole[1]


def test_validation_comes_in_file_order_and_holds_what_training_does_not(write_set, configure):
    prepared = prepare(configure(write_set(), features=WITH_ID, validation={"fraction": 0.3}))
    with opened(prepared) as feed, opened(prepared, "validation", shuffle=False) as validating:
        train, validation = (
            flat(ids(batches(feed))),
            flat(ids(batches(validating))),
        )
    assert validation == sorted(validation)
    assert sorted(train + validation) == list(range(100))


def test_the_last_batch_is_filled_with_weightless_rows(small_windows):
    with opened(small_windows, class_weight={0: 1.0, 1: 3.0}) as feed:
        *full, (x, y, w) = batches(feed)
    factors = np.where(y == 1, 3.0, 1.0)
    np.testing.assert_allclose(w[:, 0], np.where(np.arange(16) < 8, factors * 2, 0.0))
    np.testing.assert_allclose(w[:, 1], 0.5)
    np.testing.assert_array_equal(x["numbers"][8:], x["numbers"][:8])
    for _, y, w in full:
        np.testing.assert_allclose(w, np.stack([np.where(y == 1, 3.0, 1.0), np.ones(16)], axis=1))


def test_a_batch_larger_than_the_split_is_filled_too(write_set, configure):
    prepared = prepare(configure(write_set((3, 4)), features=WITH_ID, batch_size=7))
    with opened(prepared, batch_size=20) as feed:
        ((x, _, w),) = batches(feed)
    assert feed.steps == 1
    assert x["numbers"].shape == (20, 6)
    assert w[:, 0].sum() == pytest.approx(20)


def test_hashed_codes_are_those_of_tensorflow(write_set, configure):
    features = {
        "word": {"kind": "categorical", "encode": "hash", "buckets": 7},
        "digit": {"kind": "categorical", "encode": "hash", "buckets": 5, "impute": {"constant": 3}},
    }
    folder = write_set((50,))
    with opened(prepare(configure(folder, features=features)), shuffle=False, batch_size=50) as feed:
        ((x, _, _),) = batches(feed)
    table = pq.read_table(folder)
    for at, (name, buckets) in enumerate([("digit", 5), ("word", 7)]):
        expected = [0 if v is None else 1 + int(tf.strings.to_hash_bucket_fast(str(v), buckets))
                    for v in table[name].to_pylist()]  # fmt: skip
        assert x["codes"][:, at].tolist() == expected


def test_multiclass_labels_are_indices_and_unknown_ones_an_error(write_set, configure, tmp_path):
    config = configure(write_set((40,)), label="digit", features={"number": {"kind": "numeric"}}, task="multiclass")
    prepared = prepare(config)
    with opened(prepared, shuffle=False, batch_size=40) as feed:
        ((x, y, _),) = batches(feed)
    assert prepared.layout.label.classes == (0, 1, 2, 3)
    assert "codes" not in x
    assert y.dtype == np.int32
    assert y.tolist() == pq.read_table(tmp_path / "set")["digit"].to_pylist()


def test_close_leaves_no_thread_however_far_it_was_read(small_windows):
    for read in (0, 1, 13, 14):
        feed = opened(small_windows)
        iterator = iter(feed.dataset().repeat())
        for _ in range(read):
            next(iterator)
        feed.close()
        feed.close()
    del iterator
    gc.collect()
    assert feed_threads() == []


def test_a_dropped_iterator_ends_its_reading_and_the_next_begins_afresh(small_windows):
    with opened(small_windows) as feed:
        next(iter(feed.dataset()))
        gc.collect()
        feed.seek(0)
        assert sorted(flat(ids(batches(feed)))) == list(range(200))


def test_two_iterators_do_not_disturb_each_other(small_windows):
    with opened(small_windows) as feed:
        dataset = feed.dataset()
        one, other = iter(dataset), iter(dataset)
        pairs = [(next(one), next(other)) for _ in range(13)]
    for of_one in zip(*pairs, strict=True):
        assert sorted(flat(ids([tf.nest.map_structure(np.array, b) for b in of_one]))) == list(range(200))


def test_a_fault_in_a_thread_reaches_the_consumer_and_is_kept(small_windows, tmp_path):
    path = tmp_path / "set" / "part-3.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with opened(small_windows) as feed:
        with pytest.raises(tf.errors.OpError):
            batches(feed)
        assert isinstance(feed.error, DataError)
        assert feed.error.where == str(path)
        assert "changed while the run reads it" in feed.error.what
    assert feed_threads() == []


def test_waiting_is_measured(small_windows):
    with opened(small_windows) as feed:
        batches(feed)
        assert 0.0 < feed.wait_s < 60.0


def test_the_batch_dimension_is_static(small_windows):
    with opened(small_windows) as feed:
        spec = feed.dataset().element_spec
    assert spec[0]["numbers"].shape == (16, 6)
    assert spec[1].shape == (16,)
    assert spec[2].shape == (16, 2)


def test_the_library_gives_columns_by_name(write_set, configure):
    dataset = trainer.dataset(configure(write_set(), validation={"fraction": 0.2}), "train")
    x, y, w = next(iter(dataset))
    assert {n: (tuple(v.shape), v.dtype.name) for n, v in x.items()} == {
        "number": ((16,), "float32"), "gaps": ((16,), "float32"), "vector": ((16, 3), "float32"),
        "word": ((16,), "int32"), "digit": ((16,), "int32"),
    }  # fmt: skip
    assert (y.shape, w.shape) == ((16,), (16,))


def test_ten_datasets_dropped_half_read_leave_no_thread_and_no_file(write_set, configure):
    config = configure(write_set((90, 109), group=10), shuffle=50 * ROW_BYTES)

    def half_read():
        dataset = iter(trainer.dataset(config, "train"))
        for _ in range(5):
            next(dataset)

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    half_read()  # what TensorFlow opens once
    gc.collect()
    before = open_files()
    for _ in range(10):
        half_read()
    gc.collect()
    assert feed_threads() == []
    assert open_files() == before


def test_an_object_overwritten_with_as_many_bytes_is_named(s3, write_set, configure):
    folder = write_set((40, 40, 40))
    uri = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
    storage.upload_folder(folder, uri)
    prepared = prepare(configure(uri))
    stored = (folder / "part-1.parquet").read_bytes()
    storage.write(f"{uri}/part-1.parquet", stored[:4] + bytes(b ^ 1 for b in stored[4:9]) + stored[9:])
    with opened(prepared) as feed:
        with pytest.raises(tf.errors.OpError):
            batches(feed)
        assert isinstance(feed.error, DataError)
        assert feed.error.where.endswith("part-1.parquet")
        assert "changed while the run reads it" in feed.error.what


def test_an_iterator_that_reads_ahead_does_not_move_what_was_sought(small_windows):
    with opened(small_windows, epoch=3) as feed:
        expected = ids(batches(feed))
    with opened(small_windows) as feed:
        earlier = iter(feed.dataset().repeat().prefetch(100))
        next(earlier)
        feed.seek(3)
        dataset = feed.dataset()
        for _ in range(60):
            next(earlier)
        assert ids([tf.nest.map_structure(np.array, batch) for batch in dataset]) == expected


def test_what_was_started_is_what_the_first_iterator_gets(small_windows):
    with opened(small_windows) as feed:
        whole = ids(batches(feed))
    with opened(small_windows) as feed:
        feed.start()
        feed.seek(0, 5)
        assert ids(batches(feed)) == whole[5:]
    with opened(small_windows) as feed:
        feed.start()
        assert ids(batches(feed)) == whole
    assert feed_threads() == []


@pytest.mark.parametrize("disk", ["with room", "full"])
def test_a_remote_row_group_too_large_to_hold_is_put_on_the_disk(disk, s3, write_set, configure, monkeypatch, tmp_path):
    folder, uri = write_set((90, 60), group=90), f"s3://{s3.bucket}/{uuid.uuid4().hex}"
    storage.upload_folder(folder, uri)
    monkeypatch.setattr("trainer.feed.packing.remote_ranges._SPOOL_BYTES", 100)
    monkeypatch.setattr("trainer.feed.packing.remote_ranges._MOST_REQUEST_BYTES", 1000)
    spooled = []

    def temporary(**options):
        spooled.append(options)
        if disk == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        return tempfile.NamedTemporaryFile(dir=tmp_path, **options)

    monkeypatch.setattr("trainer.feed.packing.remote_ranges.tempfile.TemporaryFile", temporary)
    ids_read = {}
    for where in (folder, uri):
        with opened(prepare(configure(where, features=WITH_ID, shuffle=40 * ROW_BYTES))) as feed:
            ids_read[where] = ids(batches(feed))
    assert ids_read[uri] == ids_read[folder]
    assert sorted(flat(ids_read[uri])) == list(range(150))
    assert spooled
    assert list(tmp_path.glob("kfit-*")) == []


def test_a_split_that_is_not_there_is_refused(small_windows):
    with pytest.raises(ConfigError, match="there is no validation split"):
        opened(small_windows, "validation", shuffle=False)
