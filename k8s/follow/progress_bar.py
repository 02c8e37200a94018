"""Draws the trainer's progress bar from the events in a pod's log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from k8s.follow.log_stream import EVENT
from k8s.status.training_progress import event, repeats_an_event
from trainer.progress.eta import Pace
from trainer.progress.views import Bar, Fit, Phase


class _ReportedPace(Pace):
    """A pace that the pod reports; nothing is measured here."""

    rate = 0.0
    reported_eta_s: float | None = None
    reported_at_s = 0.0

    @property
    def steps_per_s(self) -> float:
        return self.rate

    @property
    def eta_s(self) -> float | None:
        """Seconds to go: what the pod reported, less the time since."""
        if self.reported_eta_s is None:
            return None
        return max(0.0, self.reported_eta_s - (time.monotonic() - self.reported_at_s))


class ProgressBar:
    """One bar on a terminal; above it messages about the Job, and log lines that are no events.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(console, time.monotonic)
        self._fit: Fit | None = None
        self._pace = _ReportedPace(1, 1)
        self._phase: Phase | None = None
        self._several = False

    def say(self, text: str, remedy: str = "", *, waits: bool = False) -> None:
        """Prints above the bar; while it waits, a spinner counts the seconds."""
        self._end_phase()
        self._bar.note(text + (f"\n  {remedy}" if remedy else ""))
        if waits:
            head = text.partition(":")[0]
            self._begin_phase(head if " " not in head else "restarting")

    def opened(self, pod: str, index: int) -> None:
        """Prints which pod's lines follow; the bar shows the chief."""
        self._several = self._several or index > 0
        if index == 0 and self._fit is not None:
            self._bar.stop()  # the previous pod's bar ends
            self._bar, self._fit = Bar(self._console, time.monotonic), None
        self.say(f"running: pod {pod}")

    def line(self, index: int, text: str) -> None:
        """Draws an event of the chief, prints any other line."""
        if text.startswith(EVENT):
            parsed = event(text) if index == 0 else None
            if parsed is not None:
                self._draw(parsed)
        elif not repeats_an_event(text) and text.strip():
            self._bar.note(f"[{index}] {text}" if self._several else text)

    def close(self) -> None:
        """Removes the bar and shows the cursor again."""
        self._end_phase()
        self._bar.stop()

    def _draw(self, fields: Mapping[str, Any]) -> None:
        kind = fields["kfit"]
        if kind == "start":
            self._end_phase()
            self._begin(fields)
        elif kind == "step" and self._fit is not None:
            self._place(fields, running=True)
            self._bar.step(self._fit)
        elif kind == "epoch" and self._fit is not None:
            self._place(fields, running=False)
            self._bar.epoch_end(self._fit, float(fields.get("took_s") or 0.0), bool(fields.get("best")))
        elif kind == "phase":
            name = str(fields.get("name"))
            if self._phase is None or self._phase.name != name:
                self._end_phase()
                self._begin_phase(name)
            assert self._phase is not None
            self._phase.done, self._phase.total = fields.get("done"), fields.get("total")
        elif kind == "phase_end" and self._phase is not None:
            self._end_phase(float(fields.get("took_s") or 0.0))

    def _begin(self, fields: Mapping[str, Any]) -> None:
        self._pace = _ReportedPace(int(fields["epochs"]), int(fields["steps"]))
        epoch, step = int(fields["epoch"]) - 1, int(fields["step"])
        self._fit = Fit(self._pace, int(fields["rows_per_step"]), epoch, step, epoch_from_s=time.monotonic())
        self._bar.start(self._fit)

    def _place(self, fields: Mapping[str, Any], *, running: bool) -> None:
        fit = self._fit
        assert fit is not None
        fit.epoch, fit.done, fit.running = int(fields["epoch"]) - 1, int(fields["step"]), running
        fit.logs = {k: v for k, v in (fields.get("logs") or {}).items() if v is not None}
        self._pace.rate = float(fields.get("rows_per_s") or self._pace.rate * fit.rows_per_step) / fit.rows_per_step
        self._pace.reported_eta_s, self._pace.reported_at_s = fields.get("eta_s"), time.monotonic()

    def _begin_phase(self, name: str) -> None:
        self._phase = Phase(name, time.monotonic())
        self._bar.phase(self._phase)

    def _end_phase(self, took_s: float | None = None) -> None:
        phase, self._phase = self._phase, None
        if phase is not None:
            shown = took_s is not None and (self._fit is None or not self._fit.running)
            self._bar.phase_end(phase, took_s or 0.0, shown)
