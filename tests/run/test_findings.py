"""What a run says of its own use: the trivial baseline, and warnings with what to change."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from trainer.run import findings
from trainer.schema import ColumnStatistics, LabelField, Statistics

RNG = np.random.default_rng(0)


def training(**known: object) -> Statistics:
    return Statistics(1000, {"y": ColumnStatistics(rows=1000, nulls=0, **known)})


def test_the_baseline_of_a_regression_is_the_training_mean():
    labels = RNG.normal(5, 2, 300)
    trivial = findings.baseline(LabelField("y", "double", "regression"), training(mean=4.0), labels)
    assert trivial["rmse"] == pytest.approx(metrics.root_mean_squared_error(labels, np.full(300, 4.0)))
    assert trivial["r2"] < 0


def test_the_baseline_of_classes_is_their_frequency_in_training():
    labels = (RNG.random(300) < 0.3).astype(float)
    trivial = findings.baseline(LabelField("y", "int64", "binary"), training(values=((0, 800), (1, 200))), labels)
    assert trivial["auc"] == 0.5
    assert trivial["loss"] == pytest.approx(metrics.log_loss(labels, np.full(300, 0.2)))
    assert trivial["accuracy"] == pytest.approx(1 - labels.mean())
    names = LabelField("y", "string", "multiclass", ("a", "b", "c"))
    indices = RNG.integers(0, 3, 300)
    many = findings.baseline(names, training(values=(("c", 700), ("a", 300))), indices)
    assert many["accuracy"] == pytest.approx((indices == 2).mean())


def test_without_the_labels_statistics_there_is_no_baseline():
    assert findings.baseline(LabelField("y", "int64", "binary"), Statistics(10, {}), np.ones(3)) == {}
    assert findings.baseline(LabelField("y", "int64", "binary"), training(), np.ones(3)) == {}


LABELS = np.tile([0.0, 1.0], 200)
GOOD = {
    "metrics": {"train": {"auc": 0.84}, "validation": {"auc": 0.8}},
    "epochs": 5,
    "best_epoch": 3,
    "stopped_early": False,
}


def test_a_good_run_warns_of_nothing():
    assert findings.warnings(GOOD, "binary", {"auc": 0.5}, LABELS) == []
    assert findings.warnings_of_run(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "labels", "says"),
    [
        ({"metrics": {"train": {"auc": 0.5}, "validation": {"auc": 0.49}}}, LABELS, "not better than answering"),
        ({"best_epoch": 5}, LABELS, "the best epoch is the last one (5)"),
        ({}, np.repeat([0.0, 1.0], [5000, 40]), "40 rows of the rarer class"),
        ({"metrics": {"train": {"auc": 0.99}, "validation": {"auc": 0.8}}}, LABELS, "far apart: auc 0.99 and 0.8"),
    ],
)
def test_each_weakness_is_said_once_with_what_to_change(changes, labels, says):
    result = {**GOOD, **changes}
    warnings = [*findings.warnings(result, "binary", {"auc": 0.5}, labels), *findings.warnings_of_run(result)]
    assert len(warnings) == 1
    assert says in warnings[0]
    assert any(key in warnings[0] for key in ("fit.epochs", "data.validation", "model.hidden"))


def test_an_error_is_better_when_smaller():
    result = {**GOOD, "metrics": {"train": {"rmse": 1.0}, "validation": {"rmse": 2.0}}}
    assert [line[:20] for line in findings.warnings(result, "regression", {"rmse": 2.0}, LABELS)] == [
        "the model is not bet",
        "train and validation",
    ]
    fine = {**GOOD, "metrics": {"train": {"rmse": 1.0}, "validation": {"rmse": 1.2}}}
    assert findings.warnings(fine, "regression", {"rmse": 2.0}, LABELS) == []


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_metric_that_is_not_defined_is_not_compared(value):
    result = {**GOOD, "metrics": {"train": {"auc": 0.9}, "validation": {"auc": value}}}
    assert findings.warnings(result, "binary", {"auc": 0.5}, LABELS) == []
