"""A split as batches by column name, for a user's own `model.fit`."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from trainer.config import Config
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.class_weights import row_class_weights
from trainer.feed.statistics.prepare import SplitName, prepare
from trainer.schema import Layout, image_key, ragged_key


def dataset(
    config: Config, split: SplitName = "train", *, packed: bool = False, cache: str | Path | None = None
) -> tf.data.Dataset:
    """Returns a split for your own `model.fit`; each pass over it is the next epoch.

    Args:
        config: The configuration.
        split: Which rows.
        packed: True: batches of `trainer.schema`, as the trainer's own models take them.
        cache: Folder for statistics that the next process reuses; None: nowhere.

    Returns:
        Batches `(x, y, w)`: x by column name, numbers float32 [B] or [B, size] (float64 for large integers
        and timestamps) with NaN for null, categories int32 codes [B], sequences
        and texts [B, length], ragged sequences RaggedTensors [B, any], images uint8 pixels; y [B] (float64 for large
        regression labels; packed: minus `LabelField.offset`; multilabel float32 [B, classes]); w float32 [B].

    Raises:
        KfitError: As `prepare`.
    """
    prepared = prepare(config, cache=cache)
    feed = Feed(
        prepared,
        split,
        batch_size=prepared.config.fit.known_batch_size,
        seed=config.fit.seed,
        shuffle=split == "train" and config.data.shuffle is not False,
        class_weight=row_class_weights(config, prepared) if split == "train" else None,
    )
    offset = prepared.layout.label_offset

    def _label(y: tf.Tensor) -> tf.Tensor:
        return tf.cast(y, tf.float64) + offset if offset else y

    atexit.register(_close, weakref.ref(feed))
    # Keras warns that a dataset of unknown length "ran out of data" at the end of its first epoch (keras#23360).
    batches = feed.dataset(padded=packed).apply(tf.data.experimental.assert_cardinality(feed.steps))
    return batches if packed else batches.map(lambda x, y, w: (_by_column(x, prepared.layout), _label(y), w[:, 0]))


def _close(feed: weakref.ref[Feed]) -> None:
    if (open_feed := feed()) is not None:
        open_feed.close()


def _by_column(x: Mapping[str, tf.Tensor], layout: Layout) -> dict[str, tf.Tensor]:
    out = {}
    for field in layout.numbers:
        values = x["numbers"][:, field.start : field.start + field.column.size]
        if field.offset:
            values = tf.cast(values, tf.float64) + field.offset
        out[field.column.name] = values[:, 0] if field.column.kind == "numeric" else values
    for code in layout.packed_codes:
        size = code.column.size
        values = x["codes"][:, code.start : code.start + size]
        out[code.column.name] = values[:, 0] if code.column.kind == "categorical" else values
    for index, sequence in enumerate(layout.ragged):
        out[sequence.column.name] = x[ragged_key(index)]
    for index, image in enumerate(layout.images):
        out[image.name] = x[image_key(index)]
    return out
