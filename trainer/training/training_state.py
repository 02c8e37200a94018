"""What a run carries from step to step beside the model's variables, and its way into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.checkpoint.store import Snapshot
from trainer.training import model_state
from trainer.workers.coordinator import Coordinator, SingleWorker


@dataclass
class Cursor:
    """Where the run stands: `step` steps of `epoch` are done; `total` counts optimizer steps."""

    epoch: int = 0
    step: int = 0
    total: int = 0


@dataclass
class Memory:
    """What a run carries from step to step beside the model's variables.

    Attributes:
        cursor: Where the run stands.
        history: Keras History: name -> one value an epoch.
        lines: The lines of metrics.jsonl so far.
        best_epoch: Epoch of the best value (from 0), -1 before the first.
        best_value: The best value of the watched metric.
        best_weights: Weights of that epoch.
        callbacks: Attributes of Keras callbacks by class name.
        stopped_early: Whether early stopping ended the run.
        epoch_logs: Training metrics of an epoch whose steps are done and whose validation is not.
    """

    cursor: Cursor = field(default_factory=Cursor)
    history: dict[str, list[float]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    best_value: float | None = None
    best_weights: dict[str, np.ndarray] | None = None
    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped_early: bool = False
    epoch_logs: dict[str, float] | None = None


def take_snapshot(
    model: Any, memory: Memory, identity: Mapping[str, Any], coordinator: Coordinator | SingleWorker | None = None
) -> Snapshot | None:
    """The run's whole state in host memory; `identity` is what a resuming run must share.

    All workers call it after the same step; it is the chief's, the others get None.
    """
    coordinator = coordinator or SingleWorker()
    if not coordinator.rank.chief:
        coordinator.gather(model_state.per_replica(model, first_replica(model, coordinator)))
        return None
    groups = model_state.snapshot(model)
    if coordinator.rank.workers > 1:
        groups = model_state.with_others(groups, coordinator.gather(b"")[1:])
    if memory.best_weights is not None:
        groups["best"] = memory.best_weights
    cursor = memory.cursor
    return Snapshot(
        step=cursor.total,
        groups=groups,
        state={
            **identity,
            "cursor": {"epoch": cursor.epoch, "step": cursor.step, "total": cursor.total},
            "history": {k: list(v) for k, v in memory.history.items()},
            "lines": list(memory.lines),
            "best": {"epoch": memory.best_epoch, "value": memory.best_value},
            "callbacks": {k: dict(v) for k, v in memory.callbacks.items()},
            "stopped_early": memory.stopped_early,
            "epoch_logs": memory.epoch_logs,
        },
    )


def first_replica(model: Any, coordinator: Coordinator | SingleWorker) -> int:
    """Of this worker's replicas, among those of all workers."""
    return int(model.distribute_strategy.num_replicas_in_sync) // coordinator.rank.workers * coordinator.rank.index


def memory_from(snapshot: Snapshot) -> Memory:
    """The inverse of `take_snapshot`, without the model's variables."""
    kept = snapshot.state
    best = snapshot.groups.get("best")
    return Memory(
        cursor=Cursor(**kept["cursor"]),
        history={k: list(v) for k, v in kept["history"].items()},
        lines=list(kept["lines"]),
        best_epoch=int(kept["best"]["epoch"]),
        best_value=kept["best"]["value"],
        best_weights=dict(best) if best is not None else None,
        callbacks=dict(kept["callbacks"]),
        stopped_early=bool(kept["stopped_early"]),
        epoch_logs=kept["epoch_logs"],
    )


def plain(logs: Mapping[str, Any]) -> dict[str, float]:
    """Keras logs as plain numbers."""
    return {name: number(value) for name, value in logs.items()}


def number(value: Any) -> Any:
    """As a plain number; keeps None, ints and bools as they are (JSON must give them back equal)."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return float(np.asarray(value))
