"""The report's section on promotion: what the gate found, drawn as intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trainer.progress.formatting import count, metric
from trainer.report.charts import Range, around, axis_number, svg, ticks
from trainer.report.svg import element, join

_WIDTH, _ROW, _TOP, _BOTTOM, _NAMES, _RIGHT = 760.0, 30.0, 12.0, 34.0, 190.0, 130.0


@dataclass(frozen=True)
class GateSection:
    """What the section shows.

    Attributes:
        promoted, why: The verdict.
        intervals: Chart of the gain on all rows and by slice; empty for a first run.
        note: What the chart shows.
        metrics: The challenger's, on the holdout.
    """

    promoted: bool
    why: str
    intervals: Markup
    note: str
    metrics: Mapping[str, float]


def gate(decision: Mapping[str, Any] | None) -> GateSection | None:
    """The section for `decision` of result.json; None without one."""
    if not decision:
        return None
    drawn = bool(decision.get("gain"))
    return GateSection(
        promoted=bool(decision.get("promoted")),
        why=str(decision.get("why", "")),
        intervals=_intervals(decision) if drawn else Markup(""),
        note=_note(decision) if drawn else "",
        metrics=decision.get("metrics") or {},
    )


def _note(decision: Mapping[str, Any]) -> str:
    gain = decision["gain"]
    note = (
        f"{gain['metric']}: {metric(gain['challenger'])} against {metric(gain['champion'])} of {decision['champion']}, "
        f"on the same {count(gain['rows'])} fresh rows. A dot is the gain, "
        f"a line its {gain['confidence']:.0%} interval; right of zero is better."
    )
    deciding = sum(bool(s["decides"]) for s in decision.get("slices") or ())
    if deciding > 1:
        note += (
            f" A slice's line is that slice by itself: of {deciding} some lie left of zero by chance, so one counts "
            "as worse (dashed) only where its p-value, adjusted for their number by Holm's step-down, is small."
        )
    return note


def _intervals(decision: Mapping[str, Any]) -> Markup:
    rows = [_Row("all rows", decision["gain"])]
    rows += [
        _Row(f"{s['column']} = {s['value']}", s["gain"], s["decides"], s["worse"], s.get("p_adjusted"))
        for s in decision.get("slices") or ()
    ]
    bounds = [0.0, *(float(r.gain[k]) for r in rows for k in ("low", "high") if _finite(r.gain.get(k)))]
    x = around(bounds)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    zero = _across(x, 0.0)
    drawn: list[Markup] = []
    marks = ticks(x, 6)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    for value in marks:
        at = _across(x, value)
        drawn.append(element("line", x1=at, x2=at, y1=_TOP, y2=height - _BOTTOM, class_="grid"))
        drawn.append(element("text", axis_number(value, step), x=at, y=height - _BOTTOM + 16, class_="middle"))
    drawn.append(element("line", x1=zero, x2=zero, y1=_TOP, y2=height - _BOTTOM, class_="axis"))
    drawn += [_row(x, _TOP + _ROW * (index + 0.5), row) for index, row in enumerate(rows)]
    return svg(_WIDTH, height, "gain and its interval, on all rows and by slice", *drawn)


@dataclass(frozen=True)
class _Row:
    """A line of the chart: all rows, or a slice with its p-value adjusted for the number of slices."""

    name: str
    gain: Mapping[str, Any]
    decides: bool = True
    worse: bool = False
    p_adjusted: float | None = None


def _row(x: Range, y: float, row: _Row) -> Markup:
    name, gain = row.name, row.gain
    shown = name if len(name) <= 26 else name[:25] + "…"
    rows = f"{count(gain['rows'])} rows" + ("" if row.decides else ", too few")
    texts = [
        element("text", shown, x=_NAMES - 12, y=y + 4, class_="label end"),
        element("text", rows, x=_WIDTH - _RIGHT + 12, y=y + 4),
    ]
    if not _finite(gain.get("low")):
        return join(*texts)
    style = "second" if row.worse else "first"
    low, at, high = (_across(x, float(gain[k])) for k in ("low", "gain", "high"))
    title = f"{name}: {_signed(gain['gain'])} ({_signed(gain['low'])} to {_signed(gain['high'])})"
    if row.p_adjusted is not None:
        title += f", adjusted p {row.p_adjusted:.2g}"
    dashes = None if row.worse else "none"
    line = element("line", x1=low, x2=high, y1=y, y2=y, class_=f"line {style}", stroke_dasharray=dashes)
    dot = element("circle", cx=at, cy=y, r=4.2, class_=f"dot {style}")
    return element("g", *texts, line, dot, element("title", title), class_="point")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _across(x: Range, value: float) -> float:
    return _NAMES + (value - x[0]) / ((x[1] - x[0]) or 1.0) * (_WIDTH - _NAMES - _RIGHT)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
