"""The page of `kfit compare -o html`: two runs side by side, without a network, a script or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.progress.formatting import metric
from trainer.report import pages
from trainer.report.cards import Card
from trainer.report.charts import Series, epochs_frame, line

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
    return pages.render(
        "compare.html.j2",
        a=a,
        b=b,
        sides=[(side.run, style) for side, style in zip((a, b), _STYLES, strict=True)],
        sections=[(title, rows) for title, rows in sections.items() if rows],
        curves=_curves(a, b),
    )


def _curves(a: Side, b: Side) -> list[Card]:
    """A chart a metric, both runs in it: on validation where they have it, else on training."""
    names = list(dict.fromkeys(name for side in (a, b) for entry in side.epochs for name in entry))
    drawn = [n for n in names if n not in ("time", "epoch", "step", "end") and f"val_{n}" not in names]
    return [_curve(name, a, b) for name in drawn]


def _curve(name: str, a: Side, b: Side) -> Card:
    lines = []
    for side, style in zip((a, b), _STYLES, strict=True):
        points = [(e["epoch"] + 1.0, float(e[name])) for e in side.epochs if e.get(name) is not None]
        titles = [f"{side.run}, epoch {x:.0f}: {metric(y)}" for x, y in points]
        lines.append(Series(points, style, titles, marks=len(points) <= 60))
    split, label = ("validation", name.removeprefix("val_")) if name.startswith("val_") else ("train", name)
    frame = epochs_frame(label, [point for s in lines for point in s.points])
    drawn = frame.draw(f"{split} {label} of both runs by epoch", *(line(frame, s) for s in lines))
    return Card(f"{label.replace('_', ' ')} on {split}", drawn)
