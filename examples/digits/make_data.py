"""Makes the example's data: scikit-learn's handwritten digits, as PNG files in a column."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

SHARDS = 3


def png(pixels: np.ndarray) -> bytes:
    """A grey PNG file of uint8 [height, width] pixels (the format is simple enough to need no package)."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")


def main(folder: Path) -> None:
    """Writes the shards."""
    digits = load_digits()
    pixels = np.clip(digits.images * 16, 0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        images = [png(one) for one in pixels[shard::SHARDS]]
        table = pa.table({"image": pa.array(images, pa.binary()), "digit": pa.array(digits.target[shard::SHARDS])})
        pq.write_table(table, folder / f"part-{shard}.parquet")
    print(f"{len(pixels):,} images of digits below {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/digits"))
