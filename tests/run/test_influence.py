"""Importance of columns and worst slices: against what is known of a made set, SciPy, and a clock that runs out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from trainer.date_parts import packed_names, packed_parts
from trainer.report.influence import importance_chart
from trainer.run.importance import MOST_MEASURED, permutation_importance
from trainer.run.slices import _interval, _p_worse, worst_slices
from trainer.schema import CodeField, Column, LabelField, Layout, NumberField

ROWS = 3000


def layout(numbers: int, task: str = "regression", vocabulary: tuple[str, ...] = ("a", "b", "c")) -> Layout:
    """`numbers` numeric columns n0…, a category, and hours of a timestamp."""
    fields = [NumberField(Column(f"n{i}", "numeric", "double", "float64"), i) for i in range(numbers)]
    parts = packed_names(["hour"], True)
    at = Column("at", "date", "timestamp[s]", "int64", size=2, parts=parts)
    return Layout(
        (*fields, NumberField(at, numbers)),
        (CodeField(Column("city", "categorical", "string", "string"), 0, vocabulary),),
        LabelField("y", "double", task),
    )


def rows(numbers: int, count: int = ROWS) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    hours = rng.integers(0, 24, count)
    packed = packed_parts(hours * 3600, "timestamp[s]", packed_names(["hour"], True))
    x = {
        "numbers": np.hstack([rng.normal(size=(count, numbers)), packed]).astype("float32"),
        "codes": rng.integers(2, 5, (count, 1)).astype("int32"),
    }
    return x, hours


def model(x):
    """n0 counts three times as much as n1; the category counts, n2… and the hour do not."""
    return (3 * x["numbers"][:, 0] + x["numbers"][:, 1] + (x["codes"][:, 0] == 2))[:, None]


def test_columns_are_ranked_by_what_they_are_worth_and_those_of_no_use_are_worth_nothing():
    x, _ = rows(4)
    labels = model(x)[:, 0] + np.random.default_rng(1).normal(0, 0.1, ROWS)
    importance = permutation_importance(model, x, labels, layout(4), seed=0, limit_s=1e9)
    assert [column.name for column in importance.columns[:3]] == ["n0", "n1", "city"]
    by_name = {column.name: column for column in importance.columns}
    # Shuffling adds twice the variance of what the column gives: rmse = sqrt(0.1² + 2 · 3²).
    assert by_name["n0"].loss == pytest.approx(np.sqrt(0.01 + 18) - 0.1, rel=0.05)
    assert by_name["n0"].low <= by_name["n0"].loss <= by_name["n0"].high
    for name in ("n2", "n3", "at"):
        assert by_name[name].loss == 0.0
    assert importance.left_out == ""
    again = permutation_importance(model, x, labels, layout(4), seed=0, limit_s=1e9)
    assert again == importance


def test_a_date_is_shuffled_as_a_whole():
    x, hours = rows(0)
    answer = lambda x: np.hypot(x["numbers"][:, 0], x["numbers"][:, 1])[:, None]  # noqa: E731  # 1 for every real hour
    importance = permutation_importance(answer, x, np.ones(ROWS) + hours * 1e-9, layout(0), seed=0, limit_s=1e9)
    assert {column.name: column.loss for column in importance.columns}["at"] == pytest.approx(0.0, abs=1e-6)


def test_a_wide_table_is_bounded_and_says_what_was_left_out():
    x, _ = rows(2000, 1000)
    labels = model(x)[:, 0]
    ticks = itertools.count()
    clock = lambda: next(ticks) * 0.01  # noqa: E731  # every look at it takes 10 ms
    importance = permutation_importance(model, x, labels, layout(2000), seed=0, limit_s=8.0, clock=clock)
    assert next(ticks) * 0.01 < 9.5
    assert importance.columns[0].name == "n0"
    assert len(importance.columns) <= MOST_MEASURED
    assert importance.looked_at < importance.all_columns == 2002
    assert "2,002 columns are not measured" in importance.left_out
    assert f"chosen among the {importance.looked_at:,} that the time allowed a look at" in importance.left_out
    assert "n0" in importance_chart(importance)


def test_of_many_columns_those_that_matter_are_measured():
    x, _ = rows(100, 1000)
    x["numbers"][:, [0, 77]] = x["numbers"][:, [77, 0]]
    answer = lambda x: (3 * x["numbers"][:, 77] + x["numbers"][:, 1])[:, None]  # noqa: E731
    importance = permutation_importance(answer, x, answer(x)[:, 0], layout(100), seed=0, limit_s=1e9)
    assert [column.name for column in importance.columns[:2]] == ["n77", "n1"]
    assert importance.left_out == (
        "72 of 102 columns are not measured; those shown were chosen by one shuffle of few rows."
    )


def test_a_metric_that_the_rows_do_not_define_gives_no_importance():
    x, _ = rows(1)
    assert permutation_importance(model, x, np.ones(ROWS), layout(1, "binary"), seed=0) is None


def test_the_worst_slices_are_those_that_were_made_so_and_chance_is_not_called_worse():
    x, hours = rows(2)
    rng = np.random.default_rng(2)
    spread = np.where(x["codes"][:, 0] == 4, 3.0, 1.0) * np.where(hours == 5, 4.0, 1.0)
    labels = rng.normal(0, 1, ROWS) * spread
    slices = worst_slices(x, labels, np.zeros(ROWS), layout(2))
    assert slices.measure == "RMSE"
    assert slices.overall == pytest.approx(np.sqrt(np.mean(labels**2)))
    surely = [(row.column, row.value) for row in slices.worst if row.surely]
    assert set(surely) == {("city", "c"), ("at (hour)", "5")}
    worst = next(row for row in slices.worst if row.value == "c")
    assert worst.rows == int((x["codes"] == 4).sum())
    assert worst.low < worst.measure < worst.high
    assert slices.looked_at == 3 + 24 + 2 * 10


def test_no_slice_is_surely_worse_where_errors_are_chance():
    """Of 20 sets without any structure, one in twenty may call a slice worse; four would be no accident."""
    x, _ = rows(3)
    alarms = 0
    for seed in range(20):
        labels = np.random.default_rng(seed).integers(0, 2, ROWS).astype(float)
        worst = worst_slices(x, labels, np.full(ROWS, 0.7), layout(3, "binary"))
        alarms += any(row.surely for row in worst.worst)
    assert alarms <= 3


def test_nulls_and_ties_make_slices_of_their_own():
    x, _ = rows(1)
    x["numbers"][:400, 0] = np.nan
    x["numbers"][400:2000, 0] = 0.0
    labels = np.zeros(ROWS)
    labels[:400] = 9.0
    worst = worst_slices(x, labels, np.zeros(ROWS), layout(1))
    assert (worst.worst[0].column, worst.worst[0].value, worst.worst[0].rows) == ("n0", "null", 400)
    assert worst.worst[0].surely


def test_intervals_and_p_values_are_scipys():
    errors = np.concatenate([np.ones(37), np.zeros(163), np.ones(50), np.zeros(750)])
    share, low, high = _interval("binary", errors[:200], 0)
    wilson = stats.binomtest(37, 200).proportion_ci(method="wilson")
    assert (share, low, high) == pytest.approx((37 / 200, wilson.low, wilson.high), rel=1e-3)
    welch = stats.ttest_ind(errors[:200], errors[200:], equal_var=False, alternative="greater")
    assert _p_worse(errors, np.arange(200)) == pytest.approx(welch.pvalue, rel=0.05)


def test_too_few_rows_have_no_slices():
    x, _ = rows(1, 50)
    assert worst_slices(x, np.zeros(50), np.zeros(50), layout(1)) is None
