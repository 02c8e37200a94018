"""One request to an API server, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request; empty values of its query are left out, and its body is sent as JSON.

    It may be sent twice without harm: names are decided before the first try.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = JSON
    accept: str = JSON


@dataclass(frozen=True)
class Reply:
    """The answer to the last of so many tries. Above 1 an earlier try may have had its effect."""

    status: int
    data: bytes
    tries: int


def is_metadata(value: Any) -> bool:
    """Returns whether a value may be the `metadata` of an object or of a list."""
    if not isinstance(value, dict) or not isinstance(value.get("continue", ""), str):
        return False
    return all(isinstance(value.get(part) or {}, dict) for part in ("labels", "annotations"))
