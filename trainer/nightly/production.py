"""`production.json`: which run serves. It moves by compare-and-swap alone, so of two promoters one wins.

The pointer carries who moved it, when and why, and the one before, back to the first. What it pointed to is
therefore never lost, and a rollback needs nothing but the store.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.run_id import check_run_id, is_run_id

NAME = "production.json"
#: Earlier pointers kept inside the newest: enough to see months of nights.
_MOST_BEFORE = 100


class Lost(ConfigError):
    """Somebody else moved production first."""


@dataclass(frozen=True)
class Production:
    """What production.json says.

    Attributes:
        run: The run that serves.
        generation: Counts the moves, from 1.
        who, when, why: Who moved it here, UTC time in ISO 8601, and the reason.
        action: `promote` or `rollback`.
        previous: The run before, None for the first.
        before: Earlier moves, newest first: run, generation, who, when, why, action.
        version: The store's version of the object that was read.
    """

    run: str
    generation: int
    who: str
    when: str
    why: str
    action: str
    previous: str | None
    before: tuple[Mapping[str, Any], ...]
    version: str = field(default="", compare=False)


def read(output_uri: str) -> Production | None:
    """What serves, None where nothing has been promoted.

    Raises:
        DataError: production.json is there and is not ours.
        StorageError: The store is out of reach.
    """
    uri = storage.join(output_uri, NAME)
    found = storage.read_with_version(uri)
    if found is None:
        return None
    try:
        document = json.loads(found[0])
        return Production(
            _run_id(document["run"]),
            int(document.get("generation", 1)),
            str(document.get("who", "")),
            str(document.get("when", "")),
            str(document.get("why", "")),
            str(document.get("action", "promote")),
            document.get("previous") if is_run_id(document.get("previous") or "") else None,
            tuple(entry for entry in document.get("before", ()) if is_run_id(entry["run"])),
            found[1],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        raise DataError(
            "is not a pointer to a run", where=uri, remedy="write it anew with `kfit promote RUN`, after removing it"
        ) from broken


def _run_id(text: str) -> str:
    """A stored run id; raises ValueError for what is none, TypeError for what is no text."""
    if not is_run_id(text):
        raise ValueError(text)
    return text


def move(
    output_uri: str,
    run: str,
    *,
    seen: Production | None,
    why: str,
    action: str = "promote",
    who: str | None = None,
    when: datetime | None = None,
) -> Production:
    """Points production to a run, if it still is what was seen.

    Args:
        output_uri: The job's `output.uri`.
        run: The run's id; its model must be published.
        seen: What `read` gave when the decision was made.
        why: The reason, for those who look at it later.
        action: `promote` or `rollback`.
        who: By default user and host, or the pod's Job.
        when: By default now.

    Returns:
        The new pointer.

    Raises:
        Lost: Somebody else moved it since.
        ConfigError: `run` is not a run id, or the run has no published model.
        StorageError: The store is out of reach or refuses.
    """
    check_run_id(run, NAME)
    if not storage.exists(storage.join(output_uri, "runs", run, "model", "MANIFEST.json")):
        raise ConfigError(
            "the run has no published model", where=storage.join(output_uri, "runs", run), remedy="see `kfit history`"
        )
    uri = storage.join(output_uri, NAME)
    document = {
        "run": run,
        "generation": seen.generation + 1 if seen else 1,
        "who": who or whoami(),
        "when": (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "why": why,
        "action": action,
        "previous": seen.run if seen else None,
        # Tells our own write from another's where the answer to it was lost on the way.
        "token": secrets.token_hex(8),
        "before": [_short(seen), *seen.before][:_MOST_BEFORE] if seen else [],
    }
    try:
        storage.replace(uri, (json.dumps(document, indent=2) + "\n").encode(), seen.version if seen else None)
    except storage.Changed as changed:
        now = storage.read_with_version(uri)
        if now is None or json.loads(now[0]).get("token") != document["token"]:
            raise Lost(
                f"{_said(read(output_uri))}; {run} was not promoted",
                where=uri,
                remedy="compare the two with `kfit compare`, then promote again if it still is the better one",
            ) from changed
    moved = read(output_uri)
    assert moved is not None
    return moved


def _said(now: Production | None) -> str:
    if now is None:
        return "production.json was removed meanwhile"
    return f"production was moved to {now.run} by {now.who or 'somebody'} meanwhile ({now.why})"


def _short(seen: Production) -> dict[str, Any]:
    names = ("run", "generation", "who", "when", "why", "action", "previous")
    return {name: getattr(seen, name) for name in names}


def rollback_target(seen: Production | None, to: str | None, where: str) -> str:
    """The run a rollback goes to: `to`, else the newest earlier one that was not itself rolled back from.

    Raises:
        ConfigError: There is none, or it is in production already.
    """
    if seen is None:
        raise ConfigError("nothing is in production", where=where, remedy="promote a run with `kfit promote RUN`")
    if to is not None:
        if to == seen.run:
            raise ConfigError(f"{to} is in production already", where=where, remedy="name another run")
        return to
    left: set[str | None] = {seen.run}
    for entry in [_short(seen), *seen.before]:
        if entry["run"] not in left:
            return str(entry["run"])
        if entry.get("action") == "rollback":
            left.add(entry.get("previous"))  # it was left for a reason
    raise ConfigError(
        f"{seen.run} has no run before it", where=where, remedy="name one: `kfit rollback --to RUN`, see `kfit history`"
    )


def protected(seen: Production | None) -> set[str]:
    """The runs that no retention touches: the one in production, the one before, and a rollback's goal."""
    if seen is None:
        return set()
    kept = {seen.run, seen.previous}
    with contextlib.suppress(ConfigError):
        kept.add(rollback_target(seen, None, ""))
    return {run for run in kept if run is not None}


def whoami() -> str:
    """The pod's Job where there is one, else user@host."""
    if job := os.environ.get("KFIT_JOB"):
        return f"job/{job}"
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's uid has no name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
