"""What a run left in storage: it outlives the Job, its pods and their logs. Read through `trainer.storage` alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer import storage
from trainer.errors import KfitError

_STEP = re.compile(r"step-(\d+)(?:\.\d+)*/MANIFEST\.json")


@dataclass(frozen=True)
class Left:
    """What lies in a run's folder.

    Attributes:
        uri: The folder.
        result: result.json; empty while the run has not ended.
        began: Whether the run has written anything.
        fault: Why storage was not read; empty where it was.
    """

    uri: str
    result: Mapping[str, Any]
    began: bool
    fault: str = ""


def run_uri(output_uri: str, run_id: str) -> str:
    """A run's folder."""
    return storage.join(output_uri, "runs", run_id)


def read(output_uri: str, run_id: str) -> Left:
    """Reads a run's result; storage that is out of reach from here is said, not raised."""
    uri = run_uri(output_uri, run_id)
    try:
        return Left(uri, json.loads(storage.read(storage.join(uri, "result.json"))), began=True)
    except storage.NotFound:
        pass
    except KfitError as fault:
        return Left(uri, {}, began=False, fault=str(fault))
    try:
        return Left(uri, {}, began=storage.exists(storage.join(uri, "config.json")))
    except KfitError as fault:
        return Left(uri, {}, began=False, fault=str(fault))


def newest_checkpoint(output_uri: str, run_id: str) -> tuple[int, float] | None:
    """Step of the newest checkpoint, and when it was committed in seconds since the epoch; None without one.

    Raises:
        KfitError: Storage is out of reach.
    """
    folder = storage.join(run_uri(output_uri, run_id), "checkpoints")
    try:
        listed = storage.list_objects(folder)
    except storage.NotFound:
        return None
    steps = [(int(found[1]), o.uri) for o in listed if (found := _STEP.fullmatch(o.name))]
    if not steps:
        return None
    step, uri = max(steps)
    return step, storage.modified_s(uri)
