"""What a model ends in: for each label a layer, its activation, and where its bias begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.config import Config, Target
from trainer.schema import OF_NUMBERS, ColumnStatistics, LabelField, Layout, Statistics

_ACTIVATIONS = {"binary": "sigmoid", "multiclass": "softmax", "multilabel": "sigmoid"}


@dataclass(frozen=True)
class Head:
    """The last layer of one label.

    Attributes:
        label: The label's name.
        outputs: Its units.
        activation: sigmoid, softmax or linear.
        bias: Its initial bias, [outputs]: the log-odds of the weighted label frequencies in training; of quantiles
            those of the training rows on the learnt scale; zeros for other numbers.
    """

    label: str
    outputs: int
    activation: str
    bias: tuple[float, ...]


def make_heads(layout: Layout, config: Config, statistics: Statistics) -> tuple[Head, ...]:
    """The last layer of each label, in the order of `layout.labels`."""
    return tuple(
        Head(
            label.name,
            label.outputs,
            _ACTIVATIONS.get(label.task, "linear"),
            tuple(float(value) for value in _bias(label, target, statistics.columns.get(label.name))),
        )
        for label, target in zip(layout.labels, config.targets, strict=True)
    )


def _bias(label: LabelField, target: Target, known: ColumnStatistics | None) -> np.ndarray:
    if known is not None and known.percentiles and label.quantiles:
        values = np.interp(label.quantiles, np.linspace(0, 1, len(known.percentiles)), known.percentiles)
        scaled = np.log1p(values) if label.transform == "log1p" else values
        return np.asarray((scaled - label.mean) / label.deviation)
    if known is None or not known.values or label.task in OF_NUMBERS:
        return np.zeros(label.outputs)
    classes: tuple[str | int, ...] = label.classes or (0, 1)
    counts = dict(known.values)
    rows = np.array([counts.get(c, 0) for c in classes], np.float64)
    if label.task == "multilabel":
        shares = np.clip(rows / max(known.rows, 1), 1e-3 / len(rows), 1 - 1e-3 / len(rows))
        return np.asarray(np.log(shares / (1 - shares)))
    if target.class_weight == "balanced":
        rows = np.ones(len(classes))
    elif target.class_weight is not None:
        given = {str(name): weight for name, weight in target.class_weight.items()}
        rows *= [given.get(str(c), 1.0) for c in classes]
    logs = np.log(np.maximum(rows, 1e-3 * max(rows.sum(), 1.0) / len(rows)))
    return np.asarray(logs[1:] - logs[:1] if label.outputs == 1 else logs - logs.mean())
