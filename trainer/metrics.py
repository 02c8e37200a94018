"""Metrics of predictions, in float64: the one definition that `evaluate`, the gate, the report and final figures use.

Each metric is a function of counts: how often each row is taken. All rows once give the metric itself; the counts of
bootstrap draws, [draws, rows], give its distribution. Rank metrics (AUC, average precision) are exact: every distinct
score is a threshold. This module needs numpy alone.

A metric is NaN where it is not defined: a ranking of rows of one class, a share of no rows, or any prediction that is
not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Counts [draws, rows] -> the metric's value for each draw [draws].
CountMetric = Callable[[Floats], Floats]

#: Every metric of a task, in the order in which they are shown.
NAMES: dict[str, tuple[str, ...]] = {
    "binary": ("loss", "auc", "pr_auc", "accuracy", "precision", "recall", "brier"),
    "multiclass": ("loss", "accuracy", "top5"),
    "multilabel": ("loss", "auc", "accuracy", "exact_match", "brier"),
    "regression": ("loss", "mae", "rmse", "r2"),
    "count": ("loss", "deviance", "mae", "rmse"),
    "quantile": ("loss", "pinball", "coverage"),
}
#: Tasks whose predictions are [rows, outputs] and not [rows].
_SEVERAL_OUTPUTS = ("multiclass", "multilabel", "quantile")
#: Metrics that are the mean of a value of each row; `rmse` is the square root of one.
_MEANS = ("loss", "accuracy", "exact_match", "top5", "mae", "rmse", "brier", "deviance", "pinball", "coverage")
#: A binary prediction above this counts as positive.
THRESHOLD = 0.5
#: Probabilities are clipped this far from 0 and 1, as Keras does, where the logits behind them are not known.
_SMALLEST_PROBABILITY = 1e-7
#: Added to expected counts, as Keras's Poisson does, so that they have a logarithm.
_SMALLEST_COUNT = 1e-7


def value(name: str, task: str, labels: NDArray[Any], predictions: Floats, quantiles: Sequence[float] = ()) -> float:
    """A metric over all rows.

    Args:
        name: One of `NAMES[task]`. `loss` is the log loss; of a regression the mean squared error, of counts Poisson's,
            of quantiles the pinball loss.
        task: One of `NAMES`.
        labels: [rows], any dtype: 0 or 1, class index, or value; multilabel [rows, classes] of 0 and 1.
        predictions: [rows] probability of class 1, or value; [rows, classes] probabilities, [rows, quantiles].
        quantiles: Of task quantile, rising.

    Returns:
        The metric; NaN where it is not defined.
    """
    over = count_metric(name, task, labels.astype(np.float64), predictions, quantiles)
    return float(over(np.ones((1, len(labels))))[0])


def values(
    task: str,
    labels: NDArray[Any],
    predictions: NDArray[Any],
    names: Iterable[str] = (),
    quantiles: Sequence[float] = (),
) -> dict[str, float]:
    """The metrics `names` over all rows, by name; by default all of the task's.

    The other arguments are those of `value`; predictions may also be [rows, 1], and of any dtype.
    """
    running = RunningMetrics(task, tuple(names), quantiles)
    running.update(labels, predictions)
    return running.result()


class RunningMetrics:
    """Metrics over rows that arrive in blocks.

    Means of rows are kept as float64 sums. Rank metrics, shares and r2 need every row: 16 bytes a row, and about 80
    for a moment while `result` ranks them.

    Args:
        task: One of `NAMES`.
        names: Which metrics; default all of the task's.
        quantiles: Of task quantile.

    Attributes:
        rows: Rows so far.
    """

    def __init__(self, task: str, names: Sequence[str] = (), quantiles: Sequence[float] = ()) -> None:
        self.rows = 0
        self._task, self._names, self._quantiles = task, tuple(names) or NAMES[task], quantiles
        self._sums = {name: 0.0 for name in self._names if name in _MEANS}
        self._kept: list[tuple[Floats, Floats]] = []
        self._labels_seen: set[float] = set()

    def update(self, labels: NDArray[Any], predictions: NDArray[Any], logits: NDArray[Any] | None = None) -> None:
        """Adds a block of rows.

        Args:
            labels: [rows].
            predictions: [rows], [rows, 1] or [rows, outputs].
            logits: What the probabilities were made of, in their shape; then the log loss is not clipped.
        """
        y, p = _plain(self._task, labels, predictions)
        z = None if logits is None else _plain(self._task, labels, logits)[1]
        self.rows += len(y)
        for name in self._sums:
            exact = name == "loss" and z is not None and np.isfinite(z).all()
            losses = _loss_of_logits(self._task, y, z) if exact else row_values(name, self._task, y, p, self._quantiles)
            self._sums[name] += float(losses.sum())
        if len(self._sums) < len(self._names):
            self._kept.append((y, p))
        if len(self._labels_seen) < 2:
            self._labels_seen.update(np.unique(y)[:2].tolist())

    def result(self) -> dict[str, float]:
        """Each metric by name; NaN where it is not defined."""
        if not self.rows:
            return dict.fromkeys(self._names, float("nan"))
        if self._kept:
            self._kept = [(np.concatenate([y for y, _ in self._kept]), np.concatenate([p for _, p in self._kept]))]
        results = {}
        for name in self._names:
            if name in self._sums:
                mean = self._sums[name] / self.rows
                results[name] = float(np.sqrt(mean)) if name == "rmse" else mean
            else:
                results[name] = value(name, self._task, *self._kept[0], self._quantiles)
        return results

    def undefined(self, results: Mapping[str, float]) -> dict[str, str]:
        """Metric -> why it is not defined, for those of a result that are NaN."""
        labels = np.array(sorted(self._labels_seen))
        return {name: _undefined_reason(name, self._task, labels) for name, v in results.items() if v != v}


def _undefined_reason(name: str, task: str, labels: NDArray[Any]) -> str:
    """Why a metric that is NaN is not defined, as a clause for a person."""
    if not len(labels):
        return "there are no rows"
    if task == "binary" and name in ("auc", "pr_auc", "recall") and len(np.unique(labels)) < 2:
        return f"every label is {labels[0]:g}"
    if name == "auc":
        return "no class has rows with it and rows without it"
    if name == "precision":
        return f"no prediction is above {THRESHOLD}"
    if name == "r2" and len(np.unique(labels)) < 2:
        return "all labels are equal"
    return "a prediction is not finite"


def count_metric(
    name: str, task: str, labels: Floats, predictions: Floats, quantiles: Sequence[float] = ()
) -> CountMetric:
    """The metric that `value` takes, as a function of how often each row counts: [draws, rows] -> values [draws]."""
    if not np.isfinite(predictions).all():
        return lambda counts: np.full(len(counts), np.nan)
    if task == "multilabel" and name == "auc":
        return _mean_over_classes([_auc(y > THRESHOLD, p) for y, p in zip(labels.T, predictions.T, strict=True)])
    if name == "auc":
        return _auc(labels > THRESHOLD, predictions)
    if name == "pr_auc":
        return _average_precision(labels > THRESHOLD, predictions)
    if name in ("precision", "recall"):
        return _hit_share(labels > THRESHOLD, predictions > THRESHOLD, of_predicted=name == "precision")
    if name == "r2":
        return _r2(labels, predictions)
    per_row = row_values(name, task, labels, predictions, quantiles)
    if name == "rmse":
        return lambda counts: np.sqrt(_mean(counts, per_row))
    return lambda counts: _mean(counts, per_row)


def _plain(task: str, labels: NDArray[Any], predictions: NDArray[Any]) -> tuple[Floats, Floats]:
    y, p = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    y = y.reshape(len(y), -1) if task == "multilabel" else y.reshape(-1)
    return y, p.reshape(len(y), -1) if task in _SEVERAL_OUTPUTS else p.reshape(-1)


def _mean(counts: Floats, per_row: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(counts @ per_row / counts.sum(axis=1))


def row_values(name: str, task: str, labels: Floats, predictions: Floats, quantiles: Sequence[float] = ()) -> Floats:
    """What a metric is the mean of, [rows] (rmse: its square root); see `count_metric`."""
    if not np.isfinite(predictions).all():
        return np.full(len(labels), np.nan)
    if task == "multilabel":
        return _mean_over_columns(name, labels, predictions)
    if task == "multiclass":
        return _class_values(name, labels.astype(np.intp), predictions)
    if task == "quantile":
        return _quantile_values(name, labels, predictions, quantiles)
    if task == "count" and name in ("loss", "deviance"):
        return _count_values(name, labels, predictions + _SMALLEST_COUNT)
    if task in ("regression", "count"):
        return np.asarray(np.abs(predictions - labels) if name == "mae" else (predictions - labels) ** 2)
    if name == "accuracy":
        return np.asarray((predictions > THRESHOLD) == (labels > THRESHOLD), np.float64)
    if name == "brier":
        return np.asarray((predictions - labels) ** 2)
    safe = np.clip(predictions, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
    return np.asarray(np.where(labels > THRESHOLD, -np.log(safe), -np.log1p(-safe)))


def _mean_over_columns(name: str, labels: Floats, predictions: Floats) -> Floats:
    """Of each row the mean of a binary metric over its classes; or whether all of them are right."""
    if name == "exact_match":
        return np.asarray(((predictions > THRESHOLD) == (labels > THRESHOLD)).all(axis=1), np.float64)
    return np.asarray(row_values(name, "binary", labels, predictions).mean(axis=1))


def _quantile_values(name: str, labels: Floats, predictions: Floats, quantiles: Sequence[float]) -> Floats:
    """Pinball loss, the mean over quantiles; or whether the label lies between the outer two."""
    if name == "coverage":
        return np.asarray((labels >= predictions[:, 0]) & (labels <= predictions[:, -1]), np.float64)
    errors, levels = labels[:, None] - predictions, np.asarray(quantiles)
    return np.asarray(np.maximum(levels * errors, (levels - 1) * errors).mean(axis=1))


def _count_values(name: str, labels: Floats, expected: Floats) -> Floats:
    """Poisson's loss without its constant, as Keras has it; or the deviance, which is 0 where all is predicted."""
    if name == "loss":
        return np.asarray(expected - labels * np.log(expected))
    logs = np.where(labels > 0, labels * np.log(np.maximum(labels, _SMALLEST_COUNT) / expected), 0.0)
    return np.asarray(2 * (logs - labels + expected))


