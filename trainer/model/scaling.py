"""Which shift, scale and stand-in each packed number gets: arithmetic on statistics, no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.config import Config, Constant, Feature, Numeric, Vector
from trainer.errors import ConfigError
from trainer.schema import ColumnStatistics, Layout, NumberField, Statistics

Floats = npt.NDArray[np.float64]

# keras.layers.Normalization works on float32 variances and floors the deviation at 1e-7; outside this
# range a column is brought near 1 by a power of two first, which loses no bit.
_SMALLEST, _LARGEST = 1e-4, 1e15


@dataclass(frozen=True)
class Scaling:
    """What happens to `numbers`, per packed column ([N] each): (x * factor - mean) / deviation.

    Attributes:
        means: Subtracted, in units of x * factor.
        deviations: Divided by; 1 for a constant column, so that it turns into 0 and not into NaN.
        factors: Powers of two, nearly always all 1.
        fills: Scaled values that stand in for NaN; NaN where a null is an error.
        indicators: Packed columns (a vector's first) whose NaN gets an input of its own.
        clipped: bool: Columns whose scaled values are bent to stay within ±3.
        single: Packed columns of numeric features, in order: all that is no part of a vector.
    """

    means: Floats
    deviations: Floats
    factors: Floats
    fills: Floats
    indicators: tuple[int, ...]
    clipped: npt.NDArray[np.bool_]
    single: tuple[int, ...]


def plan_scaling(layout: Layout, config: Config, statistics: Statistics) -> Scaling:
    """The scaling of every packed number.

    Args:
        layout: How columns are packed.
        config: Says how each feature is scaled and imputed.
        statistics: Of the training split, in raw units (the field's offset is taken off here).

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
    return Scaling(means, deviations, factors, fills, tuple(indicators), clipped, tuple(single))


def smooth_clip(scaled: Any, sqrt: Callable[[Any], Any]) -> Any:
    """Bends numbers: x / sqrt(1 + (x / 3)²), nearly x around 0, never beyond ±3 (Holzmüller et al. 2024, RealMLP).

    Args:
        scaled: Scaled numbers of any shape.
        sqrt: The square root of what `scaled` is: NumPy's or Keras's.
    """
    return scaled / sqrt(1.0 + (scaled / 3.0) * (scaled / 3.0))


def _shift_and_scale(feature: Feature, column: ColumnStatistics, field: NumberField) -> tuple[Floats, Floats]:
    if isinstance(feature, Vector) and feature.scale == "standard":
        means, deviations = column.element_means, np.sqrt(column.element_variances)
        return np.asarray(means, np.float64) - field.offset, _positive(deviations)
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


def _fill(feature: Feature, column: ColumnStatistics, field: NumberField) -> float:
    """The stand-in in packed units (raw minus offset); NaN where there is none."""
    impute = feature.impute
    if impute is None:
        return math.nan
    if isinstance(impute, Constant):
        try:
            return float(impute.constant) - field.offset
        except ValueError as error:
            raise ConfigError(
                f"impute.constant {impute.constant!r} is not a number",
                where=f"run.data.features.{field.column.name}",
                remedy="Give a number, or impute: mean or median.",
            ) from error
    return (column.mean if impute == "mean" else _quantile(column, 0.5)) - field.offset
