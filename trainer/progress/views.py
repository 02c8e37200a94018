"""Three ways to show progress: a bar on a terminal, plain lines in a log, JSON lines for the launcher."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from trainer.progress.eta import Pace
from trainer.progress.formatting import metric, seconds
from trainer.progress.terminal import visible

Logs = Mapping[str, float]
Clock = Callable[[], float]


@dataclass
class Fit:
    """Where the fit is.

    Attributes:
        pace: Speed and time to go.
        rows_per_step: Rows of a global batch.
        epoch: Counted from 0. done: steps of it that are finished.
        epoch_from_s: When it began, by the clock.
        logs: The latest values by Keras name.
        running: Between an epoch's first step and its end.
        wait_s: Reads how many seconds the fit has waited for rows so far.
    """

    pace: Pace
    rows_per_step: int
    epoch: int
    done: int
    epoch_from_s: float
    logs: Mapping[str, float] = field(default_factory=dict)
    running: bool = False
    wait_s: Callable[[], float] = lambda: 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows a second, 0 while not known."""
        return self.pace.steps_per_s * self.rows_per_step

    def where(self) -> str:
        """`epoch  3/20`."""
        return f"epoch {self.epoch + 1:>{len(str(self.pace.epochs))}}/{self.pace.epochs}"

    def speed(self) -> str:
        """Rows a second and the time until the whole run is done."""
        rows, eta_s = self.rows_per_s, self.pace.eta_s
        return f"{f'{rows:,.0f}' if rows else '–'} rows/s  ETA {'–' if eta_s is None else seconds(eta_s)}"


@dataclass
class Phase:
    """A phase outside the steps: when it began, and how much is done where that can be counted."""

    name: str
    from_s: float
    done: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        if self.done is None:
            return self.name
        return f"{self.name}  {self.done:,}" + (f"/{self.total:,}" if self.total is not None else "")


class View:
    """Shows the progress of a run; every method does nothing by default.

    Attributes:
        every_s: Seconds between two calls of `step`, and between two calls of `phase` for the same phase.
    """

    every_s: float

    def start(self, fit: Fit) -> None:
        """The fit begins or is resumed."""

    def step(self, fit: Fit) -> None:
        """Steps were done."""

    def epoch_end(self, fit: Fit, took_s: float, best: bool) -> None:
        """An epoch ended; `fit.logs` holds its training and validation values."""

    def note(self, text: str) -> None:
        """A line that remains visible."""

    def checkpoint(self, step: int) -> None:
        """A checkpoint was committed."""

    def phase(self, phase: Phase) -> None:
        """A phase began or progressed."""

    def phase_end(self, phase: Phase, took_s: float, kept: bool) -> None:
        """A phase ended; `kept`: it is outside the fit and gets a line."""

    def stop(self) -> None:
        """Nothing follows."""


class Notes(View):
    """Notes alone, a plain line each: for a worker whose steps another worker shows on the same terminal."""

    every_s = math.inf

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        """Prints one line, however long."""
        self._print(Text(text))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class Bar(Notes):
    """A bar that redraws itself, below one line for every finished epoch.

    Args:
        console: A terminal.
        clock: Monotonic seconds.
    """

    every_s = 0.25

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console)
        self._clock = clock
        self._fit: Fit | None = None
        self._validation: dict[str, float] = {}
        self._phase: Phase | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live: Live | None = None

    def start(self, fit: Fit) -> None:
        """Shows the bar."""
        self._fit = fit
        self._open()

    def epoch_end(self, fit: Fit, took_s: float, best: bool) -> None:
        """Prints the epoch's line, and keeps its validation values in view during the next one."""
        self._validation = {name: value for name, value in fit.logs.items() if name.startswith("val_")}
        head = Text.assemble((fit.where(), "bold"), (f"  {seconds(took_s):>6}  ", "dim"))
        tail = Text("  best" if best else "", "bold green")
        values = _values(fit.logs)
        if self._validation and len(head) + len(values) + len(tail) > self._console.width:
            values = _values({name: fit.logs[name] for name in fit.logs if name == "loss" or name in self._validation})
        self._print(Text.assemble(head, values, tail))

    def phase(self, phase: Phase) -> None:
        """Shows a spinner with the phase."""
        self._phase = phase
        self._open()

    def phase_end(self, phase: Phase, took_s: float, kept: bool) -> None:
        """Removes the spinner."""
        self._phase = None
        if kept:
            self._print(Text.assemble(str(phase), (f"  {seconds(took_s)}", "dim")))

    def stop(self) -> None:
        """Removes the bar and restores the cursor."""
        if self._live is not None:
            self._live.stop()

    def _open(self) -> None:
        if self._live is None:
            # What user code prints appears above the bar; but stdout that goes elsewhere is data and stays so.
            own_stdout = sys.stdout.isatty()
            rate = 1 / self.every_s
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=rate,
                transient=True,
                redirect_stdout=own_stdout,
            )
            self._live.start()

    def _render(self) -> RenderableType:
        fit, phase = self._fit, self._phase
        between = phase is not None and (fit is None or not fit.running)
        parts = self._render_fit(fit) if fit is not None and not between else []
        if phase is not None:
            self._spinner.update(text=Text(f"{phase}  {seconds(self._clock() - phase.from_s)}"))
            parts.append(self._spinner)
        return Group(*parts)

    def _render_fit(self, fit: Fit) -> list[RenderableType]:
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for ratio in (None, 1, None, None):
            row.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(total=fit.pace.steps, completed=fit.done)
        done = f"{fit.done:,}/{fit.pace.steps:,}"
        row.add_row(Text(fit.where(), "bold"), bar, Text(done), Text(fit.speed(), "cyan"))
        values = {**fit.logs, **self._validation}
        return [row, Text("  " + _values(values), "dim", no_wrap=True, overflow="ellipsis")] if values else [row]


