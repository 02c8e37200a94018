"""The numbers of the report: curves equal scikit-learn's, axes and formats are for people."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.progress.formatting import metric, moment, number, seconds, share
from trainer.report import curves
from trainer.report.charts import around, axis_number, ticks

scored = (
    st.integers(2, 200)
    .flatmap(
        lambda rows: st.tuples(
            st.lists(st.booleans(), min_size=rows, max_size=rows),
            st.lists(st.integers(0, 20).map(lambda i: i / 20), min_size=rows, max_size=rows),
        )
    )
    .filter(lambda pair: 0 < sum(pair[0]) < len(pair[0]))
)


@settings(max_examples=60, deadline=None)
@given(scored)
def test_roc_equals_scikit_learn(pair):
    from sklearn.metrics import roc_auc_score, roc_curve

    labels, scores = np.array(pair[0]), np.array(pair[1])
    curve = curves.roc(labels, scores)
    x, y, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, x)
    np.testing.assert_allclose(curve.true_positive_rate, y)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.auc == pytest.approx(roc_auc_score(labels, scores))


@settings(max_examples=60, deadline=None)
@given(scored)
def test_precision_recall_equals_scikit_learn(pair):
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labels, scores = np.array(pair[0]), np.array(pair[1])
    curve = curves.precision_recall(labels, scores)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.precision[::-1], precision[:-1])
    np.testing.assert_allclose(curve.recall[::-1], recall[:-1])
    np.testing.assert_allclose(curve.thresholds[::-1], thresholds)
    assert curve.average_precision == pytest.approx(average_precision_score(labels, scores))


@settings(max_examples=60, deadline=None)
@given(scored)
def test_calibration_and_confusion_equal_scikit_learn(pair):
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, confusion_matrix

    labels, scores = np.array(pair[0]), np.array(pair[1])
    bins = curves.calibration(labels, scores)
    observed, predicted = calibration_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    assert bins.brier == pytest.approx(brier_score_loss(labels, scores))
    assert bins.rows.sum() == len(labels)
    assert (bins.low <= bins.observed + 1e-12).all()
    assert (bins.observed <= bins.high + 1e-12).all()
    matrix = curves.confusion(labels.astype(np.int64), (scores >= 0.5).astype(np.int64), 2)
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, scores >= 0.5, labels=[False, True]))


def test_the_interval_of_a_share_is_wilsons():
    """9 of 10, 95 %: 0.596 to 0.982 (Wilson 1927; the value that every table gives)."""
    bins = curves.calibration(np.array([True] * 9 + [False]), np.full(10, 0.85))
    np.testing.assert_allclose([bins.low[0], bins.high[0]], [0.5958, 0.9821], atol=1e-4)


def test_a_thinned_curve_keeps_its_ends_and_corners():
    x = np.linspace(0, 1, 100_001)
    kept = curves.thin(x, np.minimum(1.0, 20 * x))
    assert kept[0] == 0
    assert kept[-1] == 100_000
    assert len(kept) <= 242
    assert np.min(np.abs(x[kept] - 0.05)) < 0.005


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_round_and_inside(low, width):
    width = max(width, abs(low) * 1e-6)
    marks = ticks((low, low + width))
    assert 1 <= len(marks) <= 11
    assert all(low - width * 1e-3 <= tick <= low + width * 1.001 for tick in marks)


def test_a_range_holds_its_values_with_air():
    assert around([2.0, 4.0, float("nan")], 0.5) == (1.0, 5.0)
    assert around([]) == (0.0, 1.0)
    low, high = around([7.0, 7.0])
    assert low < 7.0 < high


def test_numbers_are_written_for_people():
    assert [number(v) for v in (0, 3, 0.08368, 4933.2, -3.5, 1e-7, None, float("nan"))] == [
        "0", "3", "0.08368", "4,933", "−3.5", "1.000e-07", "–", "–",
    ]  # fmt: skip
    assert [share(v) for v in (0, 0.0001, 0.123, 0.9999, 1)] == [
        "0\u00a0%",
        "<0.1\u00a0%",
        "12.3\u00a0%",
        ">99.9\u00a0%",
        "100\u00a0%",
    ]
    assert [seconds(v) for v in (0.81, 42, 185, 7385)] == ["0.8 s", "42 s", "3:05", "2:03:05"]
    assert [metric(v) for v in (0.5, 0.0001, 12345.678, None)] == ["0.5000", "0.0001", "1.235e+04", "–"]
    assert [axis_number(v, s) for v, s in ((0.25, 0.05), (20_000, 5000), (-20, 10), (0.0004, 0.0002))] == [
        "0.25", "20k", "−20", "4e−4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "arrow", "said"),
    [
        (15_706, "date32[day]", "2013-01-01"),
        (1_357_000_000, "timestamp[s]", "2013-01-01 00:26"),
        (1_357_000_000_000_000_000, "timestamp[ns, tz=UTC]", "2013-01-01 00:26"),
        (1e30, "timestamp[us]", "1.000e+30"),
        (2.5, "double", "2.5"),
    ],
)
def test_dates_and_timestamps_are_written_as_such(value, arrow, said):
    assert moment(value, arrow) == said
