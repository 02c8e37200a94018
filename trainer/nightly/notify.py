"""Posts a run's result to a URL: signed, retried, and never a reason for a run to fail.

Messages follow Standard Webhooks (https://www.standardwebhooks.com), so that a receiver can check them with the
library of its language. The URL may itself be the secret: no message of this module repeats any part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import urllib3
from standardwebhooks import Webhook

from trainer.config import Notify
from trainer.config.output import is_http_url

_TRY_S = 5.0
_FIRST_WAIT_S = 0.5
#: Answers that may pass by themselves; all other refusals are final.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_wanted(notify: Notify, result: Mapping[str, Any]) -> bool:
    """Whether this end is one that the job file asks to be told."""
    promoted = bool((result.get("decision") or {}).get("promoted"))
    return result["status"] in notify.on or (promoted and "promoted" in notify.on)


def signed_headers(secret: str, message_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """The headers of a message.

    Args:
        secret: The key: `whsec_` and base64 as Standard Webhooks writes it, or any text, whose bytes are the key then.
            "": the message is not signed.
        message_id: The same for every try, so that a receiver can drop a repetition.
        now_s: Seconds since the epoch. The time is signed too: a receiver can refuse what somebody replays later.
        body: The message.

    Returns:
        `webhook-id`, `webhook-timestamp` and `webhook-signature`; and, for receivers from before these, the
        HMAC-SHA-256 (RFC 2104) over timestamp, a dot and the body as `X-Kfit-Signature`.

    Raises:
        ValueError: `whsec_` and something that is not base64.
    """
    timestamp = str(int(now_s))
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "X-Kfit-Timestamp": timestamp}
    if not secret:
        return headers
    signer = Webhook(secret if secret.startswith("whsec_") else secret.encode())
    moment = datetime.fromtimestamp(int(now_s), UTC)
    headers["webhook-signature"] = signer.sign(message_id, moment, body.decode())
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return headers | {"X-Kfit-Signature": f"sha256={digest}"}


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
        None when it was delivered, else what went wrong, for a note; it holds no part of the URL or the key.
    """
    name = "notify.url" if notify.url is not None else notify.url_env
    url = (notify.url or environment.get(notify.url_env or "", "")).strip()
    if not is_http_url(url):
        return f"{name} holds no http or https URL"
    body = json.dumps(result, allow_nan=False).encode()
    message_id = f"{result['run']}-{result.get('finished') or result['status']}"
    try:
        headers = signed_headers(environment.get(notify.secret_env, ""), message_id, now(), body)
    except Exception:  # of whatever kind the library raises: the text could repeat the key
        return f"{notify.secret_env} begins with whsec_ and is not a key in base64"
    headers |= {"Content-Type": "application/json", "User-Agent": "kfit"}
    ends = time.monotonic() + deadline_s
    fault = f"no answer within {deadline_s:g} s"
    with urllib3.PoolManager(retries=False) as pool:
        for tries in itertools.count():
            left_s = ends - time.monotonic()
            if left_s <= 0:
                break
            again, fault = _try(pool, url, body, headers, min(_TRY_S, left_s))
            wait_s = _FIRST_WAIT_S * 2**tries
            if not again or time.monotonic() + wait_s > ends:
                break
            time.sleep(wait_s)
    return fault or None


def _try(
    pool: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> tuple[bool, str]:
    """Whether another try may help, and the fault; no fault where it was taken."""
    try:
        answer = pool.request(
            "POST", url, body=body, headers=headers, redirect=False, timeout=timeout_s, preload_content=False
        )
        answer.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return isinstance(error, urllib3.exceptions.HTTPError | OSError), cause(error)
    if 200 <= answer.status < 300:
        return False, ""
    if 300 <= answer.status < 400:
        return False, f"the receiver answered {answer.status}: a redirect is not followed, give the URL it leads to"
    return answer.status in PASSING, f"the receiver answered {answer.status}"


def cause(error: BaseException) -> str:
    """What lies behind a failed request: the system's own words, since those of an HTTP library repeat the URL."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    told = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
