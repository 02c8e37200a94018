"""`production.json`: which run serves. It is changed only by compare-and-swap, so of two promoters one wins.

The pointer records who moved it, when and why, and all earlier pointers back to the first. A rollback therefore needs
nothing but the store.
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
    """The content of production.json.

    Attributes:
        run: The run that serves.
        generation: Number of moves, from 1.
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
    """Returns the run that serves; None where nothing has been promoted.

    Raises:
        DataError: production.json exists and is not a pointer to a run.
        StorageError: The store is out of reach.
    """
    uri = storage.join(output_uri, NAME)
    stored = storage.read_with_version(uri)
    if stored is None:
        return None
    try:
        document = json.loads(stored[0])
        return Production(
            _run_id(document["run"]),
            int(document.get("generation", 1)),
            str(document.get("who", "")),
            str(document.get("when", "")),
            str(document.get("why", "")),
            str(document.get("action", "promote")),
            document.get("previous") if is_run_id(document.get("previous") or "") else None,
            tuple(entry for entry in document.get("before", ()) if is_run_id(entry["run"])),
            stored[1],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        raise DataError(
            "is not a pointer to a run", where=uri, remedy="write it anew with `kfit promote RUN`, after removing it"
        ) from broken


def _run_id(text: str) -> str:
    """Returns a stored run id; raises ValueError where it is not one, TypeError where it is not text."""
    if not is_run_id(text):
        raise ValueError(text)
    return text


def move(
    output_uri: str,
    run: str,
    *,
    current: Production | None,
    why: str,
    action: str = "promote",
    who: str | None = None,
    when: datetime | None = None,
) -> Production:
    """Points production to a run, unless somebody else has moved it since `current` was read.

    Args:
        output_uri: The job's `output.uri`.
        run: The run's id; its model must be published.
        current: What `read` returned when the decision was made.
        why: The reason, for people who read it later.
        action: `promote` or `rollback`.
        who: Default: user and host, or the pod's Job.
        when: Default: now.

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
        "generation": current.generation + 1 if current else 1,
        "who": who or whoami(),
        "when": (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "why": why,
        "action": action,
        "previous": current.run if current else None,
        # Identifies our own write where the store's answer to it was lost.
        "token": secrets.token_hex(8),
        "before": [_short(current), *current.before][:_MOST_BEFORE] if current else [],
    }
    try:
        storage.replace(uri, (json.dumps(document, indent=2) + "\n").encode(), current.version if current else None)
    except storage.Changed as changed:
        now = storage.read_with_version(uri)
        if now is None or json.loads(now[0]).get("token") != document["token"]:
            raise Lost(
                f"{_moved_by(read(output_uri))}; {run} was not promoted",
                where=uri,
                remedy="compare the two with `kfit compare`, then promote again if it is still the better one",
            ) from changed
    moved = read(output_uri)
    assert moved is not None
    return moved


def _moved_by(now: Production | None) -> str:
    if now is None:
        return "production.json was removed meanwhile"
    return f"production was moved to {now.run} by {now.who or 'somebody'} meanwhile ({now.why})"


def _short(current: Production) -> dict[str, Any]:
    names = ("run", "generation", "who", "when", "why", "action", "previous")
    return {name: getattr(current, name) for name in names}


def rollback_target(current: Production | None, to: str | None, where: str) -> str:
    """Returns the run a rollback goes to: `to`, else the newest earlier run that was not itself rolled back.

    Raises:
        ConfigError: There is no such run, or it is in production already.
    """
    if current is None:
        raise ConfigError("nothing is in production", where=where, remedy="promote a run with `kfit promote RUN`")
    if to is not None:
        if to == current.run:
            raise ConfigError(f"{to} is in production already", where=where, remedy="name another run")
        return to
    rejected: set[str | None] = {current.run}
    for entry in [_short(current), *current.before]:
        if entry["run"] not in rejected:
            return str(entry["run"])
        if entry.get("action") == "rollback":
            rejected.add(entry.get("previous"))
    raise ConfigError(
        f"{current.run} has no run before it",
        where=where,
        remedy="name one: `kfit rollback --to RUN`, see `kfit history`",
    )


def protected(current: Production | None) -> set[str]:
    """Returns the runs that are never deleted: the one in production, the one before, and the target of a rollback."""
    if current is None:
        return set()
    runs = {current.run, current.previous}
    with contextlib.suppress(ConfigError):
        runs.add(rollback_target(current, None, ""))
    return {run for run in runs if run is not None}


def whoami() -> str:
    """Returns the pod's Job where there is one, else user@host."""
    if job := os.environ.get("KFIT_JOB"):
        return f"job/{job}"
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's uid has no name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
