"""Stores and snapshots that the tests of checkpoints share."""

import numpy as np

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore, Snapshot


def store(folder: RunFolder, keep: int = 2, notes: list[str] | None = None) -> CheckpointStore:
    made = CheckpointStore(folder, keep=keep, note=(notes if notes is not None else []).append)
    made.take_over(made.newest())
    return made


def snapshot(step: int, best: float = 0.0) -> Snapshot:
    weights = {"0000.0": np.full((3, 2), step, np.float32)}
    return Snapshot(step, {"weights": weights, "best": {"0000.0": np.array([best])}}, {"cursor": {"epoch": step}})


def names(folder: RunFolder) -> list[str]:
    return [o.name for o in storage.list_objects(folder.path("checkpoints"))]
