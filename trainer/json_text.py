"""Reads JSON that others may have written: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def parse(data: str | bytes) -> Any:
    """Returns the document of a JSON text.

    Raises:
        ValueError: It is no JSON, no Unicode, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(data)
    except RecursionError as deep:
        raise ValueError("nested too deeply") from deep


def parse_object(data: str | bytes | None) -> dict[str, Any]:
    """Returns the object that a JSON text holds; an empty one where it is none, or cannot be read."""
    try:
        document = parse(data or b"null")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
