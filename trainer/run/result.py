"""`result.json`: the result of a run, for scripts."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from trainer import metrics
from trainer.config import Config, EarlyStopping
from trainer.feed.statistics.prepare import Prepared
from trainer.schema import LabelPlace
from trainer.training.time_ledger import Ledger

if TYPE_CHECKING:
    from trainer.training.training_state import TrainingState


@dataclass(frozen=True)
class End:
    """How a run ended: `succeeded`, `skipped`, `failed` or `preempted`; its exit code; why."""

    status: str
    exit_code: int
    reason: str


def document(
    end: End,
    run_id: str,
    config: Config,
    prepared: Prepared | None,
    memory: TrainingState | None,
    checkpoint: Mapping[str, float | None] | None,
    ledger: Ledger,
) -> dict[str, Any]:
    """Returns the content of `result.json`.

    Args:
        end: How the run ended.
        run_id: The run's name.
        config: Its configuration.
        prepared: The prepared data; None where the run ended before that.
        memory: The training state; None before the first step.
        checkpoint: The newest one: step, bytes and seconds.
        ledger: Where the time went.
    """
    history: dict[str, list[float]] = memory.history if memory else {}
    epochs = max(map(len, history.values()), default=0)
    best = memory.best_epoch if memory and memory.best_epoch >= 0 else None
    stop = config.fit.early_stopping if isinstance(config.fit.early_stopping, EarlyStopping) else None
    chosen = best if stop and stop.restore_best_weights and best is not None else epochs - 1
    at = {name: values[chosen] for name, values in history.items() if epochs and chosen < len(values)}
    return {
        "run": run_id,
        "status": end.status,
        "exit_code": end.exit_code,
        "reason": end.reason,
        "task": config.task or {name: one.task for name, one in config.data.labels.items()},
        "metrics": {
            "train": {n: v for n, v in at.items() if not n.startswith("val_") and n != "learning_rate"},
            "validation": {n.removeprefix("val_"): v for n, v in at.items() if n.startswith("val_")},
        },
        "epochs": epochs,
        "stopped_early": bool(memory and memory.stopped_early),
        "best_epoch": best + 1 if best is not None else None,
        "steps": memory.cursor.total if memory else 0,
        "checkpoint": checkpoint,
        "rows": {name: (prepared.rows.get(name, 0) if prepared else 0) for name in ("train", "validation")},
        "bad_shards": list(prepared.bad_shards) if prepared else [],
        "fingerprint": prepared.fingerprint if prepared else None,
        "ledger_s": ledger.rounded(),
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def exact_metrics(
    names: Iterable[str], place: LabelPlace, labels: Any, predictions: Any
) -> tuple[dict[str, float], list[str]]:
    """Computes a label's metrics of `result.json` by `trainer.metrics`, in place of Keras's running estimates.

    Args:
        names: Metrics of the training; `loss`, which includes penalties, remains Keras's.
        place: The label.
        labels: [rows] of the whole validation split.
        predictions: [rows] or [rows, outputs].

    Returns:
        Each metric by name, NaN where it is not defined; and a line for each undefined one.
    """
    label = place.label
    known = [name for name in sorted(names) if name != "loss" and name in metrics.NAMES[label.task]]
    if not known:
        return {}, []
    running = metrics.RunningMetrics(label.task, known, label.quantiles)
    running.update(labels, predictions)
    values = running.result()
    undefined = running.undefined(values).items()
    return {place.prefix + name: value for name, value in values.items()}, [
        f"validation {place.prefix}{name} is not defined: {why}" for name, why in undefined
    ]


def versions() -> dict[str, str]:
    """Returns the versions of the packages that influence a result."""
    packages = {"python": platform.python_version()}
    for package in ("kfit", "tensorflow", "keras", "numpy", "pyarrow"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return packages
