"""What two runs of the same job ended with, compared bit for bit (times aside)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore

#: What differs between two runs by its nature: the name, and times.
_NOT_COMPARED = ("run", "ledger_s", "finished", "started")


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """Everything in which the ends of two runs differ; empty where they are equal."""
    faults = []
    a, b = (CheckpointStore(f, keep=3, note=lambda _: None).newest() for f in (one, other))
    if a is None or b is None:
        return ["no checkpoint"]
    if a.step != b.step:
        faults.append(f"step {a.step} and {b.step}")
    for group in ("weights", "optimizer", "best"):
        mine, yours = a.groups.get(group, {}), b.groups.get(group, {})
        if mine.keys() != yours.keys() or any(not np.array_equal(mine[n], yours[n]) for n in mine):
            faults.append(group)
    if _lines(one) != _lines(other):
        faults.append("metrics.jsonl")
    if _result(one) != _result(other):
        faults.append("result.json")
    if _layout(one) != _layout(other):
        faults.append("model")
    return faults


def unpublished(run: RunFolder) -> list[str]:
    """What is wrong with a finished run's published model: files against its manifest."""
    import hashlib

    manifest = json.loads(storage.read(run.path("model", "MANIFEST.json")))
    return [
        name
        for name, entry in manifest["files"].items()
        if hashlib.sha256(storage.read(run.path("model", name))).hexdigest() != entry["sha256"]
    ]


def _lines(run: RunFolder) -> list[dict[str, Any]]:
    text = storage.read(run.path("metrics.jsonl")).decode()
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in text.splitlines()]


def _result(run: RunFolder) -> dict[str, Any]:
    result = json.loads(storage.read(run.path("result.json")))
    if result["checkpoint"]:
        del result["checkpoint"]["commit_s"]
    return {k: v for k, v in result.items() if k not in _NOT_COMPARED}


def _layout(run: RunFolder) -> dict[str, Any]:
    manifest = json.loads(storage.read(run.path("model", "MANIFEST.json")))
    return {"layout": manifest["layout"], "vocabularies": manifest["vocabularies"], "files": sorted(manifest["files"])}
