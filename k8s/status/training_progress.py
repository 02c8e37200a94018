"""How far a run is, folded from the trainer's JSON lines. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: The trainer says every event in words too, on stderr; where events are drawn these lines are left out.
PHASES = ("statistics", "compile", "export", "data", "checkpoint")
_SAID_TWICE = re.compile(
    r"fit  \d+ epochs? of "
    r"|epoch +\d+/\d+  (step [\d,]+/|done in )"
    rf"|({'|'.join(PHASES)})(  [\d,]+(/[\d,]+)?|  done in .*)?$"
)


@dataclass(frozen=True)
class Progress:
    """Where a run is. Epochs count from 1; 0 before the fit.

    Attributes:
        epoch: The epoch under way, of `epochs`.
        step: Steps done of it, of `steps`.
        logs: Latest training values, and the latest validation values, by Keras name.
        rows_per_s: Rows a second, None while not known.
        eta_s: Seconds to the end of the fit as of `at`.
        phase: What goes on outside the steps, with its count.
        checkpoint_step: Step of the newest checkpoint that the run told of.
        checkpoint_at: When it was committed, RFC 3339.
        at: When the last event came, RFC 3339.
    """

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    logs: Mapping[str, float] = field(default_factory=dict)
    rows_per_s: float | None = None
    eta_s: float | None = None
    phase: str = ""
    checkpoint_step: int | None = None
    checkpoint_at: str = ""
    at: str = ""


def event(line: str) -> dict[str, Any] | None:
    """The event a line carries; None where it carries none."""
    if not line.startswith('{"kfit"'):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def said_twice(line: str) -> bool:
    """Whether a plain line says what an event says too."""
    return _SAID_TWICE.match(line) is not None


def fold(lines: Iterable[tuple[str, str]]) -> Progress:
    """The progress after all lines.

    Args:
        lines: Time and text of each, in order.
    """
    progress = Progress()
    for at, text in lines:
        if (found := event(text)) is not None:
            progress = after(progress, found, at)
    return progress


def after(progress: Progress, found: Mapping[str, Any], at: str) -> Progress:
    """The progress after one event."""
    kind, now = found["kfit"], replace(progress, at=at)
    if kind in ("start", "step", "epoch"):
        place: dict[str, Any] = {key: int(found[key]) for key in ("epoch", "epochs", "step", "steps")}
        logs = {**now.logs, **(found.get("logs") or {})}
        rows = found.get("rows_per_s") if kind == "step" else now.rows_per_s
        return replace(now, **place, logs=logs, rows_per_s=rows, eta_s=found.get("eta_s"), phase="")
    if kind == "phase":
        count = f" {found['done']:,}" if found.get("done") is not None else ""
        count += f"/{found['total']:,}" if count and found.get("total") is not None else ""
        return replace(now, phase=f"{found.get('name', '')}{count}")
    if kind == "phase_end":
        return replace(now, phase="")
    if kind == "checkpoint":
        return replace(now, checkpoint_step=int(found["step"]), checkpoint_at=at)
    return now
