"""Shift, scale and fill value of each packed number: arithmetic on statistics, no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import date_parts
from trainer.config import Config, Constant, Date, Feature, Numeric, Vector
from trainer.errors import ConfigError
from trainer.schema import ColumnStatistics, Layout, NumberField, Statistics

Floats = npt.NDArray[np.float64]

# keras.layers.Normalization works on float32 variances and floors the deviation at 1e-7; outside this
# range a column is brought near 1 by a power of two first, which loses no bit.
_SMALLEST, _LARGEST = 1e-4, 1e15


@dataclass(frozen=True)
class Scaling:
    """Scaling of `numbers` by packed column ([N] each): (x * factor - mean) / deviation.

    Attributes:
        means: Subtracted, in units of x * factor.
        deviations: Divided by; 1 for a constant column, so that it becomes 0 and not NaN.
        factors: Powers of two, nearly always all 1.
        fills: Scaled values that replace NaN; NaN where a null is an error.
        indicators: Packed columns (a vector's first) whose NaN gets an input of its own.
        clipped: bool: Columns whose scaled values are bent to stay within ±3.
        single: Packed columns of numeric features and dates, in order: all that is no part of a vector.
    """

    means: Floats
    deviations: Floats
    factors: Floats
    fills: Floats
    indicators: tuple[int, ...]
    clipped: npt.NDArray[np.bool_]
    single: tuple[int, ...]


def plan_scaling(layout: Layout, config: Config, statistics: Statistics) -> Scaling:
    """Returns the scaling of every packed number.

    Args:
        layout: How columns are packed.
        config: How each feature is scaled and imputed.
        statistics: Of the training split, in raw units (the offset of the field is subtracted here).

    Returns:
        Arrays of `layout.numbers_width` elements, float64.

    Raises:
        ConfigError: A constant that is not a number.
    """
    means, deviations, factors, fills = (np.zeros(layout.numbers_width) for _ in range(4))
    clipped = np.zeros(layout.numbers_width, np.bool_)
    indicators, single = [], []
    for field in layout.numbers:
        feature = config.data.features[field.column.name]
        column = statistics.columns[field.column.name]
        span = slice(field.start, field.start + field.column.size)
        mean, deviation = _shift_and_scale(feature, column, field)
        factors[span] = factor = np.array([_power_of_two(value) for value in deviation])
        means[span], deviations[span] = mean * factor, deviation * factor
        fills[span] = (_fill(feature, column, field) - mean) / deviation
        if feature.indicator:
            indicators.append(field.start)
        if isinstance(feature, Numeric):
            clipped[span] = feature.scale == "robust_clip"
            single.append(field.start)
        if isinstance(feature, Date):
            clipped[span] = [name in date_parts.GROWING for name in field.column.parts]
            single += range(span.start, span.stop)
    return Scaling(means, deviations, factors, fills, tuple(indicators), clipped, tuple(single))


def smooth_clip(scaled: Any, sqrt: Callable[[Any], Any]) -> Any:
    """Clips smoothly: x / sqrt(1 + (x / 3)²), nearly x around 0, never beyond ±3 (Holzmüller et al. 2024, RealMLP).

    Args:
        scaled: Scaled numbers of any shape.
        sqrt: The square root of what `scaled` is: NumPy's or Keras's.
    """
    return scaled / sqrt(1.0 + (scaled / 3.0) * (scaled / 3.0))


def _shift_and_scale(feature: Feature, column: ColumnStatistics, field: NumberField) -> tuple[Floats, Floats]:
    if isinstance(feature, Vector) and feature.scale == "standard":
        means, deviations = column.element_means, np.sqrt(column.element_variances)
        return np.asarray(means, np.float64) - field.offset, _positive(deviations)
    if isinstance(feature, Date):
        return _date_scale(column, field)
    if not isinstance(feature, Numeric) or feature.scale == "none":
        return np.zeros(field.column.size), np.ones(field.column.size)
    deviation = math.sqrt(column.variance)
    if feature.scale == "standard":
        mean = column.mean
    elif feature.scale == "min_max":
        mean, deviation = column.minimum, column.maximum - column.minimum
    else:
        mean = _quantile(column, 0.5)
        # Half of the rows with one value make the range 0; the deviation still knows the rest.
        deviation = (_quantile(column, 0.75) - _quantile(column, 0.25)) or deviation
    return np.array([mean - field.offset]), _positive([deviation])


def _date_scale(column: ColumnStatistics, field: NumberField) -> tuple[Floats, Floats]:
    """Sine and cosine stay; what grows is scaled by its quartiles, as numbers are; the rest by half its range."""
    low, middle, high = _parts_of([_quantile(column, p) for p in (0.25, 0.5, 0.75)], field)
    spans = _parts_of([column.maximum], field)[0] - _parts_of([column.minimum], field)[0]
    means, deviations = np.zeros(field.column.size), np.ones(field.column.size)
    for at, name in enumerate(field.column.parts):
        if name in date_parts.GROWING:
            means[at], deviations[at] = middle[at], (high[at] - low[at]) or spans[at]
        elif name in date_parts.CYCLES:
            least, count = date_parts.CYCLES[name]
            means[at], deviations[at] = least + (count - 1) / 2, count / 2
    return means, _positive(deviations)


def _parts_of(raw: Sequence[float], field: NumberField) -> Floats:
    """Packed columns of raw dates: float64 [len(raw), size]."""
    whole = np.array([int(value) for value in raw], np.int64)
    return np.asarray(date_parts.packed_parts(whole, field.column.arrow, field.column.parts), np.float64)


def scaled_quantiles(layout: Layout, statistics: Statistics, scaling: Scaling, bins: int) -> Floats:
    """Returns the scaled quantiles of each of `scaling.single`, ascending: float64 [K, bins + 1]."""
    edges, single = [], set(scaling.single)
    for field in layout.numbers:
        if field.start not in single:
            continue
        known = statistics.columns[field.column.name]
        percentiles = np.asarray(known.percentiles or (known.minimum, known.maximum))
        raw = percentiles[np.linspace(0, len(percentiles) - 1, bins + 1).round().astype(int)]
        packed = _date_edges(raw, field) if field.column.kind == "date" else raw[:, None] - field.offset
        edges.append(packed.T)  # [columns of the field, bins + 1]
    at = list(scaling.single)
    rows = np.concatenate(edges) * scaling.factors[at, None]
    scaled = (rows - scaling.means[at, None]) / scaling.deviations[at, None]
    return np.where(scaling.clipped[at, None], smooth_clip(scaled, np.sqrt), scaled)


def _date_edges(raw: Floats, field: NumberField) -> Floats:
    """Quantiles of what grows; even steps over the range of what begins again: [bins + 1, size]."""
    edges = _parts_of(list(raw), field)
    for at, name in enumerate(field.column.parts):
        if name not in date_parts.GROWING:
            least, count = date_parts.CYCLES.get(name, (-1, 3))
            edges[:, at] = np.linspace(least, least + count - 1, len(raw))
    return edges


def _positive(deviations: Sequence[float] | Floats) -> Floats:
    values = np.asarray(deviations, np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, 1.0)


def _quantile(column: ColumnStatistics, probability: float) -> float:
    return column.quantiles.get(probability, column.mean)


def _power_of_two(deviation: float) -> float:
    if _SMALLEST <= deviation <= _LARGEST:
        return 1.0
    # Factor and scaled value both have to fit float32.
    return math.ldexp(1.0, max(-120, min(120, -round(math.log2(deviation)))))


def _fill(feature: Feature, column: ColumnStatistics, field: NumberField) -> float | Floats:
    """Returns the fill value in packed units (raw minus offset, or the parts of a date); NaN where there is none."""
    impute, is_date = feature.impute, isinstance(feature, Date)
    if impute is None:
        return math.nan
    if not isinstance(impute, Constant):
        raw = column.mean if impute == "mean" else _quantile(column, 0.5)
    elif is_date:
        raw = date_parts.raw_of(str(impute.constant), field.column.arrow)
    else:
        try:
            raw = float(impute.constant)
        except ValueError as error:
            raise ConfigError(
                f"impute.constant {impute.constant!r} is not a number",
                where=f"run.data.features.{field.column.name}",
                remedy="Give a number, or impute: mean or median.",
            ) from error
    return _parts_of([raw], field).reshape(-1) if is_date else raw - field.offset
