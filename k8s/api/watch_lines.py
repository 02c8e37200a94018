"""The lines of a watch: each is one change of one object, or the watch ends with an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from k8s.api.messages import is_metadata
from k8s.errors import ClusterError

#: etcd holds no object above 1.5 MiB by default; a line that does not end is not collected for ever.
_LONGEST_BYTES = 16 * 1024**2


def changes(pieces: Iterable[bytes], server: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what each line says: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and the object.

    Args:
        pieces: The body, cut anywhere. A last line without its end is dropped: the watch was cut there.
        server: Named in errors.

    Raises:
        ClusterError: A line that is no change of an object, or has no end.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST_BYTES:
            raise ClusterError(f"a line of the watch has more than {_LONGEST_BYTES:,} bytes", where=server)
        for line in lines:
            if line.strip():
                yield _change(line, server)


def _change(line: bytes, server: str) -> tuple[str, dict[str, Any]]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    change, item = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
    if isinstance(change, str) and isinstance(item, dict) and (change == "ERROR" or _is_object(change, item)):
        return change, item
    raise ClusterError("a line of the watch is no change of an object; is this an API server?", where=server)


def _is_object(change: str, item: dict[str, Any]) -> bool:
    metadata = item.get("metadata")
    needed = ("resourceVersion",) if change == "BOOKMARK" else ("resourceVersion", "uid", "name")
    return (
        isinstance(metadata, dict)
        and is_metadata(metadata)
        and all(isinstance(metadata.get(key), str) for key in needed)
        and all(isinstance(item.get(part, {}), dict) for part in ("spec", "status"))
    )
