"""Reads the size of an encoded image from its header, to refuse images that do not fit into memory."""

from __future__ import annotations

#: JPEG's frame headers: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers of JPEG that stand alone, without a length.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def image_size(encoded: bytes) -> tuple[int, int] | None:
    """Returns height and width from the header of a PNG, JPEG, GIF or BMP file; None where it has none."""
    if encoded.startswith(b"\x89PNG") and len(encoded) >= 24:
        return int.from_bytes(encoded[20:24], "big"), int.from_bytes(encoded[16:20], "big")
    if encoded.startswith(b"GIF8") and len(encoded) >= 10:
        return int.from_bytes(encoded[8:10], "little"), int.from_bytes(encoded[6:8], "little")
    if encoded.startswith(b"BM") and len(encoded) >= 26:
        height = int.from_bytes(encoded[22:26], "little", signed=True)
        return abs(height), int.from_bytes(encoded[18:22], "little", signed=True)
    return _jpeg_size(encoded) if encoded.startswith(b"\xff\xd8") else None


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Walks the segments up to the frame header."""
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(encoded[at + 5 : at + 7], "big"), int.from_bytes(encoded[at + 7 : at + 9], "big")
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def decoding_bytes(encoded: bytes, channels: int) -> int:
    """Returns the memory that decoding takes: the pixels as uint8, and as float32 for resizing."""
    height, width = image_size(encoded) or (0, 0)
    return height * width * channels * (1 + 4)
