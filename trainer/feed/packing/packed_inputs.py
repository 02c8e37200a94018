"""Packs one table as the feed does, without a pipeline; the export is compared with the model on these inputs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainer.feed.packing.buffers import allocate, room_for, views_over
from trainer.feed.packing.pack import Packer
from trainer.schema import MISSING_CODE, Layout, image_key, ragged_key


def packed_inputs(layout: Layout, table: pa.Table) -> dict[str, np.ndarray]:
    """Packs a table exactly as the feed does.

    Args:
        layout: How raw columns become a packed row.
        table: Rows as a shard stores them; has every feature, the label and the sample weight.

    Returns:
        `x` of `trainer.schema` for these N rows: `numbers` float32 [N, numbers_width], `codes` int32
        [N, codes_width], `ragged_0`… int32 [N, longest], `image_0`… uint8 [N, height, width, channels]. A key
        whose width is 0 is left out.

    Raises:
        DataError: A value that the layout cannot hold, or an image that cannot be decoded.
    """
    rows = views_over(layout, allocate(room_for(layout, len(table))), len(table))
    Packer(layout).pack(table, rows)
    packed: dict[str, np.ndarray] = {}
    if layout.numbers_width:
        packed["numbers"] = rows.numbers
    if layout.codes_width:
        packed["codes"] = rows.codes
    if layout.images:
        # TensorFlow is imported only where there are images to decode.
        from trainer.feed.packing.images import decode_all

        for index, column in enumerate(layout.images):
            packed[image_key(index)] = decode_all(column, rows.encoded[:, index].tolist())
    for index in range(len(layout.ragged)):
        packed[ragged_key(index)] = _padded_codes(rows.encoded[:, len(layout.images) + index])
    return packed


def _padded_codes(encoded: np.ndarray) -> np.ndarray:
    """Bytes of int32 codes, objects [N] -> int32 [N, longest], at least one wide; missing after a row's last."""
    codes = [np.frombuffer(row, "<i4") for row in encoded]
    padded = np.full((len(codes), max([1, *map(len, codes)])), MISSING_CODE, np.int32)
    for row, values in enumerate(codes):
        padded[row, : len(values)] = values
    return padded
