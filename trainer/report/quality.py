"""The report's pictures of how well a model does on the validation rows, by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from trainer.progress.formatting import count, number, share
from trainer.report import curves
from trainer.report.cards import Card, ClassRow, ConfusionCell, ConfusionTable
from trainer.report.charts import Frame, Range, Series, around, axis_share, bars, cells, line, rule
from trainer.report.svg import element, join
from trainer.schema import LabelField

Array = NDArray[Any]
_MOST_CLASSES = 12
_OTHER = "(other)"
_UNIT = (0.0, 1.0)


def quality(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    """The cards for a task; none where no row has a finite label and prediction.

    Args:
        label: The label and its task.
        labels: [rows] class index or value.
        predictions: [rows] or [rows, 1], multiclass [rows, K].
    """
    if label.task == "multiclass":
        return _multiclass(label, *_finite(labels, predictions))
    if label.task == "multilabel":
        return _multilabel(label, *_finite(labels, predictions.reshape(len(labels), -1)))
    if label.quantiles:
        return _quantiles(label, *_finite(labels, predictions.reshape(len(labels), -1)))
    labels, predictions = _finite(labels.reshape(-1), predictions.reshape(len(labels), -1)[:, 0])
    if not len(labels):
        return []
    return _binary(label, labels, predictions) if label.task == "binary" else _regression(label, labels, predictions)


def _finite(labels: Array, predictions: Array) -> tuple[Array, Array]:
    fine = np.logical_and.reduce(
        [np.isfinite(part.reshape(len(labels), -1)).all(axis=1) for part in (labels, predictions)]
    )
    return labels[fine], predictions[fine]


# --- binary ---------------------------------------------------------------------------------------


def _binary(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    positive, scores = labels > 0.5, predictions.astype(np.float64)
    parts = [_binary_confusion(label, positive, scores)]
    if positive.all() or not positive.any():
        only = "positive" if positive.all() else "negative"
        parts.append(Card("ROC and precision–recall", note=f"All validation rows are {only}: no curve to draw."))
    else:
        parts += [_roc(positive, scores), _precision_recall(positive, scores), _thresholds(positive, scores)]
    return [*parts, _calibration(positive, scores), _scores(positive, scores)]


def _binary_confusion(label: LabelField, positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    matrix = curves.confusion(positive.astype(np.int64), (scores >= 0.5).astype(np.int64), 2)
    right = int(matrix.trace())
    note = f"1 is predicted from 0.5 on; {share(right / len(scores))} of {count(len(scores))} rows are right."
    precision, recall = matrix[1, 1] / max(matrix[:, 1].sum(), 1), matrix[1, 1] / max(matrix[1].sum(), 1)
    facts = f"Precision {share(precision)}, recall {share(recall)}."
    table = _confusion_table(matrix, ["0", "1"], label.name)
    return Card("Confusion at 0.5", confusion=table, facts=facts, note=note)


def _confusion_table(matrix: NDArray[np.int64], names: Sequence[str], label: str) -> ConfusionTable:
    rows = [(name, [_confusion_cell(matrix, i, j, names) for j in range(len(names))]) for i, name in enumerate(names)]
    return ConfusionTable(label, names, rows)


def _confusion_cell(matrix: NDArray[np.int64], i: int, j: int, names: Sequence[str]) -> ConfusionCell:
    part = matrix[i, j] / max(matrix[i].sum(), 1)
    title = f"actual {names[i]}, predicted {names[j]}: {count(matrix[i, j])} rows, {share(part)} of actual {names[i]}"
    # Among the folded classes a row may still be in the wrong one, so their common cell is neither.
    kind = "hit-cell" if i == j and names[i] != _OTHER else "miss-cell" if i != j else "other-cell"
    return ConfusionCell(int(matrix[i, j]), float(part), title, kind)


def _roc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    curve = curves.roc(positive, scores)
    x, y, at = curve.false_positive_rate, curve.true_positive_rate, curve.thresholds
    drawn_at = curves.thin(x, y)
    points = [(float(x[i]), float(y[i])) for i in drawn_at]
    titles = [f"from {number(at[i])} on: {share(x[i])} false alarms, {share(y[i])} found" for i in drawn_at]
    frame = Frame(_UNIT, _UNIT, "false positive rate", "true positive rate")
    model = line(frame, Series(points, "first", titles))
    drawn = frame.draw(f"ROC, AUC {curve.auc:.4f}", _diagonal(frame), model)
    return Card("ROC", drawn, (("model", "first"), ("guessing", "guide")), note=f"AUC {curve.auc:.4f}")


def _diagonal(frame: Frame) -> Markup:
    """Where y is x, across the whole chart."""
    low, high = frame.x
    return line(frame, Series([(low, low), (high, high)], "guide"))


def _precision_recall(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    curve = curves.precision_recall(positive, scores)
    drawn_at = curves.thin(curve.recall, curve.precision)
    points = [(float(curve.recall[i]), float(curve.precision[i])) for i in drawn_at]
    titles = [
        f"from {number(curve.thresholds[i])} on: {share(curve.recall[i])} found, "
        f"{share(curve.precision[i])} of the alarms right"
        for i in drawn_at
    ]
    frame = Frame(_UNIT, _UNIT, "recall", "precision")
    guide = line(frame, Series([(0.0, curve.base_rate), (1.0, curve.base_rate)], "guide"))
    label = f"Precision over recall, average precision {curve.average_precision:.4f}"
    drawn = frame.draw(label, guide, line(frame, Series(points, "first", titles)))
    names = (("model", "first"), (f"guessing, {share(curve.base_rate)} are positive", "guide"))
    return Card("Precision–recall", drawn, names, note=f"Average precision {curve.average_precision:.4f}")


def _calibration(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    bins = curves.calibration(positive, np.clip(scores, 0.0, 1.0))
    titles = [
        f"predicted {share(p)}, observed {share(o)} (95 %: {share(low)} to {share(high)}), {count(n)} rows"
        for p, o, low, high, n in zip(bins.predicted, bins.observed, bins.low, bins.high, bins.rows, strict=True)
    ]
    frame = Frame(_UNIT, _UNIT, "mean predicted probability", "share of rows that are 1")
    whiskers = [
        element("line", x1=x, x2=x, y1=frame.down(low), y2=frame.down(high), class_="whisker")
        for x, low, high in zip(map(frame.across, bins.predicted), bins.low, bins.high, strict=True)
    ]
    points = list(zip(bins.predicted.tolist(), bins.observed.tolist(), strict=True))
    model = line(frame, Series(points, "first", titles, marks=True))
    content = (_bin_rows(frame, bins), _diagonal(frame), *whiskers, model)
    note = f"Expected calibration error {bins.error:.4f}, Brier score {bins.brier:.4f}"
    names = (("ten bins, 95\u00a0% interval", "first"), ("perfect", "guide"), ("rows in the bin", "pale box"))
    return Card("Calibration", frame.draw("Calibration", *content), names, note=note)


def _bin_rows(frame: Frame, bins: curves.Calibration) -> Markup:
    """Pale bars behind the curve, as high as 0.3 for the fullest bin: they share the axis, not its unit."""
    top = bins.rows.max()
    drawn = []
    for predicted, rows in zip(bins.predicted, bins.rows, strict=True):
        low = min(int(predicted * 10), 9) / 10
        drawn.append(bars(frame, (low, low + 0.1), (0.3 * rows / top,), (f"{count(rows)} rows",), "pale"))
    return join(*drawn)


def _thresholds(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    curve = curves.precision_recall(positive, scores)
    drawn_at = np.flatnonzero((curve.thresholds >= 0.0) & (curve.thresholds <= 1.0))[::-1]
    drawn_at = drawn_at[curves.thin(curve.thresholds[drawn_at], curve.recall[drawn_at], 120)]
    at, precision, recall = curve.thresholds[drawn_at], curve.precision[drawn_at], curve.recall[drawn_at]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    frame = Frame(_UNIT, _UNIT, "threshold", "precision, recall, F1")
    drawn = []
    for name, values, style in (("precision", precision, "first"), ("recall", recall, "second"), ("F1", f1, "third")):
        points = list(zip(at.tolist(), values.tolist(), strict=True))
        titles = [f"from {number(x)} on: {name} {share(y)}" for x, y in points]
        drawn.append(line(frame, Series(points, style, titles)))
    best = int(f1.argmax())
    note = f"F1 is highest, {f1[best]:.3f}, at {number(at[best])}"
    names = (("precision", "first"), ("recall", "second"), ("F1", "third"))
    return Card("Choosing a threshold", frame.draw("Precision, recall and F1 by threshold", *drawn), names, note=note)


def _scores(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> Card:
    edges = np.linspace(0.0, 1.0, 41)
    classes = (("0", scores[~positive], "second"), ("1", scores[positive], "first"))
    shares = [np.histogram(np.clip(rows, 0, 1), edges)[0] / max(len(rows), 1) for _, rows, _ in classes]
    top = max(float(values.max()) for values in shares)
    frame = Frame(_UNIT, (0.0, top * 1.06), "predicted probability", "share of the class's rows", y_text=axis_share)
    drawn = []
    for (name, _, style), values in zip(classes, shares, strict=True):
        ranges = zip(edges, edges[1:], values, strict=False)
        titles = [f"class {name}, {low:.3g} to {high:.3g}: {share(value)}" for low, high, value in ranges]
        drawn.append(bars(frame, edges.tolist(), values.tolist(), titles, style))
    names = [(f"label {name}, {count(len(rows))} rows", f"{style} box") for name, rows, style in classes]
    note = "Each class sums to 100 %, so that a rare one shows."
    return Card("Predictions by class", frame.draw("Histogram of predictions by class", *drawn), names, note=note)


# --- multiclass -----------------------------------------------------------------------------------


def _multiclass(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    classes = predictions.shape[1]
    names = [str(name) for name in label.classes] or [str(i) for i in range(classes)]
    matrix = curves.confusion(labels.astype(np.int64), predictions.argmax(axis=1).astype(np.int64), classes)
    shown, shown_names = _largest(matrix, names)
    right = matrix.trace() / max(matrix.sum(), 1)
    note = f"{share(right)} of {count(matrix.sum())} rows are right."
    if len(shown_names) < classes:
        note += f" The {_MOST_CLASSES} most frequent of {classes:,} classes; the rest count as {_OTHER}."
    return [
        Card("Confusion", confusion=_confusion_table(shown, shown_names, label.name), note=note, wide=True),
        Card("By class", classes=_classes(names, matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()), wide=True),
    ]


def _largest(matrix: NDArray[np.int64], names: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Folds all but the most frequent classes into one: [<= 13, <= 13] and their names."""
    if len(names) <= _MOST_CLASSES + 1:
        return matrix, names
    kept = np.sort(np.argsort(-matrix.sum(axis=1), kind="stable")[:_MOST_CLASSES])
    group = np.full(len(names), _MOST_CLASSES)
    group[kept] = np.arange(_MOST_CLASSES)
    folded = np.zeros((_MOST_CLASSES + 1, _MOST_CLASSES + 1), dtype=np.int64)
    np.add.at(folded, (group[:, None], group[None, :]), matrix)
    return folded, [*(names[i] for i in kept), _OTHER]


