"""Images: pixels are those of the stored files, variations come back with the step, and faults are named."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import trainer
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.image_sizes import decoding_bytes, image_size
from trainer.feed.packing.raw_columns import raw_batches, raw_columns
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import prepare

GREY = {"kind": "image", "height": 6, "width": 8, "channels": 1}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 6, 8, 1), np.uint8)


def prepared_for(folder, configure, encoded, feature, batch_size=8):
    rows = len(encoded)
    table = pa.table({
        "image": pa.array(encoded, pa.binary()), "n": np.arange(rows, dtype="f4"), "label": np.arange(rows) % 2,
    })  # fmt: skip
    pq.write_table(table, folder / "a.parquet", row_group_size=7)
    features = {"image": feature, "n": {"kind": "numeric"}}
    return prepare(configure(folder / "a.parquet", features=features, batch_size=batch_size)), table


def png(images):
    return [tf.io.encode_png(one).numpy() for one in images]


def batches(feed):
    return [tf.nest.map_structure(np.asarray, batch) for batch in feed.dataset()]


def test_pixels_are_those_of_the_files_and_stay_with_their_rows(tmp_path, configure, pixels):
    prepared, table = prepared_for(tmp_path, configure, png(pixels), GREY)
    with Feed(prepared, "train", batch_size=8, seed=0, shuffle=True) as feed:
        spec = feed.dataset().element_spec
        read = batches(feed)
    assert spec[0]["image_0"].shape == (8, 6, 8, 1)
    for x, _, _ in read:
        np.testing.assert_array_equal(x["image_0"], pixels[x["numbers"][:, 0].astype(int)])
    (column,) = prepared.layout.images
    np.testing.assert_array_equal(raw_columns([column], table)["image"], pixels)


def test_images_of_any_size_and_format_are_brought_to_one(tmp_path, configure):
    flat = np.full((30, 11, 3), 100, np.uint8)
    encoded = [tf.io.encode_jpeg(flat, quality=100).numpy(), *png([flat, flat[:4, :4]])]
    feature = {"kind": "image", "height": 5, "width": 7}
    prepared, _ = prepared_for(tmp_path, configure, encoded, feature, batch_size=3)
    with Feed(prepared, "train", batch_size=3, seed=0, shuffle=False) as feed:
        ((x, _, _),) = batches(feed)
    np.testing.assert_allclose(x["image_0"], np.full((3, 5, 7, 3), 100), atol=1)


def test_variations_differ_by_epoch_and_are_the_same_when_a_step_is_opened_again(tmp_path, configure, pixels):
    feature = GREY | {"augment": {"flip": True, "shift": 0.2}}
    prepared, _ = prepared_for(tmp_path, configure, png(pixels), feature)

    def images(epoch=0, step=0):
        with Feed(prepared, "train", batch_size=8, seed=3, shuffle=True, epoch=epoch, step=step) as feed:
            return [(x["numbers"][:, 0].astype(int), x["image_0"]) for x, _, _ in batches(feed)]

    first, again, later = images(), images(step=1), images(epoch=1)
    for (rows, images), (same_rows, same) in zip(first[1:], again, strict=True):
        np.testing.assert_array_equal(rows, same_rows)
        np.testing.assert_array_equal(images, same)
    by_row = [dict(zip(rows.tolist(), images, strict=True)) for run in (first, later) for rows, images in run]
    assert any((a[r] != b[r]).any() for a in by_row[:3] for b in by_row[3:] for r in a.keys() & b.keys())
    moved = [(image != pixels[row]).any() for rows, images in first for row, image in zip(rows, images, strict=True)]
    assert 0.5 < np.mean(moved) <= 1.0


def png_of_size(height, width):
    """A small file whose header claims a large image; only its header is true."""
    encoded = bytearray(png(np.zeros((1, 1, 1, 1), np.uint8))[0])
    encoded[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(encoded)


@pytest.mark.parametrize("size", [(7, 300), (400, 2)])
def test_the_size_of_an_image_is_read_from_its_header(size):
    pixels = np.zeros((*size, 3), np.uint8)
    rows = b"\0" * ((size[1] * 3 + 3) // 4 * 4 * size[0])
    bmp = b"BM" + bytes(16) + size[1].to_bytes(4, "little") + (-size[0]).to_bytes(4, "little", signed=True) + rows
    gif = b"GIF89a" + size[1].to_bytes(2, "little") + size[0].to_bytes(2, "little")
    jpegs = [tf.io.encode_jpeg(pixels, **how).numpy() for how in ({}, {"progressive": True}, {"xmp_metadata": "x" * 9})]
    for encoded in (tf.io.encode_png(pixels).numpy(), *jpegs, bmp, gif):
        assert image_size(encoded) == size
        assert decoding_bytes(encoded, 3) == size[0] * size[1] * 15
        assert image_size(encoded[:9]) is None
    assert image_size(b"") is None


def test_an_image_that_the_memory_cannot_hold_is_refused_before_it_is_decoded(tmp_path, configure, pixels):
    encoded = png(pixels)
    encoded[9] = png_of_size(20_000, 20_000)
    with pytest.raises(DataError, match=r"an image that takes 1907 MiB to decode; the feed may hold 200 MiB") as error:
        prepared_for(tmp_path, partial(configure, memory=200 * 1024**2), encoded, GREY)
    assert error.value.where.endswith("a.parquet row 9")
    prepared, table = prepared_for(tmp_path, configure, png(pixels), GREY)
    assert prepared.statistics["train"].columns["image"].maximum == 6 * 8 * 5
    (column,) = prepared.layout.images
    table = table.set_column(0, "image", pa.array(encoded, pa.binary()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.feed.packing.images.default_budget", lambda: 200 * 1024**2)
        with pytest.raises(DataError, match="takes 1907 MiB to decode") as error:
            raw_columns([column], table, where="new.parquet")
    assert error.value.where == "new.parquet row 9"


@pytest.mark.parametrize("images", [1, 3, 1_000])
def test_no_more_images_are_decoded_at_a_time_than_the_budget_holds(images, tmp_path, configure, monkeypatch, pixels):
    """Each counts as the largest of its column; what the budget has left decides how many there may be."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    large = 50 * 2**20

    def feed_within(memory):
        prepared, _ = prepared_for(tmp_path, partial(configure, memory=memory), png(pixels), GREY)
        train = prepared.statistics["train"]
        columns = {**train.columns, "image": replace(train.columns["image"], maximum=float(large))}
        prepared = replace(prepared, statistics={"train": replace(train, columns=columns)})
        return Feed(prepared, "train", batch_size=8, seed=0, shuffle=False)

    with pytest.raises(ConfigError, match=r"needs \d+ MiB") as error:
        feed_within(2**20)
    least = int(re.search(r"needs (\d+) MiB", str(error.value))[1]) * 2**20
    with feed_within(least + (images - 1) * large) as feed:
        assert feed._images_at_once == min(8, images)
        assert sum(float(np.sum(w[:, 0] > 0)) for _, _, w in batches(feed)) == 20


def test_an_image_that_is_cut_short_ends_the_run_as_bad_data_and_names_the_row(tmp_path, configure, pixels):
    encoded = png(pixels)
    encoded[12] = encoded[12][:-30]
    prepared, _ = prepared_for(tmp_path, configure, encoded, GREY)
    with pytest.raises(DataError, match="an image cannot be decoded") as error:
        trainer.fit(prepared.config)
    assert error.value.where.endswith("a.parquet row 12")
    with pytest.raises(DataError, match="an image cannot be decoded") as error:
        list(raw_batches(prepared.layout, prepared.config.data.train))
    assert error.value.where.endswith("a.parquet row 12")


@pytest.mark.parametrize(
    ("wrong", "says"), [(None, "'image' is null in 1 of 20"), (b"no image", "'image' holds no image in 1 of 20")]
)
def test_a_row_without_an_image_is_named(tmp_path, configure, pixels, wrong, says):
    encoded = png(pixels)
    encoded[9] = wrong
    with pytest.raises(DataError, match=says) as error:
        prepared_for(tmp_path, configure, encoded, GREY)
    assert error.value.where.endswith("a.parquet row 9")