class Lines(Notes):
    """One plain line every few seconds, and one for every epoch and phase: for logs.

    Args:
        console: No terminal.
        every_s: Seconds between two lines.
    """

    def __init__(self, console: Console, every_s: float) -> None:
        super().__init__(console)
        self.every_s = every_s

    def start(self, fit: Fit) -> None:
        """Prints the length of the fit, and where a resumed one continues."""
        resumed = f", from epoch {fit.epoch + 1} step {fit.done + 1}" if fit.epoch or fit.done else ""
        self.note(f"fit  {fit.pace.epochs} epochs of {fit.pace.steps:,} steps of {fit.rows_per_step:,} rows{resumed}")

    def step(self, fit: Fit) -> None:
        """Prints where the fit is."""
        self.note(f"{fit.where()}  step {fit.done:,}/{fit.pace.steps:,}  {fit.speed()}  {_values(fit.logs)}")

    def epoch_end(self, fit: Fit, took_s: float, best: bool) -> None:
        """Prints the epoch's values."""
        self.note(f"{fit.where()}  done in {seconds(took_s)}  {_values(fit.logs)}{'  best' if best else ''}")

    def phase(self, phase: Phase) -> None:
        """Prints the phase, and how much of it is done."""
        self.note(str(phase))

    def phase_end(self, phase: Phase, took_s: float, kept: bool) -> None:
        """Prints how long it took."""
        if kept:
            self.note(f"{phase.name}  done in {seconds(took_s)}")


class Events(View):
    """JSON lines: `start`, `step`, `epoch`, `note`, `checkpoint`, `phase`, `phase_end`, `stop` under the key `kfit`.

    Epochs and steps count from 1: they are for showing. A value that is not finite is null. Metrics stand
    under `logs`, so that no name of theirs can hide a key.

    Args:
        out: Gets one object a line, flushed.
        every_s: Seconds between two `step` or `phase` lines.
    """

    def __init__(self, out: TextIO, every_s: float) -> None:
        self.every_s = every_s
        self._out = out
        # Notes also come from the thread that uploads checkpoints.
        self._whole_line = threading.Lock()

    def start(self, fit: Fit) -> None:
        """Sends `start`; `epoch` and `step` are where the fit goes on."""
        self._send("start", **_place(fit), rows_per_step=fit.rows_per_step)

    def step(self, fit: Fit) -> None:
        """Sends `step`."""
        speed = {"rows_per_s": fit.rows_per_s or None, "eta_s": fit.pace.eta_s}
        self._send("step", **_place(fit), **speed, logs=fit.logs)

    def epoch_end(self, fit: Fit, took_s: float, best: bool) -> None:
        """Sends `epoch`."""
        self._send("epoch", **_place(fit), took_s=took_s, eta_s=fit.pace.eta_s, best=best, logs=fit.logs)

    def note(self, text: str) -> None:
        """Sends `note`."""
        self._send("note", text=text)

    def checkpoint(self, step: int) -> None:
        """Sends `checkpoint`; `step` counts from the beginning of the run."""
        self._send("checkpoint", step=step)

    def phase(self, phase: Phase) -> None:
        """Sends `phase`."""
        self._send("phase", name=phase.name, done=phase.done, total=phase.total)

    def phase_end(self, phase: Phase, took_s: float, kept: bool) -> None:
        """Sends `phase_end`."""
        self._send("phase_end", name=phase.name, took_s=took_s)

    def stop(self) -> None:
        """Sends `stop`."""
        self._send("stop")

    def _send(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kfit": kind, **_finite(values)}, ensure_ascii=False, allow_nan=False) + "\n"
        with self._whole_line:
            self._out.write(line)
            self._out.flush()


def _place(fit: Fit) -> dict[str, int]:
    return {"epoch": fit.epoch + 1, "epochs": fit.pace.epochs, "step": fit.done, "steps": fit.pace.steps}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _values(logs: Logs) -> str:
    return "  ".join(f"{visible(name)} {metric(value)}" for name, value in logs.items())
