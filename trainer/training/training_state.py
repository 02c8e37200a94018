"""What a run carries from step to step beside the model's variables, and how it goes into a checkpoint and back."""

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
    """Where the run stands: `step` steps of `epoch` are done; `total` counts optimizer steps since the run began."""

    epoch: int = 0
    step: int = 0
    total: int = 0


@dataclass
class TrainingState:
    """What a run carries from step to step beside the model's variables.

    Attributes:
        cursor: Where the run stands.
        history: Keras History: name -> one value an epoch.
        lines: The lines of metrics.jsonl so far.
        best_epoch: Epoch of the best value (from 0), -1 before the first.
        best_value: The best value of the watched metric.
        best_weights: Weights of that epoch.
        callbacks: Attributes of Keras callbacks by class name.
        own_callbacks: What the callbacks of `fit.callbacks` carry, by their place in the list.
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
    own_callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped_early: bool = False
    epoch_logs: dict[str, float] | None = None


def take_snapshot(
    model: Any, state: TrainingState, identity: Mapping[str, Any], coordinator: Coordinator | SingleWorker
) -> Snapshot | None:
    """Copies the run's whole state to host memory. All workers call it after the same step.

    Returns:
        The snapshot on worker 0, None on the others. `identity`, what a process that goes on from it must share, is
        part of its state.
    """
    if not coordinator.rank.chief:
        coordinator.gather(model_state.per_replica(model, first_replica(model, coordinator)))
        return None
    groups = model_state.snapshot(model)
    if coordinator.rank.workers > 1:
        groups = model_state.with_others(groups, coordinator.gather(b"")[1:])
    if state.best_weights is not None:
        groups["best"] = state.best_weights
    cursor = state.cursor
    return Snapshot(
        step=cursor.total,
        groups=groups,
        state={
            **identity,
            "cursor": {"epoch": cursor.epoch, "step": cursor.step, "total": cursor.total},
            "history": {k: list(v) for k, v in state.history.items()},
            "lines": list(state.lines),
            "best": {"epoch": state.best_epoch, "value": state.best_value},
            "callbacks": {k: dict(v) for k, v in state.callbacks.items()},
            "own_callbacks": dict(state.own_callbacks),
            "stopped_early": state.stopped_early,
            "epoch_logs": state.epoch_logs,
        },
    )


def first_replica(model: Any, coordinator: Coordinator | SingleWorker) -> int:
    """Returns the index of this worker's first replica among those of all workers."""
    return int(model.distribute_strategy.num_replicas_in_sync) // coordinator.rank.workers * coordinator.rank.index


def state_from(snapshot: Snapshot) -> TrainingState:
    """Reads back what `take_snapshot` stored, without the model's variables."""
    stored = snapshot.state
    best = snapshot.groups.get("best")
    return TrainingState(
        cursor=Cursor(**stored["cursor"]),
        history={k: list(v) for k, v in stored["history"].items()},
        lines=list(stored["lines"]),
        best_epoch=int(stored["best"]["epoch"]),
        best_value=stored["best"]["value"],
        best_weights=dict(best) if best is not None else None,
        callbacks=dict(stored["callbacks"]),
        own_callbacks=dict(stored.get("own_callbacks") or {}),
        stopped_early=bool(stored["stopped_early"]),
        epoch_logs=stored["epoch_logs"],
    )


def plain(logs: Mapping[str, Any]) -> dict[str, float]:
    """Converts Keras logs to plain numbers."""
    return {name: number(value) for name, value in logs.items()}


def number(value: Any) -> Any:
    """Converts a value to a plain number; None, ints and bools stay as they are (JSON must give them back equal)."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return float(np.asarray(value))
