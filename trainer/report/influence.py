"""The report's section on what the model goes by, and where it errs most: importance of columns, and worst slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.progress.formatting import count, metric, share
from trainer.report.charts import axis_number, svg
from trainer.report.svg import element, join

_WIDTH, _ROW, _NAMES, _VALUES, _TOP = 560.0, 22.0, 190.0, 70.0, 6.0
_LONGEST_NAME = 26


@dataclass(frozen=True)
class ColumnImportance:
    """A column: what the metric loses when it is shuffled, signed so that more is worse, and its 95 % interval."""

    name: str
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """What columns are worth to a model.

    Attributes:
        metric: The metric's name. rows: validation rows that were asked. repeats: shuffles of each column.
        columns: The most important first.
        all_columns: How many the model has. looked_at: how many of them the time allowed a first look at.
    """

    metric: str
    rows: int
    repeats: int
    columns: Sequence[ColumnImportance]
    all_columns: int
    looked_at: int

    @property
    def left_out(self) -> str:
        """What was not measured, as a sentence; "" where everything was."""
        missing = self.all_columns - len(self.columns)
        if not missing:
            return ""
        looked = (
            "chosen by one shuffle of few rows"
            if self.looked_at == self.all_columns
            else f"chosen among the {count(self.looked_at)} that the time allowed a look at"
        )
        return f"{count(missing)} of {count(self.all_columns)} columns are not measured; those shown were {looked}."


@dataclass(frozen=True)
class SliceRow:
    """A slice: its rows, the measure with its 95 % interval, and whether it is worse than the other rows for sure."""

    column: str
    value: str
    rows: int
    measure: float
    low: float
    high: float
    surely: bool


@dataclass(frozen=True)
class Slices:
    """The worst slices.

    Attributes:
        measure: What is measured; less is better. overall: its value on all rows.
        rows: All rows. worst: The worst slices first. looked_at: how many there were.
        columns_left_out: Columns whose slices were not looked at.
    """

    measure: str
    overall: float
    rows: int
    worst: Sequence[SliceRow]
    looked_at: int
    columns_left_out: int

    def text(self, value: float) -> str:
        """A value of the measure for a person."""
        return share(value) if self.measure.startswith("share") else metric(value)


@dataclass(frozen=True)
class Influence:
    """What the model goes by, and where it errs most; `label` is "" where there is one label.

    Either is None where it is not defined.
    """

    label: str
    importance: Importance | None
    slices: Slices | None


def importance_chart(importance: Importance) -> Markup:
    """A bar for each column, with a whisker over its interval and the value beside it."""
    low = min([0.0, *(column.low for column in importance.columns)])
    high = max([0.0, *(column.high for column in importance.columns)]) or 1.0
    span = (high - low) or 1.0
    left, right = _NAMES + 10, _WIDTH - _VALUES

    def across(value: float) -> float:
        return left + (value - low) / span * (right - left)

    drawn = []
    for at, column in enumerate(importance.columns):
        y = _TOP + at * _ROW
        zero, end = across(0.0), across(column.loss)
        title = f"{column.name}: {metric(column.loss)} ({metric(column.low)} to {metric(column.high)})"
        name = column.name if len(column.name) <= _LONGEST_NAME else column.name[: _LONGEST_NAME - 1] + "…"
        drawn.append(
            element(
                "g",
                element("title", title),
                element("text", name, x=_NAMES, y=y + 14, class_="tick end"),
                element("rect", x=min(zero, end), y=y + 3, width=max(abs(end - zero), 0.6), height=_ROW - 7,
                        class_="bar first"),
                element("line", x1=across(column.low), x2=across(column.high), y1=y + _ROW / 2, y2=y + _ROW / 2,
                        class_="extent"),
                element("text", axis_number(column.loss, high / 1000), x=_WIDTH, y=y + 14, class_="tick end"),
                class_="point",
            )
        )  # fmt: skip
    bottom = _TOP + len(importance.columns) * _ROW
    axis = element("line", x1=across(0.0), x2=across(0.0), y1=_TOP, y2=bottom, class_="axis")
    return svg(_WIDTH, bottom + 4, f"{importance.metric} lost by shuffling each column", join(*drawn), axis)
