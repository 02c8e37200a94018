"""Posts a run's result to a URL: signed, retried, and never a reason for a run to fail."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainer.config import Notify

_TRY_S = 5.0
_FIRST_WAIT_S = 0.5
#: Answers that may pass by themselves; all other refusals are final.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def wanted(notify: Notify, result: Mapping[str, Any]) -> bool:
    """Whether this end is one that the job file asks to be told."""
    promoted = bool((result.get("decision") or {}).get("promoted"))
    return result["status"] in notify.on or (promoted and "promoted" in notify.on)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC-SHA-256 (RFC 2104) over timestamp, a dot and the body, in hex.

    The timestamp is signed too, so that a receiver can refuse a message that somebody replays later.
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post(
    notify: Notify,
    result: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    deadline_s: float,
    now: Callable[[], float] = time.time,
) -> str | None:
    """Sends the result.

    Args:
        notify: Where to, and which variables hold URL and key.
        result: result.json.
        environment: The process's variables.
        deadline_s: Give up after so long, retries included.
        now: Seconds since the epoch, for the signature.

    Returns:
        None when it was delivered, else what went wrong, for a note.
    """
    url = notify.url or environment.get(notify.url_env or "", "")
    if not url.startswith(("http://", "https://")):
        return f"{notify.url_env} holds no http or https URL"
    body = json.dumps(result, allow_nan=False).encode()
    timestamp = str(int(now()))
    headers = {"Content-Type": "application/json", "User-Agent": "kfit", "X-Kfit-Timestamp": timestamp}
    if secret := environment.get(notify.secret_env):
        headers["X-Kfit-Signature"] = signature(secret, timestamp, body)
    ends = time.monotonic() + deadline_s
    fault = ""
    for wait_s in _waits():
        left_s = ends - time.monotonic()
        if left_s <= 0:
            break
        again, fault = _try(urllib.request.Request(url, body, headers, method="POST"), min(_TRY_S, left_s))
        if not fault or not again:
            break
        if time.monotonic() + wait_s > ends:
            break
        time.sleep(wait_s)
    return fault or None


def _waits() -> Iterator[float]:
    wait_s = _FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s *= 2


def _try(request: urllib.request.Request, timeout_s: float) -> tuple[bool, str]:
    """Whether another try may help, and the fault; no fault where it was taken."""
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return False, ""
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code in _PASSING, f"the receiver answered {refused.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Never the URL: it may be the secret.
        return not isinstance(error, ValueError), f"{type(error).__name__}: {getattr(error, 'reason', error)}"
