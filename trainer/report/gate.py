"""The report's section on promotion: what the gate found, drawn as intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.progress.formatting import count, metric
from trainer.report.charts import Range, around, axis_number, svg, ticks
from trainer.report.markup import Html, join, tag

_WIDTH, _ROW, _TOP, _BOTTOM, _NAMES, _RIGHT = 760.0, 30.0, 12.0, 34.0, 190.0, 130.0


def gate(decision: Mapping[str, Any] | None) -> Html:
    """The verdict, the intervals of the gain on all rows and by slice, and the challenger's metrics.

    Args:
        decision: `decision` of result.json; None gives nothing.
    """
    if not decision:
        return Html("")
    promoted = bool(decision.get("promoted"))
    pill = tag("span", "promoted" if promoted else "kept out", class_=f"pill {'good' if promoted else 'odd'}")
    head = tag("p", pill, class_="pills")
    why = tag("p", str(decision.get("why", "")), class_="facts gate")
    parts = [head, why]
    if decision.get("gain"):
        parts.append(tag("figure", _caption(decision), _intervals(decision), class_="card wide"))
    if decision.get("metrics"):
        parts.append(_metrics(decision))
    return join(*parts)


def _caption(decision: Mapping[str, Any]) -> Html:
    gain = decision["gain"]
    note = (
        f"{gain['metric']}: {metric(gain['challenger'])} against {metric(gain['champion'])} of {decision['champion']}, "
        f"on the same {count(gain['rows'])} fresh rows. A dot is the gain, "
        f"a line its {gain['confidence']:.0%} interval; right of zero is better."
    )
    return tag("figcaption", "Gain over production", tag("p", note, class_="card-note"))


def _intervals(decision: Mapping[str, Any]) -> Html:
    rows = [("all rows", decision["gain"], True, False)]
    rows += [
        (f"{s['column']} = {s['value']}", s["gain"], s["decides"], s["worse"]) for s in decision.get("slices") or ()
    ]
    bounds = [0.0, *(float(g[k]) for _, g, _, _ in rows for k in ("low", "high") if _finite(g.get(k)))]
    x = around(bounds)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    zero = _across(x, 0.0)
    drawn: list[Html] = []
    marks = ticks(x, 6)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    for value in marks:
        at = _across(x, value)
        drawn.append(tag("line", x1=at, x2=at, y1=_TOP, y2=height - _BOTTOM, class_="grid"))
        drawn.append(tag("text", axis_number(value, step), x=at, y=height - _BOTTOM + 16, class_="middle"))
    drawn.append(tag("line", x1=zero, x2=zero, y1=_TOP, y2=height - _BOTTOM, class_="axis"))
    for index, (name, gain, decides, worse) in enumerate(rows):
        drawn.append(_row(x, _TOP + _ROW * (index + 0.5), name, gain, decides=decides, worse=worse))
    return svg(_WIDTH, height, "gain and its interval, on all rows and by slice", *drawn)


def _row(x: Range, y: float, name: str, gain: Mapping[str, Any], *, decides: bool, worse: bool) -> Html:
    shown = name if len(name) <= 26 else name[:25] + "…"
    rows = f"{count(gain['rows'])} rows" + ("" if decides else ", too few")
    texts = [
        tag("text", shown, x=_NAMES - 12, y=y + 4, class_="label end"),
        tag("text", rows, x=_WIDTH - _RIGHT + 12, y=y + 4),
    ]
    if not _finite(gain.get("low")):
        return join(*texts)
    style = "second" if worse else "first"
    low, at, high = (_across(x, float(gain[k])) for k in ("low", "gain", "high"))
    said = f"{name}: {_signed(gain['gain'])} ({_signed(gain['low'])} to {_signed(gain['high'])})"
    line = tag("line", x1=low, x2=high, y1=y, y2=y, class_=f"line {style}", stroke_dasharray="none")
    dot = tag("circle", cx=at, cy=y, r=4.2, class_=f"dot {style}")
    return tag("g", *texts, line, dot, tag("title", said), class_="point")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _across(x: Range, value: float) -> float:
    return _NAMES + (value - x[0]) / ((x[1] - x[0]) or 1.0) * (_WIDTH - _NAMES - _RIGHT)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _metrics(decision: Mapping[str, Any]) -> Html:
    known = decision["metrics"]
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in known)))
    body = tag("tbody", tag("tr", *(tag("td", metric(value)) for value in known.values())))
    note = tag("p", "This run on the holdout:", class_="empty")
    return join(note, tag("div", tag("table", head, body, class_="plain"), class_="scroll"))
