"""What passes the gate and what does not, and what it says about it."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.config import Promote
from trainer.nightly.gate import decide, decide_first
from trainer.nightly.scores import Scored
from trainer.schema import LabelField, label_places

ROWS = 4000


def models(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a good model's and a poor model's scores."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(ROWS) < 0.3).astype(float)
    good = np.clip(rng.normal(0.3 + 0.25 * labels, 0.2), 0.01, 0.99)
    poor = np.clip(rng.normal(0.3 + 0.15 * labels, 0.2), 0.01, 0.99)
    return labels, good, poor


LABELS, GOOD, POOR = models()
ONE = label_places([LabelField("y", "", "binary")])
BETTER, WORSE, EQUAL = (Scored("binary", LABELS, a, b) for a, b in ((GOOD, POOR), (POOR, GOOD), (GOOD, GOOD)))


@pytest.mark.parametrize(
    ("rules", "scored", "passed"),
    [
        ({}, BETTER, True),
        ({}, WORSE, False),
        ({}, EQUAL, False),  # the same model is not better
        ({"min_delta": 0.3}, BETTER, False),
        ({"max_loss": 0.01}, EQUAL, True),
        ({"max_loss": 0.01}, WORSE, False),
        ({"max_loss": 0.9}, WORSE, True),
        ({"metric": "loss"}, BETTER, True),
        ({"metric": "loss"}, WORSE, False),
        ({"limits": {"auc": 0.99}}, BETTER, False),
        ({"limits": {"loss": 0.01}}, BETTER, False),
        ({"limits": {"auc": 0.6, "loss": 2.0}}, BETTER, True),
    ],
)
def test_the_rules_decide(rules, scored, passed):
    assert decide(Promote(**rules), scored, "champion").passed is passed


def test_a_gain_that_may_be_luck_is_no_reason():
    """Better on these rows by chance alone: the interval reaches below zero."""
    rng = np.random.default_rng(1)
    labels = LABELS[:300]
    a, b = (np.clip(rng.normal(0.3 + 0.2 * labels, 0.2), 0, 1) for _ in range(2))
    one, other = (
        decide(Promote(), Scored("binary", labels, a, b), "x"),
        decide(Promote(), Scored("binary", labels, b, a), "x"),
    )
    assert max(one.gain.gain, other.gain.gain) > 0
    assert not one.passed
    assert not other.passed


def test_the_reason_holds_the_numbers():
    decision = decide(Promote(), WORSE, "night-1")
    gain = decision.gain
    assert decision.why == (
        f"auc gains −{-gain.gain:.4f} (−{-gain.low:.4f} to −{-gain.high:.4f}) over night-1: not surely above 0"
    )
    assert decision.champion == "night-1"
    assert decision.rows == ROWS
    assert set(decision.metrics) == {"auc", "pr_auc", "accuracy", "loss", "brier"}


def test_a_model_that_is_worse_on_one_slice_is_kept_out():
    """Far better on most rows, and turned round on one airport."""
    origin = np.array(["EWR"] * 3000 + ["LGA"] * 1000)
    challenger = np.where(origin == "LGA", 1 - GOOD, GOOD)
    champion = np.where(origin == "LGA", GOOD, POOR)
    scored = Scored("binary", LABELS, challenger, champion)
    rules = {"metric": "auc", "max_loss": 0.5}
    assert decide(Promote(**rules), scored, "c").passed
    decision = decide(Promote(**rules, slices=["origin"]), scored, "c", {"origin": origin})
    assert not decision.passed
    assert decision.why.startswith("worse on 1 slice: origin=LGA")
    assert [(s.value, s.worse) for s in decision.slices] == [("EWR", False), ("LGA", True)]


def test_a_slice_of_few_rows_is_shown_and_does_not_decide():
    origin = np.array(["EWR"] * 3900 + [None] * 100, object)
    challenger = np.where(origin == "EWR", GOOD, 1 - GOOD)
    scored = Scored("binary", LABELS, challenger, np.where(origin == "EWR", POOR, GOOD))
    decision = decide(Promote(slices=["origin"], min_slice_rows=200), scored, "c", {"origin": origin})
    assert decision.passed
    assert [(s.value, s.gain.rows, s.decides) for s in decision.slices] == [("EWR", 3900, True), ("null", 100, False)]


def test_a_slice_of_few_days_is_shown_and_does_not_decide():
    """An airport that flew on six days only, turned round there."""
    rare = np.arange(ROWS) % 14 < 6
    origin = np.where(rare & (np.arange(ROWS) % 3 == 0), "LGA", "EWR")
    challenger = np.where(origin == "LGA", 1 - GOOD, GOOD)
    scored = Scored("binary", LABELS, challenger, np.where(origin == "LGA", GOOD, POOR), np.arange(ROWS) % 14)
    decision = decide(Promote(by="dt", slices=["origin"], max_loss=0.5), scored, "c", {"origin": origin})
    assert decision.passed
    assert [(s.value, s.decides, s.gain.high < 0) for s in decision.slices] == [
        ("EWR", True, False),
        ("LGA", False, True),
    ]


@pytest.mark.parametrize(
    ("limits", "passed", "why"),
    [
        ({}, True, "the first run; no limits are set"),
        ({"auc": 0.6}, True, "the first run keeps the limits"),
        ({"auc": 0.99}, False, "promote.limits asks for at least 0.99"),
        ({"brier": 0.001}, False, "promote.limits asks for at most 0.001"),
    ],
)
def test_the_first_run_is_held_against_absolute_limits(limits, passed, why):
    decision = decide_first(Promote(limits=limits), ONE, LABELS, GOOD)
    assert decision.passed is passed
    assert why in decision.why
    assert decision.champion is None
    assert decision.gain is None


@pytest.mark.parametrize(("units", "passed"), [(6, False), (7, True)])
def test_a_handful_of_units_is_no_ground_for_a_decision(units, passed):
    scored = Scored("binary", LABELS, GOOD, POOR, np.arange(ROWS) % units)
    decision = decide(Promote(by="dt"), scored, "c")
    assert decision.passed is passed
    assert passed or decision.why == "promote.by: 6 values of dt in the holdout tell no interval; it takes 7"


def test_a_metric_that_is_not_defined_promotes_nobody():
    nothing = np.zeros(100)
    decision = decide(Promote(), Scored("binary", nothing, GOOD[:100], POOR[:100]), "c")
    assert not decision.passed
    assert decision.why == "auc is not defined on the holdout's 100 rows"


@pytest.mark.parametrize("whose", ["challenger", "champion"])
def test_rows_without_an_answer_promote_nobody_and_are_counted(whose):
    lacking = GOOD.copy()
    lacking[:3] = np.nan
    scored = Scored("binary", LABELS, **{"challenger": GOOD, "champion": POOR, whose: lacking})
    decision = decide(Promote(), scored, "night-1")
    name = "this run" if whose == "challenger" else "night-1"
    assert not decision.passed
    assert decision.why.startswith(f"{name} has no answer for 3 of the holdout's {len(LABELS)} rows")


def test_a_finite_limit_is_not_kept_by_a_value_that_is_not_a_number():
    assert not decide_first(Promote(limits={"auc": 0.1}), ONE, np.zeros(100), GOOD[:100]).passed


def refused(slices: int, nights: int, *, by_day: bool = False) -> float:
    """Share of nights on which a challenger as good as the champion is kept out by its slices.

    A slice has 60 rows, of 20 days where rows are drawn by day.
    """
    rng = np.random.default_rng(slices)
    rows = 60 * slices
    airport = np.repeat(np.arange(slices), 60)
    days = np.tile(np.repeat(np.arange(20), 3), slices)
    rules = Promote(
        metric="mae",
        max_loss=100.0,
        slices=["origin"],
        min_slice_rows=50,
        resamples=200,
        by="dt" if by_day else None,
    )
    out = 0
    for _ in range(nights):
        errors = [rng.normal(0, 1, rows) for _ in range(2)]
        if by_day:  # the rows of a day share their fate
            errors = [e + rng.normal(0, 1, rows)[airport * 20 + days] for e in errors]
        scored = Scored("regression", np.zeros(rows), *errors, units=days if by_day else None)
        out += not decide(rules, scored, "c", {"origin": airport}).passed
    return out / nights


@pytest.mark.parametrize("slices", [1, 20, 50])
def test_equally_good_models_are_refused_by_their_slices_as_rarely_with_many_as_with_one(slices):
    """95 % confidence: 2.5 % at most, and three standard errors of 400 nights. Uncorrected, 20 slices refuse 40 %."""
    assert refused(slices, 400) <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_a_slice_that_is_truly_worse_is_found_among_fifty():
    rng = np.random.default_rng(3)
    airport = np.repeat(np.arange(50), 400)
    errors = [rng.normal(0, 1, 20_000) for _ in range(2)]
    errors[0][airport == 7] *= 1.6
    scored = Scored("regression", np.zeros(20_000), *errors)
    decision = decide(Promote(metric="mae", max_loss=100.0, slices=["origin"]), scored, "c", {"origin": airport})
    assert [s.value for s in decision.slices if s.worse] == ["7"]
    assert decision.why.startswith("worse on 1 slice: origin=7")
