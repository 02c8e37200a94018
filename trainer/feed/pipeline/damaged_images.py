"""Finds the image that stopped training: TensorFlow's error names neither row nor shard."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from trainer.errors import DataError
from trainer.feed.packing.decoder import Reader
from trainer.feed.packing.images import decode_all, undecodable
from trainer.feed.statistics.prepare import Prepared

_ROWS_AT_ONCE = 256
#: After so long the error names the columns alone.
_SEARCH_S = 20.0


def broken_image(prepared: Prepared, error: Exception) -> DataError | None:
    """Finds the image whose decoding stopped training; the statistics pass looks at the first bytes only.

    Args:
        prepared: The dataset.
        error: The error of TensorFlow.

    Returns:
        The error to raise; None where `error` has another cause.
    """
    columns = {c.name: c for c in prepared.layout.images}
    if not columns or "DecodeImage" not in str(error):
        return None
    until_s = time.monotonic() + _SEARCH_S
    reader = Reader(list(columns), prepared.partition_types)
    where = "run.data.features." + ", ".join(columns)
    for name, place, encoded in _images(prepared, reader, list(columns)):
        if time.monotonic() > until_s:
            break
        try:
            decode_all(columns[name], [encoded])
        except DataError:
            where = place
            break
    return undecodable(where)


def _images(prepared: Prepared, reader: Reader, names: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yields column, `<uri> row <number>`, and bytes of every image of the dataset."""
    for shard in prepared.shards:
        row = 0
        for table in reader.stream(shard, _ROWS_AT_ONCE):
            for name in names:
                for at, encoded in enumerate(table.column(name).to_pylist()):
                    if encoded is not None:
                        yield name, f"{shard.uri} row {row + at}", encoded
            row += len(table)
