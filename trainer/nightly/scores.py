"""A metric of two models on the same rows, and how sure its difference is: the paired bootstrap.

Rows are drawn with replacement, the same rows for both models, and the metric's difference is computed on
each draw; its percentiles are the interval (Efron and Tibshirani 1993, *An Introduction to the Bootstrap*,
chapters 13 and 16). Pairing takes out what both models find hard, so a far smaller difference can be seen
than from two separate intervals. The percentiles are expanded for few units, as a t interval is (`tail_of`).

All of it is arithmetic on counts: a draw is how often each row was taken, [draws, rows], and every metric of
`trainer.metrics` is a function of such counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config import LESS_IS_BETTER
from trainer.metrics import Floats, count_metric

#: Elements of a block of counts: what stays inside the processor's cache does not matter, memory does.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Scored:
    """Labels and two models' predictions of the same rows.

    Attributes:
        task: binary, multiclass or regression.
        labels: [rows]: 0 or 1, class index, or value.
        challenger, champion: [rows], multiclass [rows, classes].
        units: [rows]: rows with the same value are drawn together; None: each by itself.
    """

    task: str
    labels: Floats
    challenger: Floats
    champion: Floats
    units: NDArray[Any] | None = None

    @property
    def drawn(self) -> int:
        """How many there are to draw: units, or rows."""
        return len(self.labels) if self.units is None else len(np.unique(self.units))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Scored:
        """Some of the rows."""
        units = None if self.units is None else self.units[rows]
        return Scored(self.task, self.labels[rows], self.challenger[rows], self.champion[rows], units)


@dataclass(frozen=True)
class Gain:
    """A metric of both models, and the challenger's gain, signed so that more is better.

    Attributes:
        metric: Its name.
        rows: On how many.
        challenger, champion: The metric's values.
        gain, low, high: The gain and its interval.
        confidence: Of the interval.
    """

    metric: str
    rows: int
    challenger: float
    champion: float
    gain: float
    low: float
    high: float
    confidence: float


def compare(scored: Scored, metric: str, *, resamples: int, confidence: float, seed: int) -> Gain:
    """Scores both models and draws the interval of the gain.

    Args:
        scored: The rows.
        metric: Its name.
        resamples: How many draws.
        confidence: Of the two-sided expanded percentile interval.
        seed: The same seed and rows give the same interval.

    Returns:
        The gain; NaN in all of it where the metric is not defined.
    """
    sign = -1.0 if metric in LESS_IS_BETTER else 1.0
    ours = count_metric(metric, scored.task, scored.labels, scored.challenger)
    theirs = count_metric(metric, scored.task, scored.labels, scored.champion)
    rows = len(scored.labels)
    once = np.ones((1, rows))
    challenger, champion = float(ours(once)[0]), float(theirs(once)[0])
    drawn = np.concatenate([sign * (ours(c) - theirs(c)) for c in _draws(scored, resamples, seed)])
    drawn = drawn[np.isfinite(drawn)]
    tail = tail_of(confidence, scored.drawn)
    low, high = np.quantile(drawn, [tail, 1.0 - tail]) if len(drawn) else (np.nan, np.nan)
    return Gain(metric, rows, challenger, champion, sign * (challenger - champion), float(low), float(high), confidence)


def tail_of(confidence: float, units: int) -> float:
    """The share of the draws that lies beyond each end of the interval.

    Draws of n units spread less than samples do, by sqrt((n - 1) / n), and a normal quantile stands where a t
    quantile belongs: percentiles are too narrow for few units. The expanded percentile interval makes up for both:
    Phi(-sqrt(n / (n - 1)) t), t the quantile with n - 1 degrees of freedom (Hesterberg 2015, *What Teachers Should
    Know About the Bootstrap*, section 5.3). For 14 units and 95 % that is 1.25 % instead of 2.5 %.

    Args:
        confidence: Of the two-sided interval.
        units: n, how many are drawn.
    """
    if units < 2:
        return 0.0
    quantile = _t_quantile((1.0 + confidence) / 2.0, units - 1)
    return NormalDist().cdf(-math.sqrt(units / (units - 1)) * quantile)


def _t_quantile(p: float, freedom: int) -> float:
    """Student's t by the expansion about the normal quantile (Abramowitz and Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * freedom**4)
    )


def _draws(scored: Scored, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is taken: [draws, rows] a block. Units are drawn, rows go with their unit.

    Whole units where they are given (the cluster bootstrap, Davison and Hinkley 1997, section 3.8).
    """
    generator = np.random.default_rng(seed)
    rows = len(scored.labels)
    unit_of = None if scored.units is None else np.unique(scored.units, return_inverse=True)[1]
    units = rows if unit_of is None else int(unit_of.max(initial=0)) + 1
    at_once = max(1, min(resamples, _BLOCK // max(rows, 1)))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        taken = generator.integers(0, units, (draws, units))
        taken += np.arange(draws)[:, None] * units
        # [draws * units] -> [draws, units] -> [draws, rows]
        counts = np.bincount(taken.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)
        yield counts if unit_of is None else counts[:, unit_of]
