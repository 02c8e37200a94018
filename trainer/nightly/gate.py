"""The gate: whether a challenger may replace the champion in production. Pure arithmetic without I/O.

A challenger passes when all of these hold:

1. its metrics are within the absolute `limits` (the only condition for the first run);
2. the interval of its gain over the champion lies above `min_delta`, or, where `max_loss` is set, above
   -`max_loss`: not "looks better" but "is better, or not worse, with that confidence";
3. on no value of a named slice the challenger is surely worse by more than `slice_max_loss`. The more slices there
   are, the likelier one of them looks worse by chance, so their p-values are adjusted by Holm's step-down: of equally
   good models at most (1 - confidence) / 2 are refused by their slices, whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config import METRICS_OF_TASK, Promote, less_is_better
from trainer.metrics import Floats, value
from trainer.nightly.scores import Gain, Scored, compare, holm
from trainer.schema import LabelPlace

#: Slices of a column beyond these, by rows, are not looked at.
_MOST_SLICES = 50
_LEAST_UNITS = 7


@dataclass(frozen=True)
class Slice:
    """The gain on the rows with one value of a column.

    Attributes:
        column, value: Which rows.
        gain: On them; its interval is that of this slice by itself.
        decides: Whether it has rows and units enough to count.
        worse: Whether it keeps the challenger out.
        p_adjusted: `gain.p_worse` adjusted for the number of slices that decide; None where it does not decide.
    """

    column: str
    value: str
    gain: Gain
    decides: bool
    worse: bool = False
    p_adjusted: float | None = None


@dataclass(frozen=True)
class Decision:
    """Decision of the gate.

    Attributes:
        passed: Whether the challenger may be promoted.
        why: The reason, in one line.
        champion: The run it was compared with, None for the first.
        metrics: The challenger's value of every metric on the holdout.
        gain: Against the champion, None for the first run.
        slices: By column and value.
    """

    passed: bool
    why: str
    champion: str | None
    rows: int
    metrics: Mapping[str, float]
    gain: Gain | None = None
    slices: tuple[Slice, ...] = ()


def decide_first(rules: Promote, targets: Sequence[LabelPlace], labels: Floats, challenger: Floats) -> Decision:
    """Decides on the first run, which has no champion to beat, by the absolute limits alone.

    Args:
        rules: The job's `promote`.
        targets: What is predicted.
        labels: [rows], or of several labels [rows, W].
        challenger: [rows] or [rows, outputs].
    """
    metrics = metrics_of_all(targets, labels, challenger)
    broken = _broken(rules, metrics)
    why = broken or "the first run" + (" keeps the limits" if rules.limits else "; no limits are set")
    return Decision(not broken, why, None, len(labels), metrics)


def decide(
    rules: Promote,
    scored: Scored,
    champion: str,
    slices: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Decision:
    """Compares a challenger with the champion.

    Args:
        rules: The job's `promote`.
        scored: The predictions of both models for the same fresh rows.
        champion: The run in production.
        slices: Column -> its value in every row, for the columns of `rules.slices`.
        metrics: Of several labels, the challenger's for all of them; `scored` is the label that decides.
    """
    metric = rules.metric or METRICS_OF_TASK[scored.task][0]
    if metrics is None:
        metrics = _metrics(scored.task, scored.labels, scored.challenger, scored.quantiles)
    gain = _compare(rules, scored, metric)
    judged = _judged(
        rules,
        [one for column, values in (slices or {}).items() for one in _slices(rules, scored, metric, column, values)],
    )
    why = (
        _unanswered(scored, champion)
        or _broken(rules, metrics)
        or _too_few_units(rules, scored)
        or _refused(rules, gain, champion)
        or _worse_slices(judged)
    )
    reason = why or f"{_signed(gain)} over {champion}, {_threshold(rules)}"
    return Decision(not why, reason, champion, gain.rows, metrics, gain, judged)


def metrics_of_all(targets: Sequence[LabelPlace], labels: Floats, challenger: Floats) -> dict[str, float]:
    """Every metric of every label by its name; see `LabelPlace`."""
    return {
        at.prefix + name: value
        for at in targets
        for name, value in _metrics(
            at.label.task, at.labels(labels), _one_or_several(at, challenger), at.label.quantiles
        ).items()
    }


def score(
    rules: Promote, targets: Sequence[LabelPlace], labels: Floats, challenger: Floats, champion: Floats, units: Any
) -> Scored:
    """The label that decides, with both models' predictions: the one of `rules.metric`, or the only one."""
    at = next((one for one in targets if _is_of(rules.metric, one)), targets[0])
    ours, theirs = _one_or_several(at, challenger), _one_or_several(at, champion)
    return Scored(at.label.task, at.labels(labels), ours, theirs, units, at.label.quantiles, at.prefix)


