"""Tonight's rows against production's: what is found, and what it says."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from trainer.config import Checks, Limits
from trainer.feed.statistics.accumulators import ColumnPart, Moments, finish
from trainer.nightly import drift
from trainer.schema import ColumnStatistics, Statistics


def numbers(values: np.ndarray) -> ColumnStatistics:
    """Statistics of a numeric column, made as the pass makes them."""
    values = np.asarray(values, np.float64)
    part = ColumnPart(rows=len(values), nulls=int(np.isnan(values).sum()), moments=Moments.of(values), sample=[values])
    return finish(part)


def categories(counts: dict[object, int], nulls: int = 0, *, most: int | None = None) -> ColumnStatistics:
    part = ColumnPart(rows=sum(counts.values()) + nulls, nulls=nulls, counts=Counter(counts))
    return finish(part, most_values=most)


def checked(before: ColumnStatistics, now: ColumnStatistics, **limits: object) -> dict[str, drift.Finding]:
    """Findings by check for a set of this one column."""
    rules = Checks(**limits)
    findings = drift.check(rules, Statistics(before.rows, {"c": before}), Statistics(now.rows, {"c": now}))
    return {f.check: f for f in findings if f.column}


RNG = np.random.default_rng(0)
NORMAL = numbers(RNG.normal(0, 1, 20_000))


def test_psi_is_the_textbooks():
    assert drift.psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert drift.psi([0.5, 0.5], [0.7, 0.3]) == pytest.approx(0.2 * math.log(1.4) - 0.2 * math.log(0.6))
    assert drift.psi([0.2, 0.8], [0.4, 0.6]) == pytest.approx(drift.psi([0.4, 0.6], [0.2, 0.8]))
    assert math.isfinite(drift.psi([1.0, 0.0], [0.0, 1.0]))


def test_the_same_distribution_again_keeps_all_limits():
    for seed in range(20):
        again = numbers(np.random.default_rng(seed + 1).normal(0, 1, 5_000))
        assert not drift.breaches(list(checked(NORMAL, again).values()))


@pytest.mark.parametrize(("shift", "breached"), [(0.1, False), (0.3, False), (1.0, True), (1.5, True)])
def test_a_shift_shows_as_psi(shift, breached):
    moved = numbers(RNG.normal(shift, 1, 20_000))
    finding = checked(NORMAL, moved)["psi"]
    assert finding.breached is breached
    # The exact index of the ten true bins, from samples.
    edges = np.quantile(RNG.normal(0, 1, 200_000), np.arange(0.1, 1.0, 0.1))
    share = np.histogram(RNG.normal(shift, 1, 200_000), [-np.inf, *edges, np.inf])[0] / 200_000
    exact = drift.psi([0.1] * 10, share)
    assert finding.measure == pytest.approx(exact, rel=0.35, abs=0.03)


def test_a_column_of_few_distinct_numbers_is_compared_by_value():
    """Half of the values are one: quantiles tie, and the bins still hold what they should."""
    before = numbers(RNG.choice([1, 2, 3, 4], 10_000, p=[0.15, 0.45, 0.2, 0.2]))
    same = numbers(RNG.choice([1, 2, 3, 4], 10_000, p=[0.15, 0.45, 0.2, 0.2]))
    other = numbers(RNG.choice([1, 2, 3, 4], 10_000, p=[0.15, 0.15, 0.2, 0.5]))
    assert checked(before, same)["psi"].measure < 0.02
    assert checked(before, other)["psi"].measure == pytest.approx(0.3 * math.log(3) + 0.3 * math.log(2.5), rel=0.2)


def test_nulls_rise():
    values = RNG.normal(0, 1, 10_000)
    holed = values.copy()
    holed[:1_000] = np.nan
    finding = checked(numbers(values), numbers(holed))["nulls"]
    assert (finding.before, finding.now, finding.breached) == (0.0, 0.1, True)
    assert not checked(numbers(holed), numbers(values))["nulls"].breached  # fewer is no breach


@pytest.mark.parametrize(
    ("low", "high", "measure", "breached"),
    [(0, 100, 0.0, False), (-50, 150, 0.5, False), (0, 350, 2.5, True), (-150, 100, 1.5, True)],
)
def test_values_far_outside_what_production_saw(low, high, measure, breached):
    before, now = numbers(np.array([0.0, 40.0, 100.0])), numbers(np.array([low, 40.0, high]))
    finding = checked(before, now, psi=None)["range"]
    assert (finding.measure, finding.breached) == (pytest.approx(measure), breached)


def test_new_categories_count_by_rows_and_are_named():
    before = categories({"JFK": 500, "LGA": 500})
    finding = checked(before, categories({"JFK": 450, "EWR": 60, "LGA": 480, "SWF": 10}))["new_categories"]
    assert (finding.measure, finding.breached, finding.note) == (0.07, True, "EWR, SWF")
    assert not checked(before, categories({"JFK": 990, "SWF": 10}), psi=None)["new_categories"].breached


def test_rare_values_of_a_hashed_column_are_not_taken_for_new():
    before = categories({f"v{i}": 100 - i for i in range(50)}, most=10)
    assert "new_categories" not in checked(before, categories({"v49": 100, "v48": 100}))


def test_many_rare_categories_are_no_drift():
    before = categories(dict(Counter(RNG.integers(0, 5_000, 20_000).tolist())))
    now = categories(dict(Counter(RNG.integers(0, 5_000, 5_000).tolist())))
    assert checked(before, now, new_categories=None)["psi"].measure < 0.05


@pytest.mark.parametrize(("rows", "breached"), [(400, True), (600, False), (1_900, False), (2_100, True)])
def test_far_fewer_or_far_more_rows(rows, breached):
    findings = drift.check(Checks(), Statistics(1_000, {}), Statistics(rows, {}))
    assert any(f.breached for f in findings) is breached
    assert not drift.check(Checks(min_rows=None, max_rows=None), Statistics(1_000, {}), Statistics(rows, {}))


def test_a_columns_own_limits_take_the_rest_from_all():
    rules = Checks(psi=0.1, nulls=0.2, columns={"temp": Limits(psi=5.0)})
    assert (drift.limits_of(rules, "temp").psi, drift.limits_of(rules, "temp").nulls) == (5.0, 0.2)
    assert drift.limits_of(rules, "other").psi == 0.1
    off = Checks(columns={"temp": Limits(psi=None)})
    assert drift.limits_of(off, "temp").psi is None


def test_a_new_column_is_not_held_against_anything():
    assert drift.check(Checks(), Statistics(10, {}), Statistics(10, {"new": NORMAL}))[0].check == "rows"


def test_the_table_says_column_check_and_limit():
    before, now = numbers(np.array([0.0, 40.0, 100.0])), numbers(np.array([0, 40.0, 350]))
    findings = list(checked(before, now, psi=None).values())
    error = drift.Drifted(drift.breaches(findings), "night-1")
    assert str(error) == (
        "run.data.checks: the data fails 1 check of 1 column against night-1:\n"
        "  check  column  production  now  measure  limit\n"
        "  range  c       100         350  2.5      1      0 to 350\n"
        "  fix the data; or, where the change is right, raise the limit for the column under checks.columns"
    )
    assert error.exit_code == 65


def test_statistics_survive_their_json():
    import json

    from trainer.feed.statistics.cache import statistics_from

    statistics = Statistics(3, {"x": NORMAL, "c": categories({"a": 2, "b": 1})})
    assert statistics_from(json.loads(json.dumps(asdict(statistics)))) == statistics
