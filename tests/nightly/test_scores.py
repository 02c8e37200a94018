"""The interval of a gain against what statistics promise of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.nightly.scores import Scored, compare, holm, t_below, tail_of


def binary(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the scores of a better and a worse model, rounded so that there are ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(float)
    better = np.clip(np.round(rng.normal(0.3 + 0.3 * labels, 0.2), 2), 0.01, 0.99)
    worse = np.clip(np.round(rng.normal(0.3 + 0.1 * labels, 0.2), 2), 0.01, 0.99)
    return labels, better, worse


def test_a_gain_is_signed_so_that_more_is_better():
    labels, better, worse = binary(2000)
    for name in ("auc", "loss", "brier", "accuracy", "pr_auc"):
        gain = compare(Scored("binary", labels, better, worse), name, resamples=300, confidence=0.95, seed=0)
        assert 0 < gain.low < gain.gain < gain.high, name
        back = compare(Scored("binary", labels, worse, better), name, resamples=300, confidence=0.95, seed=0)
        assert (back.gain, back.low, back.high) == pytest.approx((-gain.gain, -gain.high, -gain.low)), name


def test_the_same_seed_gives_the_same_interval_and_equal_models_no_gain():
    labels, better, worse = binary(300)
    scored = Scored("binary", labels, better, worse)
    ask = {"resamples": 200, "confidence": 0.9}
    assert compare(scored, "auc", **ask, seed=4) == compare(scored, "auc", **ask, seed=4)
    assert compare(scored, "auc", **ask, seed=4) != compare(scored, "auc", **ask, seed=5)
    same = compare(Scored("binary", labels, better, better), "auc", **ask, seed=0)
    assert (same.gain, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    """Two models whose squared errors differ by 0.2 in truth; 90 % intervals over 300 samples."""
    rng = np.random.default_rng(6)
    held = 0
    for seed in range(300):
        labels = rng.normal(0, 1, 200)
        shared = rng.normal(0, 1, 200)
        ours = labels + shared
        theirs = labels + shared + rng.normal(0, 0.2**0.5, 200)
        scored = Scored("regression", labels, ours, theirs)
        gain = compare(scored, "loss", resamples=300, confidence=0.9, seed=seed)
        held += gain.low <= 0.2 <= gain.high
    assert 0.85 <= held / 300 <= 0.95


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("units", [7, 8, 14, 30, 1000])
def test_the_tails_are_those_of_the_expanded_percentile_interval(confidence, units):
    t = stats.t.ppf((1 + confidence) / 2, units - 1)
    expanded = stats.norm.cdf(-np.sqrt(units / (units - 1)) * t)
    assert tail_of(confidence, units) == pytest.approx(expanded, rel=0.04)


def test_the_tails_of_many_are_plain_percentiles_and_of_one_everything():
    assert tail_of(0.95, 100_000) == pytest.approx(0.025, rel=1e-3)
    assert tail_of(0.95, 1) == 0.0


def test_a_gain_over_fourteen_days_is_held_as_often_as_over_hundreds_of_rows():
    """Days of 20 rows that share their fate, no true gain: of 95 % intervals, 2.5 % and a little lie above zero.

    Plain percentiles do in 3.8 % here.
    """
    rng = np.random.default_rng(9)
    above = 0
    for seed in range(1000):
        fate = np.repeat(rng.normal(0, 1, 14), 20)
        scored = Scored("regression", np.zeros(280), 10.0 - fate, np.full(280, 10.0), np.repeat(np.arange(14), 20))
        above += compare(scored, "mae", resamples=400, confidence=0.95, seed=seed).low > 0
    assert 0.012 <= above / 1000 <= 0.035


def test_pairing_sees_what_two_separate_intervals_could_not():
    """Both models find the same rows hard: the difference is far narrower than either metric's own interval."""
    rng = np.random.default_rng(7)
    labels = rng.normal(0, 1, 500)
    shared = rng.normal(0, 3, 500)
    ours, theirs = labels + shared, labels + shared + rng.normal(0, 0.1, 500)
    gain = compare(Scored("regression", labels, ours, theirs), "loss", resamples=500, confidence=0.95, seed=0)
    own = compare(Scored("regression", labels, ours, labels), "loss", resamples=500, confidence=0.95, seed=0)
    assert gain.high - gain.low < (own.high - own.low) / 5


def test_rows_that_share_their_fate_give_a_wider_interval_when_drawn_by_unit():
    rng = np.random.default_rng(8)
    units = np.repeat(np.arange(30), 50)
    labels = np.zeros(1500)
    fate = np.repeat(rng.normal(0, 1, 30), 50)
    ours, theirs = 1.0 + 0.1 * fate, 1.0 - 0.1 * fate
    wide, narrow = (
        compare(Scored("regression", labels, ours, theirs, by), "mae", resamples=500, confidence=0.95, seed=0)
        for by in (units, None)
    )
    assert wide.gain == narrow.gain
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_one_class_only_has_no_auc_and_no_interval():
    gain = compare(
        Scored("binary", np.zeros(50), np.linspace(0, 1, 50), np.linspace(1, 0, 50)),
        "auc",
        resamples=100,
        confidence=0.95,
        seed=0,
    )
    assert np.isnan([gain.gain, gain.low, gain.high]).all()


@pytest.mark.parametrize("freedom", [6, 13, 200, 10_000])
@pytest.mark.parametrize("t", [-6.0, -3.5, -2.0, -0.5, 0.0, 1.0])
def test_the_tail_of_t_is_scipys(freedom, t):
    assert t_below(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=0.08, abs=1e-9)


def test_holm_multiplies_the_smallest_by_n_and_never_falls():
    assert holm([]) == []
    assert holm([0.01]) == [0.01]
    assert holm([0.04, 0.001, 0.03, 0.9]) == pytest.approx([0.09, 0.004, 0.09, 0.9])
    assert holm([0.6, 0.5]) == [1.0, 1.0]


def test_the_p_value_of_being_worse_is_uniform_between_equals_and_small_where_it_is_true():
    rng = np.random.default_rng(10)
    ask = {"metric": "mae", "resamples": 200, "confidence": 0.95}
    same, lost = [], []
    for seed in range(300):
        errors = rng.normal(0, 1, (2, 200))
        same.append(compare(Scored("regression", np.zeros(200), *errors), **ask, seed=seed).p_worse)
        errors[0] *= 1.5
        lost.append(compare(Scored("regression", np.zeros(200), *errors), **ask, seed=seed).p_worse)
    assert 0.02 <= np.mean(np.array(same) <= 0.05) <= 0.09
    assert np.median(lost) < 1e-4  # below what 200 draws can count
    allowed = compare(Scored("regression", np.zeros(200), *errors), **ask, seed=0, margin=0.9)
    assert allowed.p_worse > 0.95
