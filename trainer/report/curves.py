"""The numbers behind the report's pictures: ROC, precision–recall, calibration, confusion. numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.metrics import Floats, value

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic.

    Attributes:
        false_positive_rate, true_positive_rate: [P], rising from 0 to 1.
        thresholds: [P] falling; a row counts as positive at or above it. The first is infinite.
        auc: Area under it; ties count half (equals the Mann-Whitney statistic).
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats
    auc: float


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision over recall.

    Attributes:
        precision, recall: [P]; recall rises.
        thresholds: [P] falling.
        average_precision: Sum of precision times the step in recall, without interpolation.
        base_rate: Share of positive rows: the precision of guessing.
    """

    precision: Floats
    recall: Floats
    thresholds: Floats
    average_precision: float
    base_rate: float


@dataclass(frozen=True)
class Calibration:
    """How often what was predicted came true, in bins of equal width that hold rows.

    Attributes:
        predicted: [B] mean prediction. observed: [B] share of positive rows. rows: [B].
        low, high: [B] Wilson's 95 % interval of `observed`.
        brier: Mean squared error of the probabilities.
        error: Expected calibration error: mean of |predicted - observed| over the rows.
    """

    predicted: Floats
    observed: Floats
    rows: Ints
    low: Floats
    high: Floats
    brier: float
    error: float


def roc(labels: NDArray[np.bool_], scores: Floats) -> Roc:
    """Computes the ROC of `scores` [rows]; both classes must be there."""
    true, false, thresholds = _cumulated(labels, scores)
    x = np.concatenate([[0.0], false / false[-1]])
    y = np.concatenate([[0.0], true / true[-1]])
    return Roc(x, y, np.concatenate([[np.inf], thresholds]), value("auc", "binary", labels, scores))


def precision_recall(labels: NDArray[np.bool_], scores: Floats) -> PrecisionRecall:
    """Computes precision and recall of `scores` [rows] at every threshold; both classes must be there."""
    true, false, thresholds = _cumulated(labels, scores)
    precision, recall = true / (true + false), true / true[-1]
    average = value("pr_auc", "binary", labels, scores)
    return PrecisionRecall(precision, recall, thresholds, average, float(labels.mean()))


def _cumulated(labels: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, Floats]:
    """True and false positives [P] at each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true = np.cumsum(labels, dtype=np.float64)[last]
    return true, last + 1.0 - true, scores[last]


def calibration(labels: NDArray[np.bool_], scores: Floats, bins: int = 10) -> Calibration:
    """Compares predicted probabilities [rows] in [0, 1] with what happened."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges[1:-1], scores), 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    filled = rows > 0
    count = rows[filled].astype(np.float64)
    predicted = np.bincount(place, weights=scores, minlength=bins)[filled] / count
    observed = np.bincount(place, weights=labels, minlength=bins)[filled] / count
    low, high = _wilson(observed, count)
    brier = value("brier", "binary", labels, scores)
    error = float(np.sum(np.abs(predicted - observed) * count) / len(scores))
    return Calibration(predicted, observed, rows[filled], low, high, brier, error)


def _wilson(share: Floats, rows: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """The score interval of a share (Wilson 1927): right also near 0 and 1, unlike share ± z·se."""
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts rows: [classes, classes], actual class down, predicted class across."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def thin(x: Floats, y: Floats, most: int = 240) -> Ints:
    """Indexes [<= most + 2] of points of a curve in the unit square, evenly far along its length."""
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    places = np.searchsorted(way, np.linspace(0.0, way[-1], min(most, len(x))))
    return np.unique(np.concatenate([[0], np.minimum(places, len(x) - 1), [len(x) - 1]])).astype(np.int64)
