"""The page of `kfit compare -o html`: two runs side by side, without a network, a script or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from trainer.progress.formatting import metric
from trainer.report.charts import Frame, Series, around, line
from trainer.report.markup import Html, tag

_HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
"""
_STYLE = """
.compare { width: 100%; table-layout: fixed; }
.compare td, .compare th { overflow-wrap: anywhere; vertical-align: top; }
.compare col.name { width: 26%; } .compare col.change { width: 11%; }
.compare td:last-child, .compare th:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.sides { display: flex; flex-wrap: wrap; gap: 6px 28px; margin-top: 10px; } .sides .key { margin-right: 8px; }
"""
Row = tuple[str, str, str, str]
_STYLES = ("second", "first")  # A is dashed, B is drawn through


@dataclass(frozen=True)
class Side:
    """One of the two runs: its id, result.json, and the lines of metrics.jsonl that end an epoch."""

    run: str
    result: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]


def render(a: Side, b: Side, sections: Mapping[str, Sequence[Row]]) -> str:
    """Draws the page.

    Args:
        a: The first run.
        b: The second.
        sections: Title -> rows: key, A's value, B's value, the change.

    Returns:
        A whole HTML document; every text from the runs is escaped.
    """
    style = files("trainer.report").joinpath("report.css").read_text("utf-8") + _STYLE
    title = f"{a.run} and {b.run}"
    head = tag("head", Html(_HEAD), tag("title", title), tag("style", Html(style)))
    keys = [tag("span", tag("i", class_=f"key {style}"), side.run) for side, style in zip((a, b), _STYLES, strict=True)]
    header = tag(
        "header",
        tag("p", tag("span", "comparison", class_="pill"), class_="pills"),
        tag("h1", title),
        tag("div", *keys, class_="facts sides"),
    )
    body = [_section(name, _table(a, b, rows)) for name, rows in sections.items() if rows]
    curves = _curves(a, b)
    if curves:
        body.insert(1, _section("learning curves", tag("div", *curves, class_="cards")))
    page = tag("html", head, tag("body", tag("main", header, *body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _section(title: str, content: Html) -> Html:
    return tag("section", tag("h2", title[0].upper() + title[1:]), content)


def _table(a: Side, b: Side, rows: Sequence[Row]) -> Html:
    columns = Html('<colgroup><col class="name"><col><col><col class="change"></colgroup>')
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in ("", a.run, b.run, "change"))))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    return tag("div", tag("table", columns, head, tag("tbody", *body), class_="plain compare"), class_="scroll")


def _curves(a: Side, b: Side) -> list[Html]:
    """A chart a metric, both runs in it: on validation where they have it, else on training."""
    names = list(dict.fromkeys(name for side in (a, b) for entry in side.epochs for name in entry))
    wanted = [n for n in names if n not in ("time", "epoch", "step", "end") and f"val_{n}" not in names]
    return [_curve(name, a, b) for name in wanted]


def _curve(name: str, a: Side, b: Side) -> Html:
    lines = []
    for side, style in zip((a, b), _STYLES, strict=True):
        points = [(e["epoch"] + 1.0, float(e[name])) for e in side.epochs if e.get(name) is not None]
        titles = [f"{side.run}, epoch {x:.0f}: {metric(y)}" for x, y in points]
        lines.append(Series(side.run, points, style, titles, marks=len(points) <= 60))
    last = max((x for s in lines for x, _ in s.points), default=1.0)
    split, label = ("validation", name.removeprefix("val_")) if name.startswith("val_") else ("train", name)
    frame = Frame(
        (1.0, last) if last > 1 else (0.5, 1.5),
        around(y for s in lines for _, y in s.points),
        "epoch",
        label,
        whole_x=True,
    )
    drawn = frame.draw(f"{split} {label} of both runs by epoch", *(line(frame, s) for s in lines))
    caption = tag("figcaption", f"{label.replace('_', ' ')} on {split}")
    return tag("figure", caption, drawn, class_="card")