def _class_values(name: str, classes: NDArray[np.intp], predictions: Floats) -> Floats:
    if name == "accuracy":
        return np.asarray(predictions.argmax(axis=1) == classes, np.float64)
    chosen = predictions[np.arange(len(classes)), classes]
    if name == "top5":
        return np.asarray((predictions > chosen[:, None]).sum(axis=1) < 5, np.float64)
    return np.asarray(-np.log(np.clip(chosen, _SMALLEST_PROBABILITY, 1.0)))


def _loss_of_logits(task: str, labels: Floats, logits: Floats | None) -> Floats:
    """The log loss of each row [rows] from logits, which no clipping bounds."""
    assert logits is not None
    if task == "multiclass":
        chosen = logits[np.arange(len(labels)), labels.astype(np.intp)]
        most = logits.max(axis=1)
        return np.asarray(most - chosen + np.log(np.exp(logits - most[:, None]).sum(axis=1)))
    # log(1 + exp(z)) - y z
    losses = np.logaddexp(0.0, logits) - np.where(labels > THRESHOLD, logits, 0.0)
    return np.asarray(losses.mean(axis=1) if task == "multilabel" else losses)


def _mean_over_classes(metrics: Sequence[CountMetric]) -> CountMetric:
    """The mean over those classes of which the metric is defined."""

    def over(counts: Floats) -> Floats:
        by_class = np.stack([metric(counts) for metric in metrics])  # [classes, draws]
        defined = np.isfinite(by_class)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(defined, by_class, 0.0).sum(axis=0) / defined.sum(axis=0))

    return over