def _is_of(metric: str | None, at: LabelPlace) -> bool:
    name = metric or ""
    return name.startswith(at.prefix) and name.removeprefix(at.prefix) in METRICS_OF_TASK[at.label.task]


def _one_or_several(at: LabelPlace, predictions: Floats) -> Floats:
    """A label's predictions: [rows], or [rows, outputs] of classes and quantiles."""
    own: Floats = at.predictions(predictions)
    return own if at.label.classes or at.label.quantiles or own.ndim == 1 else own[:, 0]


def _metrics(task: str, labels: Floats, challenger: Floats, quantiles: Sequence[float]) -> dict[str, float]:
    return {name: value(name, task, labels, challenger, quantiles) for name in METRICS_OF_TASK[task]}


def _compare(rules: Promote, scored: Scored, metric: str) -> Gain:
    return compare(
        scored,
        metric,
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=rules.seed,
        margin=rules.slice_max_loss,
    )


def _broken(rules: Promote, metrics: Mapping[str, float]) -> str:
    """Returns the first absolute limit that is not met, as a sentence; "" where all are."""
    for name, limit in rules.limits.items():
        value = metrics[name]
        good = value <= limit if less_is_better(name) else value >= limit
        if not good:  # also where it is NaN
            bound = "at most" if less_is_better(name) else "at least"
            return f"{name} is {value:.4g} on the holdout; promote.limits asks for {bound} {limit:g}"
    return ""


def _unanswered(scored: Scored, champion: str) -> str:
    """Rows without an answer cannot be compared: they lack a value that a model's training never lacked."""
    for name, predictions in (("this run", scored.challenger), (champion, scored.champion)):
        lost = int(np.isnan(predictions).reshape(len(predictions), -1).any(axis=1).sum())
        if lost:
            return f"{name} has no answer for {lost} of the holdout's {len(predictions)} rows: a column has no impute"
    return ""


def _too_few_units(rules: Promote, scored: Scored) -> str:
    """Resamples of a handful of units hardly differ, so their interval would be too narrow."""
    if _units_suffice(scored):
        return ""
    return f"promote.by: {scored.drawn} values of {rules.by} in the holdout tell no interval; it takes {_LEAST_UNITS}"


def _units_suffice(scored: Scored) -> bool:
    return scored.units is None or scored.drawn >= _LEAST_UNITS


def _refused(rules: Promote, gain: Gain, champion: str) -> str:
    if not math.isfinite(gain.low):
        return f"{gain.metric} is not defined on the holdout's {gain.rows} rows"
    least = -rules.max_loss if rules.max_loss is not None else rules.min_delta
    if gain.low > least:
        return ""
    return f"{_signed(gain)} over {champion}: not {_threshold(rules)}"


def _threshold(rules: Promote) -> str:
    if rules.max_loss is not None:
        return f"surely above −{rules.max_loss:g}"
    return f"surely above {rules.min_delta:g}"


def _signed(gain: Gain) -> str:
    return f"{gain.metric} gains {gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})".replace("-", "−")


def _slices(
    rules: Promote, scored: Scored, metric: str, column: str, values: Sequence[Any] | NDArray[Any]
) -> list[Slice]:
    texts = np.array(["null" if v is None else str(v) for v in values])
    names, counts = np.unique(texts, return_counts=True)
    most = names[np.argsort(-counts, kind="stable")][:_MOST_SLICES]
    slices = []
    for name in most:
        rows = scored.take(texts == name)
        gain = _compare(rules, rows, metric)
        decides = gain.rows >= rules.min_slice_rows and _units_suffice(rows) and math.isfinite(gain.p_worse)
        slices.append(Slice(column, str(name), gain, decides))
    return slices


def _judged(rules: Promote, slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """Returns the slices with their verdicts; those that decide are one family for Holm's step-down."""
    family = [place for place, one in enumerate(slices) if one.decides]
    adjusted = dict(zip(family, holm([slices[place].gain.p_worse for place in family]), strict=True))
    level = (1.0 - rules.confidence) / 2.0
    return tuple(
        replace(one, worse=adjusted[place] <= level, p_adjusted=adjusted[place]) if place in adjusted else one
        for place, one in enumerate(slices)
    )


def _worse_slices(slices: Sequence[Slice]) -> str:
    worse = [s for s in slices if s.worse]
    if not worse:
        return ""
    shown = ", ".join(f"{s.column}={s.value} ({_signed(s.gain)})" for s in worse[:3])
    return f"worse on {len(worse)} slice{'s' if len(worse) > 1 else ''}: {shown}"
