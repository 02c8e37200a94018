"""Encoded images to pixels, in the graph: decode, resize, and augment in training.

The augmentation is a function of (seed, epoch, step), as the order of rows is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Augment, Config, Image
from trainer.errors import DataError
from trainer.feed.packing.image_sizes import decoding_bytes
from trainer.feed.packing.memory_limit import default_budget
from trainer.schema import Column, image_key


def decoded(columns: Sequence[Column], encoded: tf.Tensor, at_once: int) -> dict[str, tf.Tensor]:
    """Decodes the images of a batch.

    Args:
        columns: The image columns.
        encoded: string [B, columns].
        at_once: How many rows are decoded at the same time.

    Returns:
        `trainer.schema.image_key` -> uint8 [B, height, width, channels].
    """
    return {
        image_key(index): tf.map_fn(
            lambda one, shape=column.shape: _decode(one, shape),
            encoded[:, index],
            fn_output_signature=tf.uint8,
            parallel_iterations=at_once,
        )
        for index, column in enumerate(columns)
    }


def _decode(encoded: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    height, width, channels = shape
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    pixels.set_shape([None, None, channels])
    resized = tf.image.resize(pixels, [height, width], antialias=True)
    return tf.ensure_shape(tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8), shape)


def decode_all(
    column: Column, encoded: Sequence[bytes], where: str = "", row_numbers: np.ndarray | None = None
) -> np.ndarray:
    """Decodes a column of rows: uint8 [N, height, width, channels].

    Args:
        column: The image column.
        encoded: Encoded images [N].
        where: The shard, for errors.
        row_numbers: int64 [N]: each row's number in the shard; None: 0 to N - 1.

    Raises:
        DataError: An image cannot be decoded or does not fit into memory; names `where` and the row.
    """
    out = np.empty((len(encoded), *column.shape), np.uint8)
    budget = default_budget()
    with tf.device("CPU:0"):
        for row, one in enumerate(encoded):
            number = row if row_numbers is None else int(row_numbers[row])
            _check_size(column, one, budget, f"{where} row {number}")
            try:
                out[row] = np.asarray(_decode(tf.constant(one), column.shape))
            except tf.errors.OpError as error:
                raise undecodable(f"{where} row {number}") from error
    return out


def _check_size(column: Column, encoded: bytes, budget: int, where: str) -> None:
    size_bytes = decoding_bytes(encoded, column.shape[-1])
    if size_bytes > budget:
        raise DataError(
            f"an image takes {size_bytes / 2**20:.0f} MiB to decode, more than the {budget / 2**20:.0f} MiB there are",
            where=where,
            remedy="write a smaller image, or raise the memory limit",
        )


def undecodable(where: str) -> DataError:
    """The error for an image that cannot be decoded."""
    return DataError(
        "an image cannot be decoded; it is cut short or damaged", where=where,
        remedy="write the row again, or leave it out",
    )  # fmt: skip


def augments(config: Config, columns: Sequence[Column]) -> dict[str, Augment]:
    """Returns the augmentation of the columns that have one, by key."""
    augment_by_key = {}
    for index, column in enumerate(columns):
        feature = config.data.features[column.name]
        if isinstance(feature, Image) and feature.augment is not None:
            augment_by_key[image_key(index)] = feature.augment
    return augment_by_key


def varied(x: Mapping[str, Any], augment_by_key: Mapping[str, Augment], seed: int, place: tf.Tensor) -> dict[str, Any]:
    """Flips and shifts images at random.

    Args:
        x: A batch.
        augment_by_key: The augmentation of each image.
        seed: The run's seed.
        place: int64 [2]: epoch and step of the batch.

    Returns:
        The batch with these keys replaced.
    """
    out = dict(x)
    for number, (key, augment) in enumerate(augment_by_key.items()):
        pixels = out[key]
        key_seed = tf.stack([seed + place[0] * 1_000_003, place[1] * 1_009 + number])
        size = pixels.shape[0]
        chance = tf.random.stateless_uniform([3, size], key_seed, -1.0, 1.0)
        if augment.flip:
            flipped = tf.reverse(pixels, axis=[2])
            pixels = tf.where(chance[0][:, None, None, None] < 0.0, flipped, pixels)
        if augment.shift:
            for axis in (1, 2):
                length = pixels.shape[axis]
                moved = tf.cast(tf.round(chance[axis] * augment.shift * length), tf.int32)
                # Pixels beyond the edge repeat it.
                index = tf.clip_by_value(tf.range(length)[None, :] + moved[:, None], 0, length - 1)
                pixels = tf.gather(pixels, index, axis=axis, batch_dims=1)
        out[key] = pixels
    return out