def _r2(labels: Floats, predictions: Floats) -> CountMetric:
    errors = (predictions - labels) ** 2
    centred = labels - (labels.mean() if len(labels) else 0.0)  # the spread of large labels would cancel
    squares = centred**2

    def over(counts: Floats) -> Floats:
        spread = counts @ squares - (counts @ centred) ** 2 / counts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(spread > 0, 1.0 - counts @ errors / spread, np.nan))

    return over


def _hit_share(positive: NDArray[np.bool_], predicted: NDArray[np.bool_], *, of_predicted: bool) -> CountMetric:
    hits = (positive & predicted).astype(np.float64)
    all_rows = (predicted if of_predicted else positive).astype(np.float64)

    def over(counts: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(counts @ hits / (counts @ all_rows))

    return over


def _auc(positive: NDArray[np.bool_], scores: Floats) -> CountMetric:
    """Area under the ROC: the share of pairs in the right order, ties half (Mann and Whitney 1947)."""

    def area(true: Floats, false: Floats) -> Floats:
        below = np.cumsum(false, axis=1) - false
        pairs = true.sum(axis=1) * false.sum(axis=1)
        return np.asarray((true * (below + false / 2)).sum(axis=1) / pairs)

    return _area_by_score(positive, scores, area)


def _average_precision(positive: NDArray[np.bool_], scores: Floats) -> CountMetric:
    """Precision over recall, summed without interpolation. Not defined for rows of one class."""

    def area(true: Floats, false: Floats) -> Floats:
        # From the highest score down: [draws, scores].
        true, false = true[:, ::-1], false[:, ::-1]
        hits, misses = np.cumsum(true, axis=1), np.cumsum(false, axis=1)
        precision = hits / np.maximum(hits + misses, 1.0)
        share = (true * precision).sum(axis=1) / hits[:, -1]
        return np.asarray(np.where(misses[:, -1] > 0, share, np.nan))

    return _area_by_score(positive, scores, area)


def _area_by_score(
    positive: NDArray[np.bool_], scores: Floats, area: Callable[[Floats, Floats], Floats]
) -> CountMetric:
    """A metric of the positive and negative rows of each distinct score, in rising order: [draws, scores] each."""
    order = np.argsort(scores, kind="stable")
    ranked, true_of_row = scores[order], positive[order].astype(np.float64)
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else order

    def over(counts: Floats) -> Floats:
        taken = counts[:, order]
        everything = np.add.reduceat(taken, starts, axis=1)
        true = np.add.reduceat(taken * true_of_row, starts, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return area(true, everything - true)

    return over
