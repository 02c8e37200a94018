"""The report's table of columns: what the training rows hold, with little histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.progress.formatting import count, moment, number, share
from trainer.report.charts import spark
from trainer.schema import OF_NUMBERS, Column, ColumnStatistics, Kind, Layout, Statistics

_MOST_COLUMNS = 400
_MOST_BARS = 24
_MOST_VALUES = 5
#: Kinds of which values are counted.
_COUNTED = ("categorical", "sequence", "text", "image")


@dataclass(frozen=True)
class ColumnRow:
    """What the table shows of one column; `missing` is a share, `role` "" for a feature."""

    name: str
    role: str
    kind: str
    stored: str
    missing: float
    missing_title: str
    values: str
    details: str
    distribution: Markup


@dataclass(frozen=True)
class ColumnTable:
    """The rows, and how many columns are left out."""

    rows: Sequence[ColumnRow]
    left_out: int


def columns_table(layout: Layout, statistics: Statistics) -> ColumnTable:
    """A row for the label, the sample weight and every feature, as far as their statistics are known."""
    known = [(column, role) for column, role in _columns(layout) if column.name in statistics.columns]
    rows = [_row(column, role, statistics.columns[column.name]) for column, role in known[:_MOST_COLUMNS]]
    return ColumnTable(rows, len(known) - len(rows))


def _columns(layout: Layout) -> Iterable[tuple[Column, str]]:
    for label in layout.labels:
        kind: Kind = "numeric" if label.task in OF_NUMBERS else "categorical"
        yield Column(label.name, "sequence" if label.task == "multilabel" else kind, label.arrow, ""), "label"
    if layout.sample_weight is not None:
        yield Column(layout.sample_weight, "numeric", "", ""), "sample weight"
    for column in layout.columns:
        yield column, ""


def _row(column: Column, role: str, known: ColumnStatistics) -> ColumnRow:
    missing = known.nulls + known.nans
    parts = f"{count(known.nulls)} null, {count(known.nans)} NaN, {count(known.infinities)} infinite"
    values, details = _categories(known) if column.kind in _COUNTED else _numbers(column, known)
    return ColumnRow(
        name=column.name,
        role=role,
        kind=column.kind + (f" × {column.size}" if column.size > 1 and not column.parts else ""),
        stored=column.arrow + (", partition" if column.partition else ""),
        missing=missing / known.rows if known.rows else 0.0,
        missing_title=f"{parts} of {count(known.rows)} rows",
        values=values,
        details=details,
        distribution=_distribution(column, known),
    )


def _numbers(column: Column, known: ColumnStatistics) -> tuple[str, str]:
    low, high = moment(known.minimum, column.arrow), moment(known.maximum, column.arrow)
    if column.arrow.startswith(("timestamp", "date")):
        return "", f"{low} … {high}"
    return f"{number(known.mean)} ± {number(math.sqrt(max(known.variance, 0.0)))}", f"{low} … {high}"


def _categories(known: ColumnStatistics) -> tuple[str, str]:
    distinct = known.distinct or len(known.values)
    top = [f"{_value(value)} {share(rows / max(known.rows, 1))}" for value, rows in known.values[:_MOST_VALUES]]
    more = ", …" if len(known.values) > _MOST_VALUES else ""
    return f"{count(distinct)} distinct", ", ".join(top) + more


def _value(value: str | int) -> str:
    text = str(value)
    if not text:
        return "“”"
    return text if len(text) <= 24 else text[:23] + "…"


def _distribution(column: Column, known: ColumnStatistics) -> Markup:
    if column.kind in _COUNTED or (known.values and not known.histogram[1]):
        values = known.values[:_MOST_BARS]
        titles = [f"{_value(value)}: {count(rows)} rows" for value, rows in values]
        return spark([rows for _, rows in values], titles, "most frequent values") if values else Markup("")
    if known.histogram[1]:
        edges, counts = known.histogram
        titles = [
            f"{moment(low, column.arrow)} to {moment(high, column.arrow)}: {count(rows)} sampled rows"
            for low, high, rows in zip(edges, edges[1:], counts, strict=False)
        ]
        return spark(counts, titles, "histogram")
    return _elements(known)


def _elements(known: ColumnStatistics) -> Markup:
    means = known.element_means[:64]
    if not means:
        return Markup("")
    low = min(0.0, *means)
    titles = [f"element {index}: mean {number(mean)}" for index, mean in enumerate(means)]
    return spark([mean - low for mean in means], titles, "means of the elements")
