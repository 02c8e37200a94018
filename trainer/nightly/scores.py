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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config import less_is_better
from trainer.metrics import Floats, count_metric

#: Elements of a block of counts: what stays inside the processor's cache does not matter, memory does.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Scored:
    """Labels and two models' predictions of the same rows.

    Attributes:
        task: One of `trainer.metrics.NAMES`.
        labels: [rows]: 0 or 1, class index, or value.
        challenger, champion: [rows], or [rows, outputs] of classes and quantiles.
        units: [rows]: rows with the same value are drawn together; None: each by itself.
        quantiles: Of task quantile.
        prefix: What stands before the names of its metrics: of several labels, the label's.
    """

    task: str
    labels: Floats
    challenger: Floats
    champion: Floats
    units: NDArray[Any] | None = None
    quantiles: tuple[float, ...] = ()
    prefix: str = ""

    @property
    def drawn(self) -> int:
        """How many there are to draw: units, or rows."""
        return len(self.labels) if self.units is None else len(np.unique(self.units))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Scored:
        """Some of the rows."""
        units = None if self.units is None else self.units[rows]
        labels, challenger, champion = self.labels[rows], self.challenger[rows], self.champion[rows]
        return replace(self, labels=labels, challenger=challenger, champion=champion, units=units)


@dataclass(frozen=True)
class Gain:
    """A metric of both models, and the challenger's gain, signed so that more is better.

    Attributes:
        metric: Its name.
        rows: On how many.
        challenger, champion: The metric's values.
        gain, low, high: The gain and its interval.
        confidence: Of the interval.
        p_worse: One-sided p-value of "the true gain is at least -margin": small where the challenger is surely worse.
    """

    metric: str
    rows: int
    challenger: float
    champion: float
    gain: float
    low: float
    high: float
    confidence: float
    p_worse: float = math.nan


def compare(scored: Scored, metric: str, *, resamples: int, confidence: float, seed: int, margin: float = 0.0) -> Gain:
    """Scores both models and draws the interval of the gain.

    Args:
        scored: The rows.
        metric: Its name.
        resamples: How many draws.
        confidence: Of the two-sided expanded percentile interval.
        seed: The same seed and rows give the same interval.
        margin: The loss that `p_worse` allows, >= 0.

    Returns:
        The gain; NaN in all of it where the metric is not defined.
    """
    sign = -1.0 if less_is_better(metric) else 1.0
    ours, theirs = (
        count_metric(metric.removeprefix(scored.prefix), scored.task, scored.labels, predictions, scored.quantiles)
        for predictions in (scored.challenger, scored.champion)
    )
    rows = len(scored.labels)
    once = np.ones((1, rows))
    challenger, champion = float(ours(once)[0]), float(theirs(once)[0])
    drawn = np.concatenate([sign * (ours(c) - theirs(c)) for c in _draws(scored, resamples, seed)])
    drawn = drawn[np.isfinite(drawn)]
    tail = tail_of(confidence, scored.drawn)
    low, high = np.quantile(drawn, [tail, 1.0 - tail]) if len(drawn) else (np.nan, np.nan)
    gain = sign * (challenger - champion)
    p = p_worse(gain, drawn, scored.drawn, margin)
    return Gain(metric, rows, challenger, champion, gain, float(low), float(high), confidence, p)


def p_worse(gain: float, drawn: Floats, units: int, margin: float = 0.0) -> float:
    """One-sided p-value of the hypothesis that the true gain is at least -margin.

    The larger of two: that of a t test with the draws' own standard deviation, which reaches below what a thousand
    draws can count, and that of the expanded percentiles (`tail_of`), which see skewness.

    Args:
        gain: The gain on the rows as they are.
        drawn: [draws] gains of the draws, all finite.
        units: How many units were drawn at a time.
        margin: The loss that is allowed, >= 0.

    Returns:
        A number from 0 to 1; NaN where there are fewer than two units or draws.
    """
    if units < 2 or len(drawn) < 2:
        return math.nan
    narrow = math.sqrt((units - 1) / units)  # draws spread less than samples, by this factor
    spread = float(drawn.std(ddof=1)) / narrow
    distance = gain + margin
    t = distance / spread if spread > 0 else math.copysign(math.inf, distance) if distance else 0.0
    p = t_below(t, units - 1)
    reached = float(np.mean(drawn >= -margin))
    if 0.0 < reached < 1.0:
        p = max(p, t_below(NormalDist().inv_cdf(reached) * narrow, units - 1))
    return 1.0 if reached == 1.0 else p


def t_below(t: float, freedom: int) -> float:
    """Probability that Student's t lies below `t`, by Wallace's normal approximation (1959, equation 4.1)."""
    if math.isinf(t):
        return 0.0 if t < 0 else 1.0
    z = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return NormalDist().cdf(math.copysign(z, t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down (1979): p-values adjusted for their number.

    Rejecting every hypothesis whose adjusted p-value is at most a level rejects a true one with at most that
    probability, however the p-values depend on each other.

    Args:
        p_values: One for each hypothesis.

    Returns:
        [len(p_values)] adjusted p-values in the same order: the smallest times n, the next times n - 1 and so on, each
        at least the one before and at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    least = 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = least
    return adjusted


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
