"""Slices of the validation rows on which a model is worst: by category, and by tenth of a number.

Each slice is compared with all other rows. Many slices are looked at, and some look bad by chance: only those that stay
worse by Holm's step-down over all of them are called worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import metrics
from trainer.date_parts import CYCLES, part_of
from trainer.nightly.scores import holm, t_below
from trainer.progress.formatting import number
from trainer.report.influence import SliceRow, Slices
from trainer.schema import FIRST_VOCABULARY_CODE, CodeField, LabelField, Layout, NumberField

Floats = NDArray[np.float64]

#: Fewer rows say too little of a slice.
LEAST_ROWS = 30
#: Values of a category that are looked at, and columns.
_MOST_VALUES, _MOST_COLUMNS = 20, 200
_SHOWN = 12
_LEVEL = 0.05
_RESAMPLES = 500
#: Half a 95 % interval of a normal distribution, in deviations.
_Z = 1.96
#: Tasks of which a row is not just right or wrong -> what its errors are called, and which root of their mean it is.
_MEASURES = {"regression": ("RMSE", 2), "count": ("RMSE", 2), "quantile": ("pinball loss", 1)} | {
    "multilabel": ("share of wrong classes", 1)
}


def worst_slices(
    x: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    predictions: NDArray[Any],
    layout: Layout,
    first: Sequence[str] = (),
    *,
    seed: int = 0,
) -> Slices | None:
    """The slices on which a model errs most.

    Args:
        x: Packed rows.
        labels: [rows].
        predictions: [rows] or [rows, outputs].
        layout: What stands where.
        first: Columns to look at first, where there are more than 200.
        seed: Of the bootstrap.

    Returns:
        The worst, those that are surely worse first; None where no slice has enough rows.
    """
    errors = _errors(layout.label, labels, predictions)
    columns = list(dict.fromkeys([*first, *(column.name for column in layout.columns)]))[:_MOST_COLUMNS]
    candidates = [
        (column, value, rows)
        for column, value, rows in _slices(x, layout, set(columns))
        if LEAST_ROWS <= len(rows) <= len(errors) - LEAST_ROWS
    ]
    if not candidates:
        return None
    adjusted = holm([_p_worse(errors, rows) for _, _, rows in candidates])
    means = np.array([errors[rows].mean() for _, _, rows in candidates])
    worse = [place for place in np.argsort(-means, kind="stable") if means[place] > errors.mean()]
    worse.sort(key=lambda place: adjusted[place] > _LEVEL)
    rows = [
        SliceRow(column, value, len(at), *_interval(layout.label.task, errors[at], seed), adjusted[place] <= _LEVEL)
        for place in worse[:_SHOWN]
        for column, value, at in [candidates[place]]
    ]
    measure, power = _MEASURES.get(layout.label.task, ("share of wrong rows", 1))
    return Slices(
        measure,
        float(errors.mean()) ** (1 / power),
        len(errors),
        tuple(rows),
        len(candidates),
        len(layout.columns) - len(columns),
    )


def _errors(label: LabelField, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
    """Of each row: its squared error, its pinball loss, or 1 where its class is wrong."""
    answers, task = np.asarray(predictions, np.float64).reshape(len(labels), -1), label.task
    if label.quantiles:
        return metrics.row_values("pinball", task, labels, answers, label.quantiles)
    if task == "multilabel":
        return 1.0 - metrics.row_values("accuracy", task, labels, answers)
    if task == "multiclass":
        return np.asarray(answers.argmax(axis=1) != labels, np.float64)
    if task == "binary":
        return np.asarray((answers[:, 0] > 0.5) != (labels > 0.5), np.float64)
    return np.asarray(np.square(answers[:, 0] - labels))


def _slices(
    x: Mapping[str, NDArray[Any]], layout: Layout, columns: set[str]
) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Column, value, and the rows that have it."""
    for code in layout.packed_codes:
        if code.column.name in columns and code.column.kind == "categorical" and not code.buckets:
            yield from _of_category(code, x["codes"][:, code.start])
    for field in layout.numbers:
        if field.column.name in columns and field.column.kind == "numeric":
            yield from _of_number(field.column.name, x["numbers"][:, field.start].astype(np.float64) + field.offset)
        elif field.column.name in columns and field.column.kind == "date":
            yield from _of_date(field, x["numbers"])


def _of_category(field: CodeField, codes: NDArray[Any]) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    values, counts = np.unique(codes, return_counts=True)
    for code in values[np.argsort(-counts, kind="stable")][:_MOST_VALUES]:
        is_known = code >= FIRST_VOCABULARY_CODE
        name = str(field.vocabulary[code - FIRST_VOCABULARY_CODE]) if is_known else "null" if code == 0 else "unseen"
        yield field.column.name, name, np.flatnonzero(codes == code)


def _of_number(name: str, values: Floats) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    missing = np.isnan(values)
    if missing.any():
        yield name, "null", np.flatnonzero(missing)
    present = values[~missing]
    if not len(present):
        return
    edges = np.unique(np.quantile(present, np.linspace(0, 1, 11)))
    if len(edges) == 1:
        return
    tenth = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    for at, (low, high) in enumerate(pairwise(edges)):
        text = f"{number(float(low))} to {number(float(high))}"
        yield name, text, np.flatnonzero((tenth == at) & ~missing)


def _of_date(field: NumberField, numbers: NDArray[Any]) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Each value of a part that begins again; the tenths of one that grows."""
    for at, name in enumerate(field.column.parts):
        values, part = numbers[:, field.start + at].astype(np.float64), part_of(name)
        if part not in CYCLES:
            yield from _of_number(f"{field.column.name} ({part})", values)
            continue
        if name.endswith("_cos"):
            continue
        least, count = CYCLES[part]
        if name != part:  # a sine, and its cosine beside it
            turn = np.arctan2(values, numbers[:, field.start + at + 1]) / (2 * math.pi)
            values = np.round(turn * count) % count + least
        for value in range(least, least + count):
            yield f"{field.column.name} ({part})", str(value), np.flatnonzero(values == value)


def _p_worse(errors: Floats, rows: NDArray[np.intp]) -> float:
    """One-sided p-value of "the slice errs no more than the other rows", by Welch's t test."""
    inside = np.zeros(len(errors), bool)
    inside[rows] = True
    ours, others = errors[inside], errors[~inside]
    spreads = [group.var(ddof=1) / len(group) for group in (ours, others)]
    difference = ours.mean() - others.mean()
    if not sum(spreads):
        return 0.0 if difference > 0 else 1.0
    freedom = sum(spreads) ** 2 / sum(s**2 / (len(g) - 1) for s, g in zip(spreads, (ours, others), strict=True))
    return 1.0 - t_below(float(difference / math.sqrt(sum(spreads))), max(1, int(freedom)))


def _interval(task: str, errors: Floats, seed: int) -> tuple[float, float, float]:
    """The measure and its 95 % interval: Wilson's (1927) for a share, the bootstrap's percentiles else."""
    n, mean = len(errors), float(errors.mean())
    if task in _MEASURES:
        root = 1 / _MEASURES[task][1]
        drawn = np.random.default_rng(seed).integers(0, n, (_RESAMPLES, n))
        low, high = np.quantile(errors[drawn].mean(axis=1), [0.025, 0.975]) ** root
        return mean**root, float(low), float(high)
    centre, squared = mean + _Z**2 / (2 * n), 1 + _Z**2 / n
    half = _Z * math.sqrt(mean * (1 - mean) / n + _Z**2 / (4 * n**2))
    return mean, (centre - half) / squared, (centre + half) / squared
