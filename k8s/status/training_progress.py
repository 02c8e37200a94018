"""Progress of a run, computed from the trainer's JSON lines. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: The trainer also prints every event as a plain line; a progress bar leaves those lines out.
PHASES = ("statistics", "compile", "export", "data", "checkpoint")
_REPEATED = re.compile(
    r"fit  \d+ epochs? of "
    r"|epoch +\d+/\d+  (step [\d,]+/|done in )"
    rf"|({'|'.join(PHASES)})(  [\d,]+(/[\d,]+)?|  done in .*)?$"
)


@dataclass(frozen=True)
class Progress:
    """Progress of a run. Epochs count from 1; 0 before the fit.

    Attributes:
        epoch: The current epoch, of `epochs`.
        step: Steps done of it, of `steps`.
        logs: Latest training values, and the latest validation values, by Keras name.
        rows_per_s: Rows per second; None while unknown.
        eta_s: Seconds to the end of the fit as of `at`.
        phase: What the run does outside its training steps, with its count.
        checkpoint_step: Step of the newest checkpoint that the run reported.
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
    """Returns the event in a log line; None where there is none."""
    if not line.startswith('{"kfit"'):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def repeats_an_event(line: str) -> bool:
    """Returns whether a plain line repeats what an event says."""
    return _REPEATED.match(line) is not None


def fold(lines: Iterable[tuple[str, str]]) -> Progress:
    """Returns the progress after all lines.

    Args:
        lines: Time and text of each, in order.
    """
    progress = Progress()
    for at, text in lines:
        if (fields := event(text)) is not None:
            progress = after(progress, fields, at)
    return progress


def after(progress: Progress, fields: Mapping[str, Any], at: str) -> Progress:
    """Returns the progress after one event."""
    kind, now = fields["kfit"], replace(progress, at=at)
    if kind in ("start", "step", "epoch"):
        place: dict[str, Any] = {key: int(fields[key]) for key in ("epoch", "epochs", "step", "steps")}
        logs = {**now.logs, **(fields.get("logs") or {})}
        rows = fields.get("rows_per_s") if kind == "step" else now.rows_per_s
        return replace(now, **place, logs=logs, rows_per_s=rows, eta_s=fields.get("eta_s"), phase="")
    if kind == "phase":
        count = f" {fields['done']:,}" if fields.get("done") is not None else ""
        count += f"/{fields['total']:,}" if count and fields.get("total") is not None else ""
        return replace(now, phase=f"{fields.get('name', '')}{count}")
    if kind == "phase_end":
        return replace(now, phase="")
    if kind == "checkpoint":
        return replace(now, checkpoint_step=int(fields["step"]), checkpoint_at=at)
    return now
