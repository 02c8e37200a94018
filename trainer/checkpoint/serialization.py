"""Named arrays as a stream of bytes in parts of bounded size, and back.

A part is the unit that is hashed, uploaded and read: many at a time, so that one connection's speed does
not bound a checkpoint, and the copy that an upload needs stays small however large the state is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

#: Below the size from which s3fs would turn a put into several requests of its own.
PART_BYTES = 64 * 1024**2

Arrays = Mapping[str, np.ndarray]


def table(arrays: Arrays) -> list[dict[str, Any]]:
    """Returns name, dtype and shape of each array, in order: what `assemble` needs beside the bytes."""
    return [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()]


def parts(arrays: Arrays, part_bytes: int = PART_BYTES) -> Iterator[bytes]:
    """Cuts the arrays' bytes, one array after the other, into parts.

    Args:
        arrays: Name -> array of any dtype and shape.
        part_bytes: Size of every part but the last.

    Yields:
        The parts; the same arrays give the same parts.
    """
    pieces: list[memoryview] = []
    size = 0
    for array in arrays.values():
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while len(view):
            piece = view[: part_bytes - size]
            pieces.append(piece)
            size += len(piece)
            view = view[len(piece) :]
            if size == part_bytes:
                yield b"".join(pieces)
                pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def assemble(entries: Sequence[Mapping[str, Any]], data: np.ndarray) -> dict[str, np.ndarray]:
    """Rebuilds arrays from what `table` and `parts` returned.

    Args:
        entries: The result of `table`.
        data: uint8 [bytes], all parts one after the other.

    Returns:
        Name -> array; views of `data` where its alignment allows it.

    Raises:
        ValueError: The bytes are more or fewer than the entries need.
    """
    arrays: dict[str, np.ndarray] = {}
    at = 0
    for entry in entries:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        piece = data[at : at + size]
        if len(piece) != size:
            raise ValueError(f"array {entry['name']} ends early")
        aligned = piece if piece.ctypes.data % dtype.alignment == 0 else piece.copy()
        arrays[entry["name"]] = aligned.view(dtype).reshape(shape)
        at += size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
    return arrays
