"""Images: pixels are those of the stored files, variations come back with the step, and faults are named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import trainer
from trainer.errors import DataError
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
        found = batches(feed)
    assert spec[0]["image_0"].shape == (8, 6, 8, 1)
    for x, _, _ in found:
        np.testing.assert_array_equal(x["image_0"], pixels[x["numbers"][:, 0].astype(int)])
    (column,) = prepared.layout.images
    np.testing.assert_array_equal(raw_columns([column], table)["image"], pixels)


def test_images_of_any_size_and_format_are_brought_to_one(tmp_path, configure):
    flat = np.full((30, 11, 3), 100, np.uint8)
    encoded = [tf.io.encode_jpeg(flat, quality=100).numpy(), *png([flat, flat[:4, :4]])]
    wanted = {"kind": "image", "height": 5, "width": 7}
    prepared, _ = prepared_for(tmp_path, configure, encoded, wanted, batch_size=3)
    with Feed(prepared, "train", batch_size=3, seed=0, shuffle=False) as feed:
        ((x, _, _),) = batches(feed)
    np.testing.assert_allclose(x["image_0"], np.full((3, 5, 7, 3), 100), atol=1)


def test_variations_differ_by_epoch_and_are_the_same_when_a_step_is_opened_again(tmp_path, configure, pixels):
    wanted = GREY | {"augment": {"flip": True, "shift": 0.2}}
    prepared, _ = prepared_for(tmp_path, configure, png(pixels), wanted)

    def images(epoch=0, step=0):
        with Feed(prepared, "train", batch_size=8, seed=3, shuffle=True, epoch=epoch, step=step) as feed:
            return [(x["numbers"][:, 0].astype(int), x["image_0"]) for x, _, _ in batches(feed)]

    first, again, later = images(), images(step=1), images(epoch=1)
    for (rows, found), (same_rows, same) in zip(first[1:], again, strict=True):
        np.testing.assert_array_equal(rows, same_rows)
        np.testing.assert_array_equal(found, same)
    by_row = [dict(zip(rows.tolist(), found, strict=True)) for run in (first, later) for rows, found in run]
    assert any((a[r] != b[r]).any() for a in by_row[:3] for b in by_row[3:] for r in a.keys() & b.keys())
    moved = [(image != pixels[row]).any() for rows, found in first for row, image in zip(rows, found, strict=True)]
    assert 0.5 < np.mean(moved) <= 1.0


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
