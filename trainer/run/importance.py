"""Permutation importance: how much worse a trained model gets on validation rows when one column is shuffled.

Breiman 2001, "Random Forests", section 10. It is bounded in time: where all columns do not fit, a first look with few
rows finds those that matter, and only they are measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import metrics
from trainer.config import METRICS_OF_TASK, less_is_better
from trainer.report.influence import ColumnImportance, Importance
from trainer.schema import Layout, image_key, ragged_key

Packed = Mapping[str, NDArray[Any]]
Answer = Callable[[Packed], NDArray[Any]]

#: Columns that are measured, and how often each is shuffled.
MOST_MEASURED, REPEATS = 30, 5
#: The 97.5 % quantile of Student's t with REPEATS - 1 degrees of freedom.
_T = 2.776
#: Rows of the first look, at the least and at the most.
_LOOK_LEAST, _LOOK_MOST = 128, 2_000


def permutation_importance(
    answer: Answer,
    x: Packed,
    labels: NDArray[Any],
    layout: Layout,
    *,
    seed: int,
    limit_s: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
) -> Importance | None:
    """Measures every column, or those that matter.

    Args:
        answer: Predictions of packed rows: [rows, outputs] in the label's units.
        x: Packed rows, `x` of `trainer.schema`.
        labels: [rows].
        layout: What stands where.
        seed: Shuffles alike in every run of it.
        limit_s: Seconds that all of it may take; one column is always finished.
        clock: Seconds that only rise.

    Returns:
        The columns, the most important first; None where the metric is not defined on the rows.
    """
    measure = _Measure(answer, layout, METRICS_OF_TASK[layout.label.task][0], seed)
    end = clock() + limit_s
    base = measure.score(x, labels)
    if not math.isfinite(base):
        return None
    began = clock()
    answer(x)
    took = clock() - began
    names = [column.name for column in layout.columns]
    chosen, looked = names, len(names)
    if took * REPEATS * len(names) > limit_s or len(names) > MOST_MEASURED:
        fitting = int(len(labels) * limit_s / 3 / max(took * len(names), 1e-9))
        few = max(_LOOK_LEAST, min(_LOOK_MOST, fitting, len(labels)))
        at = np.arange(0, len(labels), max(1, len(labels) // few))[:few]  # evenly spaced
        few_x = {key: values[at] for key, values in x.items()}
        chosen, looked = _first_look(measure, few_x, labels[at], names, clock() + limit_s / 2, clock)
    measured: list[ColumnImportance] = []
    for name in chosen[:MOST_MEASURED]:
        if measured and clock() > end:
            break
        losses = [base - measure.score(measure.shuffled(x, name, repeat), labels) for repeat in range(REPEATS)]
        mean, spread = float(np.mean(losses)), float(np.std(losses, ddof=1))
        half = _T * spread / math.sqrt(REPEATS)
        measured.append(ColumnImportance(name, mean, mean - half, mean + half))
    measured.sort(key=lambda column: -column.loss)
    return Importance(measure.metric, len(labels), REPEATS, tuple(measured), len(names), looked)


def _first_look(
    measure: _Measure,
    x: Packed,
    labels: NDArray[Any],
    names: Sequence[str],
    end: float,
    clock: Callable[[], float],
) -> tuple[list[str], int]:
    """The columns by what one shuffle of few rows costs, most first; and how many were looked at in time."""
    base = measure.score(x, labels)
    costs: dict[str, float] = {}
    for name in names:
        if costs and clock() > end:
            break
        lost = base - measure.score(measure.shuffled(x, name, 0), labels)
        costs[name] = lost if math.isfinite(lost) else 0.0
    return sorted(costs, key=lambda name: -costs[name]), len(costs)


class _Measure:
    """Scores of predictions, greater being better, and rows with one column shuffled."""

    def __init__(self, answer: Answer, layout: Layout, metric: str, seed: int) -> None:
        self.metric = metric
        self._answer, self._layout, self._seed = answer, layout, seed
        self._places = _places(layout)

    def score(self, x: Packed, labels: NDArray[Any]) -> float:
        label = self._layout.label
        value = metrics.values(label.task, labels, self._answer(x), [self.metric], label.quantiles)[self.metric]
        return -value if less_is_better(self.metric) else value

    def shuffled(self, x: Packed, column: str, repeat: int) -> Packed:
        key, start, stop = self._places[column]
        number = list(self._places).index(column)
        order = np.random.default_rng([self._seed, number, repeat]).permutation(len(x[key]))
        if stop is None:
            return {**x, key: x[key][order]}
        changed = x[key].copy()
        changed[:, start:stop] = changed[order, start:stop]
        return {**x, key: changed}


def _places(layout: Layout) -> dict[str, tuple[str, int, int | None]]:
    """Where each column stands: a key of `x` and the packed columns; None: all of the key."""
    numbers = {f.column.name: ("numbers", f.start, f.start + f.column.size) for f in layout.numbers}
    codes = {f.column.name: ("codes", f.start, f.start + f.column.size) for f in layout.packed_codes}
    ragged = {f.column.name: (ragged_key(i), 0, None) for i, f in enumerate(layout.ragged)}
    images = {column.name: (image_key(i), 0, None) for i, column in enumerate(layout.images)}
    return {**numbers, **codes, **ragged, **images}
