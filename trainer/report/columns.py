"""The report's table of columns: what the training rows hold, with little histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trainer.progress.formatting import count, moment, number, share
from trainer.report.charts import spark
from trainer.report.markup import Html, join, tag
from trainer.schema import Column, ColumnStatistics, Layout, Statistics

_MOST_COLUMNS = 400
_MOST_BARS = 24
_MOST_VALUES = 5
#: Kinds of which values are counted.
_COUNTED = ("categorical", "sequence", "text", "image")


def columns_table(layout: Layout, statistics: Statistics) -> Html:
    """A row for the label, the sample weight and every feature, as far as their statistics are known."""
    known = [(column, role) for column, role in _columns(layout) if column.name in statistics.columns]
    heads = ("column", "kind", "missing", "values", "distribution")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)))
    rows = [_row(column, role, statistics.columns[column.name]) for column, role in known[:_MOST_COLUMNS]]
    left_out = len(known) - len(rows)
    more = tag("p", f"{count(left_out)} more columns are not shown.", class_="empty") if left_out else ""
    return join(tag("div", tag("table", head, tag("tbody", *rows), class_="plain columns"), class_="scroll"), more)


def _columns(layout: Layout) -> Iterable[tuple[Column, str]]:
    label = layout.label
    kind = "numeric" if label.task == "regression" else "categorical"
    yield Column(label.name, "numeric" if kind == "numeric" else "categorical", label.arrow, ""), "label"
    if layout.sample_weight is not None:
        yield Column(layout.sample_weight, "numeric", "", ""), "sample weight"
    for column in layout.columns:
        yield column, ""


def _row(column: Column, role: str, known: ColumnStatistics) -> Html:
    name = join(tag("code", column.name), tag("span", role, class_="role") if role else "")
    kind = column.kind + (f" × {column.size}" if column.size > 1 else "")
    stored = column.arrow + (", partition" if column.partition else "")
    return tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", kind, tag("small", stored)),
        _missing(known),
        tag("td", _categories(known) if column.kind in _COUNTED else _numbers(column, known)),
        tag("td", _distribution(column, known)),
        class_="special" if role else None,
    )


def _missing(known: ColumnStatistics) -> Html:
    missing = known.nulls + known.nans
    part = missing / known.rows if known.rows else 0.0
    found = f"{count(known.nulls)} null, {count(known.nans)} NaN, {count(known.infinities)} infinite"
    title = f"{found} of {count(known.rows)} rows"
    return tag("td", share(part) if missing else "–", class_="meter", style=f"--share:{part:.3f}", title=title)


def _numbers(column: Column, known: ColumnStatistics) -> Html:
    low, high = moment(known.minimum, column.arrow), moment(known.maximum, column.arrow)
    if column.arrow.startswith(("timestamp", "date")):
        return join(tag("small", f"{low} … {high}"))
    deviation = math.sqrt(max(known.variance, 0.0))
    return join(f"{number(known.mean)} ± {number(deviation)}", tag("small", f"{low} … {high}"))


def _categories(known: ColumnStatistics) -> Html:
    distinct = known.distinct or len(known.values)
    top = [f"{_value(value)} {share(rows / max(known.rows, 1))}" for value, rows in known.values[:_MOST_VALUES]]
    more = ", …" if len(known.values) > _MOST_VALUES else ""
    return join(f"{count(distinct)} distinct", tag("small", ", ".join(top) + more))


def _value(value: str | int) -> str:
    text = str(value)
    if not text:
        return "“”"
    return text if len(text) <= 24 else text[:23] + "…"


def _distribution(column: Column, known: ColumnStatistics) -> Html:
    if column.kind in _COUNTED or (known.values and not known.histogram[1]):
        values = known.values[:_MOST_BARS]
        titles = [f"{_value(value)}: {count(rows)} rows" for value, rows in values]
        return spark([rows for _, rows in values], titles, "most frequent values") if values else Html("")
    if known.histogram[1]:
        edges, counts = known.histogram
        titles = [
            f"{moment(low, column.arrow)} to {moment(high, column.arrow)}: {count(rows)} sampled rows"
            for low, high, rows in zip(edges, edges[1:], counts, strict=False)
        ]
        return spark(counts, titles, "histogram")
    return _elements(known)


def _elements(known: ColumnStatistics) -> Html:
    means = known.element_means[:64]
    if not means:
        return Html("")
    low = min(0.0, *means)
    titles = [f"element {index}: mean {number(mean)}" for index, mean in enumerate(means)]
    return spark([mean - low for mean in means], titles, "means of the elements")
