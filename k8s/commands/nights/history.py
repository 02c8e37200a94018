"""`kfit history`: every run of a job, from storage alone."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from k8s.commands.options import examples, storage_format_option
from k8s.history.run_records import of_a_job, output_of
from trainer.nightly import history as nights
from trainer.nightly import production
from trainer.nightly.history import RunSummary
from trainer.nightly.production import Production
from trainer.progress import terminal

_BARS = "▁▂▃▄▅▆▇█"
_PIPE_WIDTH = 180
_MOST_BARS = 120
_STATES = {"succeeded": "green", "skipped": "dim", "failed": "red", "preempted": "yellow", "unfinished": "cyan"}


@click.command(
    epilog=examples("kfit history -f job.yaml", "kfit history --output-uri s3://models/flights --last 7 -o json")
)
@of_a_job
@click.option("--last", type=click.IntRange(min=1), default=30, show_default=True, help="Show the newest so many.")
@storage_format_option("table", "json", "name")
def history(files: tuple[str, ...], output_uri: str | None, last: int, form: str) -> None:
    """List all runs of a job from storage.

    State, data window, metric, time, promoted or why not.
    """
    uri = output_of(files, output_uri)
    runs = nights.read(uri)
    serving = production.read(uri)
    shown = runs[-last:]
    if form == "json":
        document = {"production": serving.run if serving else None, "runs": [asdict(night) for night in shown]}
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    elif form == "name":
        for night in shown:
            terminal.echo(night.run)
    elif not runs:
        terminal.echo(f"no run below {uri}", err=True)
    else:
        _print(shown, len(runs), serving)


def _print(shown: Sequence[RunSummary], total: int, serving: Production | None) -> None:
    """Prints the table; columns are as wide as their cells, and the terminal's edge cuts the last one."""
    from rich.text import Text

    heads = ("run", "date", "state", "trained on", "metric", "took")
    cells = [_cells(night) for night in shown]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    console = terminal.console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    lines = [Text("  ".join([*_padded(heads, widths), "production"]), style="bold")]
    for night, row in zip(shown, cells, strict=True):
        run, day, state, *rest = _padded(row, widths)
        serves = serving is not None and night.run == serving.run
        line = Text(terminal.visible(f"{run}  {day}  "))
        line.append(terminal.visible(state), style=_STATES.get(night.status, ""))
        line.append(terminal.visible("  ".join(["", *rest, ""])))
        line.append("● in production  " if serves else "", style="bold green")
        lines.append(line.append(terminal.visible(verdict(night))))
    for line in lines:
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
    console.print(Text(summary(shown, total)), highlight=False, soft_wrap=True)


def _cells(night: RunSummary) -> tuple[str, ...]:
    return night.run, night.date or night.finished[:10], night.status, window(night), metric(night), took(night)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    *most, last = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return [*most, last.strip().rjust(widths[-1])]


def window(night: RunSummary) -> str:
    """Returns the training window, as `02-05 … 03-04`; the column `date` has the year."""
    return f"{night.first[5:]} … {night.last[5:]}" if night.first else "–"


def metric(night: RunSummary) -> str:
    """Returns the metric, as `auc 0.7349`."""
    return f"{night.metric} {night.value:.4f}" if night.value is not None else "–"


def took(night: RunSummary) -> str:
    """Returns the duration, as `16 s`, `2:03` or `1:02:03`."""
    if night.duration_s is None:
        return "–"
    minutes, seconds = divmod(round(night.duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}" if minutes else f"{seconds} s"


def verdict(night: RunSummary) -> str:
    """Returns whether the run was promoted, or why not, in one line."""
    why = night.why.splitlines()[0] if night.why else ""
    if night.promoted:
        return f"promoted: {why}"
    if night.status == "succeeded":
        return f"kept out: {why}" if night.metric and why != "trained" else ""
    return why.removesuffix(":")


def summary(shown: Sequence[RunSummary], total: int) -> str:
    """Returns the line under the table: the metric over the runs, and how they ended."""
    ends = ", ".join(f"{n} {status}" for status, n in Counter(night.status for night in shown).items())
    promoted = sum(night.promoted for night in shown)
    of = f"{len(shown)} of {total} runs" if total > len(shown) else f"{total} run{'s' if total != 1 else ''}"
    known = [n.metric for n in shown if n.value is not None]
    name = max(set(known), key=known.count) if known else ""
    values = [n.value if n.metric == name else None for n in shown]
    line = f"{name} {sparkline(values)} {_range(values)}   " if known else ""
    return f"\n{line}{of}: {ends}; {promoted} promoted"


def _range(values: Sequence[float | None]) -> str:
    finite = [v for v in values if v is not None]
    return f"{min(finite):.4f} … {max(finite):.4f}"


def sparkline(values: Sequence[float | None]) -> str:
    """Returns one bar per value, the smallest lowest; a dot for a run without a value."""
    newest = list(values)[-_MOST_BARS:]
    finite = [v for v in newest if v is not None and math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)

    def bar(value: Any) -> str:
        if value is None or not math.isfinite(value):
            return "·"
        return _BARS[min(int((value - low) / span * len(_BARS)), len(_BARS) - 1)] if span else _BARS[3]

    return "".join(bar(value) for value in newest)
