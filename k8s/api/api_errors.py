"""Answers of an API server that are no success, in words a person can act on."""

from __future__ import annotations

import json
from typing import Any

from k8s.api.messages import Reply
from k8s.api.rights import rule
from k8s.errors import AccessError, AlreadyExists, ClusterError, Conflict, NotFound, RefusedError


def fault(reply: Reply, what: str, right: tuple[str, ...], namespace: str, context: str) -> Exception:
    """Returns an answer that is no success as an error.

    Args:
        reply: The answer.
        what: What was asked for: `Job flights`.
        right: The right that the request needs; empty for none.
        namespace: Where it was asked for.
        context: Name of the kubeconfig's context.
    """
    message, why = _message(reply), reason(reply)
    where = f"{what} in namespace {namespace}"
    if reply.status == 401:
        return AccessError(
            "the credentials are not accepted (expired?)",
            where=f"context {context!r}",
            remedy="sign in again, as for kubectl; `kubectl auth whoami` tells who you are",
        )
    if reply.status == 403 and right and why == "Forbidden" and " cannot " in message:
        remedy = f"add to your Role: {rule(right)}; docs/rights.md has the whole Role"
        return AccessError(f"a right is missing: {message}", where=where, remedy=remedy)
    if reply.status == 404:
        if message.startswith('namespaces "'):
            return AccessError(message, where=f"context {context!r}", remedy="--namespace names another")
        return NotFound("not found", where=where, remedy="`kfit list` shows what is there; -n names a namespace")
    if reply.status == 409:
        return AlreadyExists(message, where=where) if why == "AlreadyExists" else Conflict(message, where=where)
    if reply.status == 429 or reply.status >= 500:
        return ClusterError(
            f"the API server is at fault (HTTP {reply.status}): {message}", where=where, remedy="try again later"
        )
    return RefusedError(message, where=where)


def _status(reply: Reply) -> dict[str, Any]:
    try:
        status = json.loads(reply.data)
    except (ValueError, RecursionError):
        return {}
    return status if isinstance(status, dict) else {}


def _message(reply: Reply) -> str:
    return str(_status(reply).get("message") or reply.data[:300].decode(errors="replace").strip() or reply.status)


def reason(reply: Reply) -> str:
    """The API's own word for a refusal: NotFound, AlreadyExists, Conflict, Forbidden."""
    return str(_status(reply).get("reason", ""))
