"""Copies worker 0's cache of footers and statistics to the other workers.

Each worker would compute the same, but by reading all rows again; and statistics that differ in their last
bit would make different models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from trainer import local_cache

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: In a pod the folder holds this run's files alone; elsewhere the newest are enough.
_MOST_BYTES = 256 * 1024**2


def packed(folder: Path) -> bytes:
    """Packs the files of a cache folder, the newest first, up to `_MOST_BYTES`.

    Args:
        folder: The cache; need not exist.

    Returns:
        A line of JSON with names and sizes, then the files' bytes.
    """
    files = [p for p in folder.iterdir() if p.is_file() and _NAME.fullmatch(p.name)] if folder.is_dir() else []
    files.sort(key=lambda p: -p.stat().st_mtime_ns)
    contents: dict[str, bytes] = {}
    total_bytes = 0
    for file in files:
        data = local_cache.read(folder, file.name)
        if data is None:
            continue
        total_bytes += len(data)
        if total_bytes > _MOST_BYTES:
            break
        contents[file.name] = data
    head = json.dumps([[name, len(data)] for name, data in contents.items()])
    return b"".join([head.encode(), b"\n", *contents.values()])


def unpack(data: bytes, folder: Path) -> None:
    """Writes packed files into this worker's cache; files that exist stay.

    What cannot be written is not an error: this worker then computes it itself.

    Args:
        data: What `packed` returned; empty: nothing is written.
        folder: This worker's cache; created where it does not exist.
    """
    if not data:
        return
    head, _, body = data.partition(b"\n")
    start = 0
    for name, size in json.loads(head):
        content, start = body[start : start + int(size)], start + int(size)
        if not _NAME.fullmatch(str(name)) or (folder / name).exists():
            continue
        if not local_cache.write(folder, name, content):
            return
