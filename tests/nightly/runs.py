"""Folders of finished runs as `fit` leaves them, without a fit."""

from __future__ import annotations

import json
from typing import Any

from trainer import storage


def result(run: str, **changes: Any) -> dict[str, Any]:
    """A result.json."""
    document: dict[str, Any] = {
        "run": run,
        "status": "succeeded",
        "exit_code": 0,
        "reason": "trained",
        "metrics": {"train": {"auc": 0.8}, "validation": {"auc": 0.75, "loss": 0.4}},
        "rows": {"train": 1000, "validation": 100},
        "ledger_s": {"start": 1.0, "statistics": 2.0, "compile": 3.0, "fit": 10.0, "feed_wait": 1.0, "export": 4.0},
        "finished": "2013-03-01T02:00:00Z",
    }
    return {**document, **changes}


def leave(output: str, run: str, *, model: bool = True, **changes: Any) -> dict[str, Any]:
    """Writes a run's folder: config.json, result.json and a manifest."""
    folder = storage.join(output, "runs", run)
    document = result(run, **changes)
    storage.write(storage.join(folder, "config.json"), json.dumps({"run": run, "config": {"task": "binary"}}).encode())
    if model:
        storage.write(storage.join(folder, "model", "model.keras"), b"weights")
        storage.write(storage.join(folder, "model", "MANIFEST.json"), b"{}")
    storage.write(storage.join(folder, "result.json"), json.dumps(document).encode())
    return document
