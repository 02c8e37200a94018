"""The trainer's own progress bar, drawn here from the events of a pod."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from k8s.follow.log_stream import EVENT
from k8s.status.training_progress import event, said_twice
from trainer.progress.eta import Pace
from trainer.progress.views import Bar, Fit, Phase


class _Told(Pace):
    """A pace that is told by the pod, not measured."""

    rate = 0.0
    told_eta_s: float | None = None
    told_at_s = 0.0

    @property
    def steps_per_s(self) -> float:
        return self.rate

    @property
    def eta_s(self) -> float | None:
        """What the pod said, less the time since."""
        return None if self.told_eta_s is None else max(0.0, self.told_eta_s - (time.monotonic() - self.told_at_s))


class Watched:
    """One bar on a terminal; above it what is said of the Job, and lines that are no events.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(console, time.monotonic)
        self._fit: Fit | None = None
        self._pace = _Told(1, 1)
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
        """Says whose lines come; the bar is the chief's."""
        self._several = self._several or index > 0
        if index == 0 and self._fit is not None:
            self._bar.stop()  # what the pod before it drew is over
            self._bar, self._fit = Bar(self._console, time.monotonic), None
        self.say(f"running: pod {pod}")

    def line(self, index: int, text: str) -> None:
        """Draws an event of the chief, prints any other line."""
        if text.startswith(EVENT):
            found = event(text) if index == 0 else None
            if found is not None:
                self._draw(found)
        elif not said_twice(text) and text.strip():
            self._bar.note(f"[{index}] {text}" if self._several else text)

    def close(self) -> None:
        """Takes the bar away and gives the cursor back."""
        self._end_phase()
        self._bar.stop()

    def _draw(self, found: Mapping[str, Any]) -> None:
        kind = found["kfit"]
        if kind == "start":
            self._end_phase()
            self._begin(found)
        elif kind == "step" and self._fit is not None:
            self._place(found, running=True)
            self._bar.step(self._fit)
        elif kind == "epoch" and self._fit is not None:
            self._place(found, running=False)
            self._bar.epoch_end(self._fit, float(found.get("took_s") or 0.0), bool(found.get("best")))
        elif kind == "phase":
            name = str(found.get("name"))
            if self._phase is None or self._phase.name != name:
                self._end_phase()
                self._begin_phase(name)
            assert self._phase is not None
            self._phase.done, self._phase.total = found.get("done"), found.get("total")
        elif kind == "phase_end" and self._phase is not None:
            self._end_phase(float(found.get("took_s") or 0.0))

    def _begin(self, found: Mapping[str, Any]) -> None:
        self._pace = _Told(int(found["epochs"]), int(found["steps"]))
        epoch, step = int(found["epoch"]) - 1, int(found["step"])
        self._fit = Fit(self._pace, int(found["rows_per_step"]), epoch, step, epoch_from_s=time.monotonic())
        self._bar.start(self._fit)

    def _place(self, found: Mapping[str, Any], *, running: bool) -> None:
        fit = self._fit
        assert fit is not None
        fit.epoch, fit.done, fit.running = int(found["epoch"]) - 1, int(found["step"]), running
        fit.logs = {k: v for k, v in (found.get("logs") or {}).items() if v is not None}
        self._pace.rate = float(found.get("rows_per_s") or self._pace.rate * fit.rows_per_step) / fit.rows_per_step
        self._pace.told_eta_s, self._pace.told_at_s = found.get("eta_s"), time.monotonic()

    def _begin_phase(self, name: str) -> None:
        self._phase = Phase(name, time.monotonic())
        self._bar.phase(self._phase, time.monotonic())

    def _end_phase(self, took_s: float | None = None) -> None:
        phase, self._phase = self._phase, None
        if phase is not None:
            kept = took_s is not None and (self._fit is None or not self._fit.running)
            self._bar.phase_end(phase, took_s or 0.0, kept)
