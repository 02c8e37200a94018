"""What a run left in storage, which outlives the Job, its pods and their logs. Read through `trainer.storage` alone."""

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
class StoredRun:
    """What a run left in its folder.

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
    """Returns the URI of a run's folder."""
    return storage.join(output_uri, "runs", run_id)


def read(output_uri: str, run_id: str) -> StoredRun:
    """Returns a run's result; storage that is out of reach from here is reported in it, not raised."""
    uri = run_uri(output_uri, run_id)
    try:
        result = json.loads(storage.read(storage.join(uri, "result.json")))
    except storage.NotFound:
        pass
    except ValueError as error:
        return StoredRun(uri, {}, began=True, fault=f"result.json is damaged: {error}")
    except KfitError as fault:
        return StoredRun(uri, {}, began=False, fault=str(fault))
    else:
        damaged = "" if isinstance(result, dict) else "result.json is damaged: not a mapping"
        return StoredRun(uri, {} if damaged else result, began=True, fault=damaged)
    try:
        return StoredRun(uri, {}, began=storage.exists(storage.join(uri, "config.json")))
    except KfitError as fault:
        return StoredRun(uri, {}, began=False, fault=str(fault))


def newest_checkpoint(output_uri: str, run_id: str) -> tuple[int, float] | None:
    """Returns the newest checkpoint's step and commit time (seconds since the epoch); None without one.

    Raises:
        KfitError: Storage is out of reach.
    """
    folder = storage.join(run_uri(output_uri, run_id), "checkpoints")
    try:
        listed = storage.list_objects(folder)
    except storage.NotFound:
        return None
    steps = [(int(manifest[1]), o.uri) for o in listed if (manifest := _STEP.fullmatch(o.name))]
    if not steps:
        return None
    step, uri = max(steps)
    return step, storage.modified_s(uri)
