"""What the chief has found out about the data, for the other workers: footers and statistics are read once.

Each worker would come to the same, but by reading all rows again; and statistics that differ in their last
bit would make other models.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: In a pod the folder holds this run's alone; elsewhere the newest are enough.
_MOST_BYTES = 256 * 1024**2


def packed(folder: Path) -> bytes:
    """The files of the chief's cache, the newest first: a line of JSON with names and sizes, then the bytes."""
    files = [p for p in folder.iterdir() if p.is_file() and _NAME.fullmatch(p.name)] if folder.is_dir() else []
    files.sort(key=lambda p: -p.stat().st_mtime_ns)
    chosen: dict[str, bytes] = {}
    held = 0
    for file in files:
        data = file.read_bytes()
        held += len(data)
        if held > _MOST_BYTES:
            break
        chosen[file.name] = data
    head = json.dumps([[name, len(data)] for name, data in chosen.items()])
    return b"".join([head.encode(), b"\n", *chosen.values()])


def unpack(data: bytes, folder: Path) -> None:
    """Puts them into this worker's cache; what cannot be written is found out again."""
    if not data:
        return
    head, _, body = data.partition(b"\n")
    at = 0
    for name, size in json.loads(head):
        piece, at = body[at : at + int(size)], at + int(size)
        if not _NAME.fullmatch(str(name)) or (folder / name).exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(piece)
            temporary.replace(folder / name)
        except OSError:
            return
