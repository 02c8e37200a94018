"""Progress of a run: the callback of the fit reports here, and views show it.

Messages for people go to stderr, data to stdout. In a pod (`KFIT_EVENTS=1`) stdout also carries one JSON object a line,
from which the launcher draws its own bar.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from trainer.progress import terminal
from trainer.progress.eta import Pace
from trainer.progress.formatting import metric
from trainer.progress.views import Bar, Clock, Events, Fit, Lines, Logs, Phase, View


class Progress:
    """Receives where a run is, and wakes each view when it is due. Epochs count from 0, as Keras counts them.

    Args:
        views: What shows it; each says how often.
        clock: Monotonic seconds.
    """

    def __init__(self, views: Sequence[View], clock: Clock = time.monotonic) -> None:
        self._views = list(views)
        self._clock = clock
        self._steps_shown_s: dict[View, float] = {}
        self._phase_shown_s: dict[View, float] = {}
        self._next_step_s = -math.inf
        self._fit: Fit | None = None
        self._phase: Phase | None = None
        self._stopped = False

    def add(self, view: View) -> None:
        """Shows it in one more way from now on."""
        self._views.append(view)

    def start(
        self,
        *,
        epochs: int,
        steps: int,
        rows_per_step: int,
        first_epoch: int = 0,
        first_step: int = 0,
        wait_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begins the fit of `epochs` epochs of `steps` steps; `first_*` is where a resumed run continues.

        `wait_s` reads how long the fit has waited for rows so far.
        """
        self._end_phase(kept=True)
        now_s = self._clock()
        pace = Pace(epochs, steps, first_epoch, first_step)
        self._fit = Fit(pace, rows_per_step, first_epoch, first_step, epoch_from_s=now_s, wait_s=wait_s)
        for view in self._views:
            view.start(self._fit)

    def step(self, epoch: int, step: int, logs: Callable[[], Logs]) -> None:
        """Reports that `step` steps of the epoch are done. Cheap: `logs` is called only when something is drawn."""
        now_s, fit = self._clock(), self._begun()
        first, last = epoch != fit.epoch or not fit.running, step >= fit.pace.steps
        due = now_s >= self._next_step_s
        if not (first or last or due):
            return
        self._end_phase(kept=False)
        fit.running, fit.epoch, fit.done = True, epoch, step
        fit.pace.step(now_s, epoch * fit.pace.steps + fit.done)
        if due:
            fit.logs = _numbers(logs())
            for view in self._due(self._steps_shown_s, now_s):
                view.step(fit)
            self._next_step_s = min((self._steps_shown_s[v] + v.every_s for v in self._views), default=math.inf)

    def _due(self, shown_s: dict[View, float], now_s: float) -> list[View]:
        """The views that have shown nothing for their `every_s`; from now on they count as shown."""
        due = [view for view in self._views if now_s - shown_s.get(view, -math.inf) >= view.every_s]
        shown_s |= dict.fromkeys(due, now_s)
        return due

    def epoch_end(self, epoch: int, logs: Logs, *, best: bool) -> None:
        """Ends an epoch, its validation included. `best`: its weights are the best so far."""
        self._end_phase(kept=False)
        now_s, fit = self._clock(), self._begun()
        fit.running, fit.epoch, fit.done, fit.logs = False, epoch, fit.pace.steps, _numbers(logs)
        fit.pace.epoch_end(now_s, epoch)
        for view in self._views:
            view.epoch_end(fit, now_s - fit.epoch_from_s, best)
        fit.epoch_from_s = now_s

    def note(self, text: str) -> None:
        """Reports one line that remains visible."""
        for view in self._views:
            view.note(terminal.visible(text))

    def checkpoint(self, step: int) -> None:
        """Reports a committed checkpoint after so many steps. Called from the upload thread."""
        for view in self._views:
            view.checkpoint(step)

    def phase(self, name: str, done: int | None = None, total: int | None = None) -> None:
        """Reports a phase outside the steps (statistics, compile, export), which ends the one before it."""
        now_s = self._clock()
        if self._phase is None or self._phase.name != name:
            self._end_phase(kept=self._fit is None or not self._fit.running)
            self._phase, self._phase_shown_s = Phase(name, now_s), {}
        self._phase.done, self._phase.total = done, total
        for view in self._due(self._phase_shown_s, now_s):
            view.phase(self._phase)

    def stop(self) -> None:
        """Restores the terminal. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        self._end_phase(kept=self._fit is None or not self._fit.running)
        for view in self._views:
            view.stop()

    def _end_phase(self, *, kept: bool) -> None:
        if self._phase is not None:
            phase, self._phase = self._phase, None
            for view in self._views:
                view.phase_end(phase, self._clock() - phase.from_s, kept)

    def _begun(self) -> Fit:
        assert self._fit is not None, "start() comes before step() and epoch_end()"
        return self._fit


def make_progress(
    console: Console | None = None,
    *,
    every_s: float = 5.0,
    clock: Clock = time.monotonic,
    environ: Mapping[str, str] = os.environ,
    events: TextIO | None = None,
) -> Progress:
    """Chooses how progress is shown.

    Args:
        console: Where a person reads. Default: stderr.
        every_s: Seconds between two plain lines or two events.
        clock: Monotonic seconds.
        environ: `KFIT_EVENTS=1` adds JSON lines.
        events: Where they go. Default: stdout.

    Returns:
        A bar where `console` is a terminal, else plain lines; with events where they are asked for.
    """
    console = console or terminal.console(stderr=True)
    views: list[View] = [Bar(console, clock) if console.is_terminal else Lines(console, every_s)]
    if environ.get("KFIT_EVENTS") == "1":
        views.append(Events(events or sys.stdout, every_s))
    return Progress(views, clock)


def metrics_table(result: Mapping[str, Any]) -> Table:
    """The final metrics of result.json, train and validation side by side."""
    metrics = result.get("metrics") or {}
    train, validation = metrics.get("train") or {}, metrics.get("validation") or {}
    splits = [("train", train), ("validation", validation)] if validation else [("train", train)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("metric", no_wrap=True)
    for split, _ in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys([*train, *validation]):
        table.add_row(terminal.cell(name), *(metric(values.get(name)) for _, values in splits))
    return table


def _numbers(logs: Logs) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}
