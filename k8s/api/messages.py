"""One request to an API server, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request. It may be sent twice without harm: names are decided before the first try.

    Attributes:
        method: GET, POST, PUT, PATCH or DELETE.
        path: Below the server's URL.
        query: Its query; empty values are left out.
        body: Sent as JSON.
        content_type: Of the body.
        accept: What the answer may be.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = JSON
    accept: str = JSON


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        data: The body.
        tries: Times it was sent, the answered one included. Above 1 an earlier try may have had its effect.
    """

    status: int
    data: bytes
    tries: int


def is_metadata(value: Any) -> bool:
    """Returns whether a value may be the `metadata` of an object or of a list."""
    if not isinstance(value, dict) or not isinstance(value.get("continue", ""), str):
        return False
    return all(isinstance(value.get(part) or {}, dict) for part in ("labels", "annotations"))
