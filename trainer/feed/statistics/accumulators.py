"""Statistics of a column that are computed part by part and merged in the order of the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.schema import ColumnStatistics

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HISTOGRAM_BINS = 20
SAMPLE_ROWS = 65_536
_LARGEST_HASH = 2**64 - 1


@dataclass
class Moments:
    """Count, mean, sum of squares and range of finite values.

    Attributes:
        count: Finite values, float64 of the shape of `mean`.
        mean: Scalar, or [size] for the elements of a vector.
        squares: Sum of squared differences from the mean.
        minimum, maximum: Over everything.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    minimum: float = np.inf
    maximum: float = -np.inf

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Returns the moments of the finite values among values [N] or [N, size]."""
        x = values.astype(np.float64, copy=False)
        finite = np.isfinite(x)
        if finite.all():
            count = np.full(x.shape[1:], len(x), np.float64)
            total, low, high = x.sum(axis=0), x.min(initial=np.inf), x.max(initial=-np.inf)
        else:
            count = finite.sum(axis=0).astype(np.float64)
            total = np.where(finite, x, 0.0).sum(axis=0)
            low, high = x.min(initial=np.inf, where=finite), x.max(initial=-np.inf, where=finite)
        mean = np.asarray(total / np.maximum(count, 1.0))
        off = x - mean if finite.all() else np.where(finite, x - mean, 0.0)
        with np.errstate(over="ignore"):
            # Values whose squares float64 cannot hold are refused later: float32 cannot hold them either.
            squares = np.asarray(np.square(off).sum(axis=0))
        return cls(np.asarray(count), mean, squares, float(low), float(high))

    def merge(self, other: Moments) -> Moments:
        """Returns the moments of two parts together (Chan, Golub and LeVeque 1983, pairwise update)."""
        count = self.count + other.count
        safe = np.maximum(count, 1.0)
        delta = other.mean - self.mean
        with np.errstate(over="ignore"):
            between = delta**2 * self.count * other.count / safe
        return Moments(
            count,
            np.where(self.count == 0, other.mean, self.mean + delta * other.count / safe),
            self.squares + other.squares + between,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def pooled(self) -> tuple[float, float]:
        """Returns mean and population variance over all elements."""
        count = self.count.sum()
        if not count:
            return 0.0, 0.0
        mean = float((self.mean * self.count).sum() / count)
        squares = float((self.squares + self.count * (self.mean - mean) ** 2).sum())
        return mean, squares / float(count)

    def variances(self) -> np.ndarray:
        """Returns the population variance of each element."""
        return np.asarray(self.squares / np.maximum(self.count, 1.0))


@dataclass
class ColumnPart:
    """One column of one part of a split.

    Attributes:
        rows: Rows, nulls included.
        nulls: Null rows. nans: NaN values. infinities: infinite values.
        moments: None for columns that are only counted.
        counts: Value -> rows, of categorical columns and labels.
        sample: Values of the sampled rows, float64 with NaN for null.
        lowest, highest: The range of finite values as they are stored: float64 rounds integers beyond 2^53.
            Of images `highest` is what decoding the largest takes, in bytes.
        first_null, first_bad: `<uri> row <number>` of the first one, or "". largest_image: that of the largest image.
    """

    rows: int = 0
    nulls: int = 0
    nans: int = 0
    infinities: int = 0
    moments: Moments | None = None
    counts: Counter[Any] = field(default_factory=Counter)
    sample: list[np.ndarray] = field(default_factory=list)
    lowest: float = np.inf
    highest: float = -np.inf
    first_null: str = ""
    first_bad: str = ""
    largest_image: str = ""

    def merge(self, other: ColumnPart) -> None:
        """Adds the part that follows this one."""
        self.rows += other.rows
        self.nulls += other.nulls
        self.nans += other.nans
        self.infinities += other.infinities
        if other.moments is not None:
            self.moments = other.moments if self.moments is None else self.moments.merge(other.moments)
        self.counts.update(other.counts)
        self.sample.extend(other.sample)
        self.largest_image = other.largest_image if other.highest > self.highest else self.largest_image
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        self.first_null = self.first_null or other.first_null
        self.first_bad = self.first_bad or other.first_bad


@dataclass
class SplitPart:
    """All columns of one part of a split, and the hashes of its sampled rows: uint64 [S], in order."""

    rows: int = 0
    columns: dict[str, ColumnPart] = field(default_factory=dict)
    hashes: list[np.ndarray] = field(default_factory=list)

    def merge(self, other: SplitPart) -> None:
        """Adds the part that follows this one."""
        self.rows += other.rows
        self.hashes.extend(other.hashes)
        for name, part in other.columns.items():
            self.columns.setdefault(name, ColumnPart()).merge(part)

    @property
    def sampled(self) -> int:
        """Sampled rows."""
        return sum(map(len, self.hashes))

    def reduce_sample(self) -> int:
        """Keeps the sampled rows of the 65,536 smallest hashes.

        Returns:
            The largest hash that can still be among them.
        """
        if self.sampled < SAMPLE_ROWS:
            return _LARGEST_HASH
        hashes = np.concatenate(self.hashes)
        smallest = np.sort(np.argpartition(hashes, SAMPLE_ROWS - 1)[:SAMPLE_ROWS])
        self.hashes = [hashes[smallest]]
        for column in self.columns.values():
            if column.sample:
                column.sample = [np.concatenate(column.sample)[smallest]]
        return int(self.hashes[0].max())


def largest_sampled_hash(rows: int) -> int:
    """A bound on the hashes of the sampled rows of a split, before any row is read.

    The 65,536th smallest of `rows` uniform hashes lies eight standard deviations below it.
    """
    return min(_LARGEST_HASH, int(2**64 * (SAMPLE_ROWS + 8 * SAMPLE_ROWS**0.5) / rows)) if rows else _LARGEST_HASH


def smallest_hashes(hashes: np.ndarray, largest: int) -> np.ndarray:
    """Which rows of a part can be among the sample of the whole split.

    Args:
        hashes: uint64 [N]: of the part's rows that belong to the split.
        largest: The largest hash that can still be among the sample, as `SplitPart.reduce_sample` returns it.

    Returns:
        int64 [S], ascending: indices of at most 65,536 of them.
    """
    candidates = np.flatnonzero(hashes <= np.uint64(largest))
    if len(candidates) <= SAMPLE_ROWS:
        return candidates
    return np.sort(candidates[np.argpartition(hashes[candidates], SAMPLE_ROWS - 1)[:SAMPLE_ROWS]])


def finish(part: ColumnPart, *, most_values: int | None = None) -> ColumnStatistics:
    """Returns the statistics of a column.

    Args:
        part: The whole split, its sample reduced.
        most_values: Most values to keep; None: all.
    """
    values = tuple(sorted(part.counts.items(), key=lambda kv: (-kv[1], kv[0])))
    common: dict[str, Any] = {"rows": part.rows, "nulls": part.nulls, "nans": part.nans, "infinities": part.infinities}
    common["first_bad"] = part.first_bad
    if part.moments is None:
        largest = part.highest if part.largest_image else 0.0
        return ColumnStatistics(**common, maximum=largest, values=values[:most_values], distinct=len(values))
    sample = np.concatenate(part.sample) if part.sample else np.empty(0)
    # Sorted once here, or each of the functions below would sort it again.
    sample = np.sort(sample[np.isfinite(sample)])
    mean, variance = part.moments.pooled()
    some = bool(part.moments.count.sum())
    by_element = part.moments.mean.ndim == 1
    return ColumnStatistics(
        **common,
        mean=mean,
        variance=variance,
        minimum=part.moments.minimum if some else 0.0,
        maximum=part.moments.maximum if some else 0.0,
        quantiles=_quantiles(sample),
        histogram=_histogram(sample),
        values=values,
        distinct=len(values) or len(np.unique(sample)),
        element_means=_floats(part.moments.mean) if by_element else (),
        element_variances=_floats(part.moments.variances()) if by_element else (),
        percentiles=_floats(np.percentile(sample, np.arange(101), method="inverted_cdf")) if sample.size else (),
    )


def _floats(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _quantiles(sample: np.ndarray) -> dict[float, float]:
    if not sample.size:
        return dict.fromkeys(QUANTILES, 0.0)
    return dict(zip(QUANTILES, _floats(np.quantile(sample, QUANTILES)), strict=True))


def _histogram(sample: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if not sample.size:
        return (), ()
    low, high = float(sample.min()), float(sample.max())
    # numpy cannot make bins over less than a few units in the last place.
    bins = HISTOGRAM_BINS if high - low > 1e-9 * max(abs(low), abs(high)) else 1
    span = (low, high) if bins > 1 else (low - 0.5 * max(1.0, abs(low)), high + 0.5 * max(1.0, abs(high)))
    counts, edges = np.histogram(sample, bins=bins, range=span)
    return _floats(edges), tuple(int(c) for c in counts)
