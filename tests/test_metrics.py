"""The metrics of `trainer.metrics` against scikit-learn, and where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from trainer.metrics import NAMES, RunningMetrics, count_metric, value, values


def binary(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that are rounded so that there are ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(float)
    return labels, np.clip(np.round(rng.normal(0.3 + 0.3 * labels, 0.2), 2), 0.01, 0.99)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("auc", metrics.roc_auc_score),
        ("pr_auc", metrics.average_precision_score),
        ("loss", metrics.log_loss),
        ("brier", metrics.brier_score_loss),
        ("accuracy", lambda y, p: metrics.accuracy_score(y, p > 0.5)),
    ],
)
def test_binary_metrics_are_scikit_learns(name, oracle):
    labels, scores = binary(500)
    assert value(name, "binary", labels, scores) == pytest.approx(oracle(labels, scores), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("rmse", metrics.root_mean_squared_error),
        ("mae", metrics.mean_absolute_error),
        ("loss", metrics.mean_squared_error),
        ("r2", metrics.r2_score),
    ],
)
def test_regression_metrics_are_scikit_learns(name, oracle):
    rng = np.random.default_rng(1)
    labels = rng.normal(5, 2, 400)
    said = labels + rng.normal(0, 1, 400)
    assert value(name, "regression", labels, said) == pytest.approx(oracle(labels, said))


def test_multiclass_metrics_are_scikit_learns():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 300)
    said = rng.dirichlet(np.ones(4), 300)
    assert value("loss", "multiclass", labels.astype(float), said) == pytest.approx(metrics.log_loss(labels, said))
    right = metrics.accuracy_score(labels, said.argmax(axis=1))
    assert value("accuracy", "multiclass", labels.astype(float), said) == pytest.approx(right)


@pytest.mark.parametrize("name", ["auc", "pr_auc", "loss", "accuracy"])
def test_a_draw_of_counts_is_the_metric_of_the_rows_it_stands_for(name):
    """The vectorised metric on counts equals the metric on rows that are really repeated."""
    labels, said = binary(60)
    counts = np.random.default_rng(3).integers(0, 4, (5, 60)).astype(float)
    found = count_metric(name, "binary", labels, said)(counts)
    for line, one in zip(counts.astype(int), found, strict=True):
        rows = np.repeat(np.arange(60), line)
        assert one == pytest.approx(value(name, "binary", labels[rows], said[rows]))


def test_precision_and_recall_are_scikit_learns():
    labels, scores = binary(500)
    expected = metrics.precision_score(labels, scores > 0.5), metrics.recall_score(labels, scores > 0.5)
    assert (value("precision", "binary", labels, scores), value("recall", "binary", labels, scores)) == expected


def test_top5_is_scikit_learns():
    rng = np.random.default_rng(5)
    labels, predictions = rng.integers(0, 9, 200), rng.dirichlet(np.ones(9), 200)
    oracle = metrics.top_k_accuracy_score(labels, predictions, k=5)
    assert value("top5", "multiclass", labels.astype(float), predictions) == pytest.approx(oracle)


@pytest.mark.parametrize("task", sorted(NAMES))
def test_blocks_of_rows_give_the_metrics_of_all_rows(task):
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, (300, 3) if task == "multilabel" else 300).astype(float)
    predictions = rng.dirichlet(np.ones(3), 300) if task == "multiclass" else rng.random(300)
    predictions = np.sort(rng.random((300, 3)), axis=1) if task in ("multilabel", "quantile") else predictions
    levels = (0.1, 0.5, 0.9) if task == "quantile" else ()
    running = RunningMetrics(task, (), levels)
    for start in range(0, 300, 70):
        running.update(labels[start : start + 70], predictions[start : start + 70])
    whole = {name: value(name, task, labels, predictions, levels) for name in NAMES[task]}
    assert running.result() == pytest.approx(whole, rel=1e-12)
    assert running.rows == 300
    assert running.undefined(whole) == {}


def test_deviance_and_pinball_loss_are_scikit_learns():
    rng = np.random.default_rng(8)
    rates = rng.gamma(2.0, 1.0, 300)
    counts = rng.poisson(rates).astype(float)
    assert value("deviance", "count", counts, rates) == pytest.approx(metrics.mean_poisson_deviance(counts, rates))
    levels, q = (0.1, 0.5, 0.9), np.sort(rng.normal(size=(300, 3)), axis=1)
    labels = rng.normal(size=300)
    each = [metrics.mean_pinball_loss(labels, q[:, i], alpha=level) for i, level in enumerate(levels)]
    assert value("pinball", "quantile", labels, q, levels) == pytest.approx(np.mean(each))


def test_metrics_of_several_classes_a_row_are_scikit_learns():
    rng = np.random.default_rng(9)
    labels, predictions = rng.integers(0, 2, (200, 4)).astype(float), rng.random((200, 4))
    found = values("multilabel", labels, predictions)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, predictions, average="macro"))
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(labels, predictions > 0.5))
    assert found["accuracy"] == pytest.approx(1 - metrics.hamming_loss(labels, predictions > 0.5))
    labels[:, 0] = 0.0  # a class without rows has no area
    assert values("multilabel", labels, predictions, ["auc"])["auc"] == pytest.approx(
        metrics.roc_auc_score(labels[:, 1:], predictions[:, 1:], average="macro")
    )


def test_scores_that_lie_close_together_are_ranked_exactly():
    """Two hundred thresholds give 0.5 here: all scores lie between two of them."""
    rng = np.random.default_rng(7)
    labels = (rng.random(2000) < 0.2).astype(float)
    scores = (0.5 + 1e-6 * (labels + rng.normal(size=2000))).astype(np.float32)
    assert values("binary", labels, scores, ["auc"])["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_the_log_loss_of_logits_is_not_clipped():
    running = RunningMetrics("binary", ["loss"])
    running.update(np.array([1.0, 0.0]), np.array([1.0, 1.0]), logits=np.array([30.0, 5000.0]))
    assert running.result()["loss"] == pytest.approx(2500.0)
    running = RunningMetrics("multiclass", ["loss"])
    running.update(np.array([0]), np.array([[0.0, 1.0]]), logits=np.array([[-800.0, 200.0]]))
    assert running.result()["loss"] == pytest.approx(1000.0)


def test_r2_of_large_labels_keeps_its_digits():
    labels = 1e9 + np.arange(100.0)
    predictions = labels + np.where(np.arange(100) % 2, 1.0, -1.0)
    assert value("r2", "regression", labels, predictions) == pytest.approx(metrics.r2_score(labels, predictions))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_ranking_of_one_class_is_not_defined_and_says_why(label):
    running = RunningMetrics("binary")
    running.update(np.full(10, label), np.linspace(0.1, 0.4, 10))
    results = running.result()
    assert math.isnan(results["auc"])
    assert math.isnan(results["pr_auc"])
    assert math.isfinite(results["loss"])
    assert running.undefined(results)["auc"] == f"every label is {label:g}"
    assert running.undefined(results)["precision"] == "no prediction is above 0.5"


def test_predictions_that_are_not_finite_have_no_metrics():
    for task, names in NAMES.items():
        predictions = np.full((4, 3), np.nan) if task == "multiclass" else np.array([0.1, np.nan, 0.3, np.inf])
        results = values(task, np.array([0, 1, 0, 1]), predictions)
        assert list(results) == list(names)
        assert all(math.isnan(v) for v in results.values()), results
