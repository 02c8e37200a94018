"""What a card of the report holds: a titled box with a chart or a table. The template draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfusionCell:
    """Rows of one actual and one predicted class; `share` of the actual class's rows. `kind` is a CSS class."""

    rows: int
    share: float
    title: str
    kind: str


@dataclass(frozen=True)
class ConfusionTable:
    """A confusion matrix: the classes' names, and for each actual class its name and its cells."""

    label: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[ConfusionCell]]]


@dataclass(frozen=True)
class ClassRow:
    """How well one class is told: its rows, how often it is predicted, and shares."""

    name: str
    actual: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Card:
    """A titled box.

    Attributes:
        title: Its heading.
        drawing: A chart, as `Markup`; text would be escaped.
        legend: Names of the chart's lines, each with its CSS class.
        note: The line under the title.
        facts: A line at the end.
        confusion: A confusion matrix in place of a chart.
        classes: A table in place of a chart: a row for each class, the most frequent first.
        wide: As wide as the page.
    """

    title: str
    drawing: str = ""
    legend: Sequence[tuple[str, str]] = ()
    note: str = ""
    facts: str = ""
    confusion: ConfusionTable | None = None
    classes: Sequence[ClassRow] = ()
    wide: bool = False
