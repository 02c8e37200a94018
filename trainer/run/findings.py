"""Whether a run that ended well is of any use: the trivial baseline, and what its metrics say of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer import metrics
from trainer.config import METRICS_OF_TASK, less_is_better
from trainer.schema import OF_NUMBERS, LabelField, Statistics

#: Fewer validation rows (binary: of the rarer class) than this tell a metric to a tenth at best.
_FEW_ROWS = 100
#: Training and validation are far apart beyond this: shares by their difference, errors by their ratio.
_FAR_SHARE, _FAR_RATIO = 0.1, 1.5


def baseline(label: LabelField, training: Statistics, labels: np.ndarray) -> dict[str, float]:
    """Metrics of the trivial answer for every row: the training rows' label mean, quantiles or label frequencies.

    Args:
        label: The label and its task.
        training: Statistics of the training split, with the label's.
        labels: [rows] validation labels, class index or value.

    Returns:
        Finite metrics by name; none where the label's statistics are not known.
    """
    known = training.columns.get(label.name)
    if known is None or not len(labels):
        return {}
    if label.quantiles:
        levels = np.linspace(0, 1, len(known.percentiles))
        answer = np.tile(np.interp(label.quantiles, levels, known.percentiles), (len(labels), 1))
    elif label.task in OF_NUMBERS:
        answer = np.full(len(labels), known.mean)
    else:
        counts = {str(value): rows for value, rows in known.values}
        names = [str(name) for name in label.classes or (0, 1)]
        rows = np.array([counts.get(name, 0) for name in names], np.float64)
        if not rows.sum():
            return {}
        frequencies = rows / rows.sum()
        if label.task == "multilabel":
            frequencies = rows / known.rows
        answer = np.tile(frequencies, (len(labels), 1)) if label.classes else np.full(len(labels), frequencies[1])
    values = metrics.values(label.task, labels, answer, quantiles=label.quantiles)
    return {name: value for name, value in values.items() if math.isfinite(value)}


def warnings(result: Mapping[str, Any], task: str, trivial: Mapping[str, float], labels: np.ndarray) -> list[str]:
    """What of a label a person should know before trusting the run, and what to change; one line each.

    Args:
        result: `result.json`: metrics by split, epochs, the best epoch.
        task: One of `trainer.metrics.NAMES`.
        trivial: What `baseline` gave.
        labels: [rows] validation labels.
    """
    lines = [_no_better(result, task, trivial), _few_rows(task, labels), _far_apart(result, task)]
    return [line for line in lines if line]


def warnings_of_run(result: Mapping[str, Any]) -> list[str]:
    """What of all labels together a person should know; one line each."""
    line = _best_is_last(result)
    return [line] if line else []


def _no_better(result: Mapping[str, Any], task: str, trivial: Mapping[str, float]) -> str:
    name = METRICS_OF_TASK[task][0]
    value = result["metrics"]["validation"].get(name)
    if name not in trivial or value is None or not math.isfinite(value):
        return ""
    better = value < trivial[name] if less_is_better(name) else value > trivial[name]
    if better:
        return ""
    answer = {"quantile": "the label's quantiles"}.get(
        task, "the label's mean" if task in OF_NUMBERS else "the label frequencies"
    )
    return (
        f"the model is not better than answering {answer}: validation {name} {value:.4g} against {trivial[name]:.4g}; "
        "train longer (fit.epochs), change fit.optimizer.learning_rate, or look for features that tell the label"
    )


def _best_is_last(result: Mapping[str, Any]) -> str:
    epochs = result["epochs"]
    if epochs < 2 or result["best_epoch"] != epochs or result["stopped_early"]:
        return ""
    return f"the best epoch is the last one ({epochs}): the model was still getting better; raise fit.epochs"


def _few_rows(task: str, labels: np.ndarray) -> str:
    rows, of = len(labels), ""
    if task == "binary":
        positive = int((labels > 0.5).sum())
        rows, of = min(positive, rows - positive), " of the rarer class"
    if rows >= _FEW_ROWS:
        return ""
    return f"validation has {rows} rows{of}: its metrics are rough; give data.validation more (at least {_FEW_ROWS})"


def _far_apart(result: Mapping[str, Any], task: str) -> str:
    name = METRICS_OF_TASK[task][0]
    train, validation = (result["metrics"][split].get(name) for split in ("train", "validation"))
    if any(value is None or not math.isfinite(value) for value in (train, validation)):
        return ""
    far = validation > train * _FAR_RATIO if less_is_better(name) else train - validation > _FAR_SHARE
    if not far:
        return ""
    return (
        f"train and validation are far apart: {name} {train:.4g} and {validation:.4g}; the model learns rows by heart, "
        "or the splits differ: less of a network (model.hidden), more data, early_stopping, or a split like training"
    )
