"""What callbacks may monitor: names in a run's logs, known before data is read, but for what code of one's own adds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.config.objective import OwnCode, WatchedMetric, direction, metrics_of
from trainer.config.training import EarlyStopping, Entrypoint, Fit, ReduceOnPlateau

if TYPE_CHECKING:
    from trainer.config import Config


@dataclass(frozen=True)
class MonitorFault:
    """What is wrong with a `monitor`.

    Attributes:
        key: Where it stands: `fit.early_stopping.monitor`, or `.mode`.
        what: What is wrong.
        remedy: What to do.
    """

    key: str
    what: str
    remedy: str


def mode_of(directions: Mapping[str, str], monitor: str, mode: str) -> str:
    """Returns `min` or `max`: the direction in which a metric of that name is better; `auto` where nobody knows."""
    return mode if mode != "auto" else directions.get(monitor.removeprefix("val_")) or "auto"


def monitor_fault(
    fit: Fit, directions: Mapping[str, str], *, validation: bool, unknown: Iterable[str] = ()
) -> MonitorFault | None:
    """Looks for a `monitor` that names no metric of the run, or one without a direction.

    Args:
        fit: The configuration's `fit`.
        directions: The run's metrics and in which direction each is better.
        validation: Whether there is a validation split.
        unknown: Beginnings of names of which more may be there than `directions` has.
    """
    names = [*directions, *(f"val_{name}" for name in directions if validation)]
    for key in ("early_stopping", "reduce_on_plateau"):
        part = getattr(fit, key)
        if not isinstance(part, EarlyStopping | ReduceOnPlateau):
            continue
        if part.monitor not in names:
            if part.monitor.removeprefix("val_").startswith(tuple(unknown)):
                continue
            what = f"there is no metric {part.monitor!r}"
            return MonitorFault(f"fit.{key}.monitor", what, choice(part.monitor, names))
        if mode_of(directions, part.monitor, part.mode) == "auto":
            what = f"nobody knows whether less or more of {part.monitor} is better"
            return MonitorFault(f"fit.{key}.mode", what, "set mode: min or mode: max")
    return None


def choice(name: str, names: Iterable[str]) -> str:
    """Returns `did you mean …?` with the nearest name, or all names where none is near.

    Of several labels a metric's name with the label's in front is near, too.
    """
    known = list(names)
    front = "val_" if name.startswith("val_") else ""
    stems = [one.removeprefix(front) for one in known if one.startswith(front)]
    stem = name.removeprefix(front)
    near = difflib.get_close_matches(stem, stems, n=1) or [one for one in stems if one.endswith(f"_{stem}")]
    return f"did you mean {front + near[0]!r}?" if near else f"use one of {', '.join(known)}"


def configured_fault(config: Config) -> MonitorFault | None:
    """Looks for a wrong `monitor` as far as the job file alone tells."""
    known, unknown = {"loss": "min"}, []
    for target in config.targets:
        metrics = metrics_of(target.task, target.metrics)
        compiled = isinstance(config.model, Entrypoint) and not target.prefix and target.metrics is None
        if compiled or any(isinstance(metric, OwnCode) for metric in metrics):
            unknown.append(target.prefix)
        known[f"{target.prefix}loss"] = "min"
        for metric in metrics:
            if isinstance(metric, WatchedMetric):
                known[target.prefix + metric.log_name] = direction(metric)
    return monitor_fault(config.fit, known, validation=config.data.validation is not None, unknown=unknown)