def _multilabel(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    """Precision and recall of each class at 0.5, and how often all classes of a row are right."""
    actual, predicted = labels > 0.5, predictions > 0.5
    exact = float((actual == predicted).all(axis=1).mean()) if len(labels) else 0.0
    note = f"Predicted above 0.5; all classes of a row are right in {share(exact)} of {count(len(labels))} rows."
    names, hits = [str(name) for name in label.classes], (actual & predicted).sum(axis=0)
    rows = _classes(names, actual.sum(axis=0), predicted.sum(axis=0), hits)
    return [Card("By class", classes=rows, wide=True, note=note)]


def _classes(names: Sequence[str], actual: Array, predicted: Array, hits: Array) -> list[ClassRow]:
    """The 200 classes with the most rows; `hits` [classes] are rows of a class that are predicted as it."""
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(actual, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    order = np.argsort(-actual, kind="stable")[:200]
    columns = (actual, predicted, precision, recall, f1)
    return [ClassRow(names[i], *(column[i].item() for column in columns)) for i in order]


# --- quantiles ------------------------------------------------------------------------------------


def _quantiles(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    """How often labels lie below each quantile, and how wide the span of the outer two is."""
    if not len(labels):
        return []
    below = (labels[:, None] <= predictions).mean(axis=0)
    points = list(zip(label.quantiles, below.tolist(), strict=True))
    titles = [f"quantile {level:g}: {share(observed)} of the rows lie at or below it" for level, observed in points]
    frame = Frame(_UNIT, _UNIT, "quantile", "share of rows at or below it", width=560, height=370)
    model = line(frame, Series(points, "first", titles, marks=True))
    drawn = frame.draw("Share of rows below each quantile", _diagonal(frame), model)
    note = "; ".join(f"{level:g}: {share(observed)}" for level, observed in points)
    card = Card("Quantiles", drawn, (("model", "first"), ("perfect", "guide")), note=note)
    return [card] if len(label.quantiles) < 2 else [card, _spans(label, labels, predictions)]


def _spans(label: LabelField, labels: Array, predictions: Array) -> Card:
    low, high = predictions[:, 0].astype(np.float64), predictions[:, -1].astype(np.float64)
    widths, (first, last) = high - low, (label.quantiles[0], label.quantiles[-1])
    x_label = f"width from quantile {first:g} to {last:g} of {label.name}"
    frame, drawn, _ = _histogram(widths, around([0.0, float(np.quantile(widths, 0.995))], 0.03), x_label)
    inside = float(((labels >= low) & (labels <= high)).mean())
    note = f"{share(inside)} of the labels lie inside, where the quantiles say {share(last - first)}."
    chart = frame.draw("Histogram of widths", drawn)
    return Card("Width", chart, note=f"{note} Median width {number(np.median(widths))}.")


def _histogram(values: NDArray[np.float64], bounds: Range, x_label: str) -> tuple[Frame, Markup, int]:
    """Axes, 48 bars of the rows between `bounds`, and how many rows lie outside."""
    edges = np.linspace(*bounds, 49)
    rows = np.histogram(values, edges)[0]
    titles = [f"{number(a)} to {number(b)}: {count(n)} rows" for a, b, n in zip(edges, edges[1:], rows, strict=False)]
    frame = Frame(bounds, (0.0, float(rows.max()) * 1.08 or 1.0), x_label, "rows", width=560, height=370)
    drawn = bars(frame, edges.tolist(), rows.tolist(), titles, "first")
    return frame, drawn, len(values) - int(rows.sum())


# --- regression -----------------------------------------------------------------------------------


def _regression(label: LabelField, labels: Array, predictions: Array) -> list[Card]:
    actual, predicted = labels.astype(np.float64), predictions.astype(np.float64)
    return [_density(label, actual, predicted), _residuals(label, actual, predicted)]


def _density(label: LabelField, actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> Card:
    low = float(min(np.quantile(actual, 0.005), np.quantile(predicted, 0.005)))
    high = float(max(np.quantile(actual, 0.995), np.quantile(predicted, 0.995)))
    bounds = around([low, high], 0.03)
    edges = np.linspace(*bounds, 37)
    rows = np.histogram2d(actual, predicted, bins=(edges, edges))[0]
    strength = np.log1p(rows) / np.log1p(max(rows.max(), 1))
    boxes = [
        (
            (edges[i], edges[i + 1]),
            (edges[j], edges[j + 1]),
            float(strength[i, j]),
            f"actual {number(edges[i])} to {number(edges[i + 1])}, "
            f"predicted {number(edges[j])} to {number(edges[j + 1])}: {count(rows[i, j])} rows",
        )
        for i, j in zip(*np.nonzero(rows), strict=True)
    ]
    frame = Frame(bounds, bounds, f"actual {label.name}", f"predicted {label.name}", width=560, height=370)
    note = "Darker: more rows (logarithmic)." + _outside(len(actual) - int(rows.sum()))
    drawn = frame.draw("Predicted over actual values", cells(frame, boxes), _diagonal(frame))
    return Card("Predicted and actual", drawn, (("perfect", "guide"),), note=note)


def _residuals(label: LabelField, actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> Card:
    rest = actual - predicted
    bounds = around([float(np.quantile(rest, 0.005)), float(np.quantile(rest, 0.995))], 0.03)
    frame, drawn, outside = _histogram(rest, bounds, f"actual − predicted {label.name}")
    mean, median = float(rest.mean()), number(np.median(np.abs(rest)))
    chart = frame.draw("Histogram of residuals", drawn, rule(frame, mean, f"mean {number(mean)}"))
    note = f"Mean {number(mean)}, standard deviation {number(rest.std())}, median of the absolute value {median}."
    return Card("Residuals", chart, note=note + _outside(outside))


def _outside(rows: int) -> str:
    return f" {count(rows)} rows lie outside." if rows else ""
