"""What goes with a task, and what does not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests import sets
from trainer.config import METRICS_OF_TASK, Config
from trainer.config.objective import DEFAULT_METRICS, SHORT_METRICS
from trainer.errors import ConfigError
from trainer.metrics import NAMES

LEVELS = {"column": "label", "quantiles": [0.1, 0.9]}


def config(**changes) -> Config:
    return Config.model_validate(sets.job("data", "out", **changes)["run"])


def test_every_table_of_tasks_has_every_task():
    assert SHORT_METRICS.keys() == DEFAULT_METRICS.keys() == METRICS_OF_TASK.keys() == NAMES.keys()
    for task, names in METRICS_OF_TASK.items():
        assert set(names) <= set(NAMES[task])
        assert {name for name in SHORT_METRICS[task] if name != "loss"} <= set(NAMES[task])


TWO = {"late": {"task": "binary"}, "minutes": {"task": "regression", "weight": 0.2}}
SEVERAL = {"data__label": None, "task": None, "data__labels": TWO}


def test_one_label_is_a_list_of_one():
    (one,) = config(fit__metrics=["auc"]).targets
    assert (one.label.column, one.task, one.weight, one.prefix) == ("label", "binary", 1.0, "")
    late, minutes = config(**SEVERAL).targets
    assert (late.label.column, late.task, late.weight, late.prefix) == ("late", "binary", 1.0, "late_")
    assert (minutes.label.column, minutes.task, minutes.weight) == ("minutes", "regression", 0.2)


def test_the_order_of_labels_is_that_of_their_names():
    assert [*config(**{**SEVERAL, "data__labels": dict(reversed(TWO.items()))}).data.labels] == ["late", "minutes"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__label": "label"}, "give data.label and task for one label, or data.labels for several"),
        ({"task": "binary"}, "data.labels has a task for each label"),
        ({"fit__metrics": ["auc"]}, "fit.metrics is of one label; with several give it in data.labels"),
        ({"fit__loss": "mse"}, "fit.loss is of one label; with several give it in data.labels"),
        ({"fit__class_weight": "balanced"}, "fit.class_weight is of one label"),
        ({"fit__calibrate": "temperature"}, "not with several labels"),
        ({"data__labels": {"late": {"task": "binary", "metrics": ["rmse"]}}}, "data.labels.late.metrics: rmse cannot"),
        ({"data__labels": {"x": {"task": "binary"}, "late": {"task": "binary"}}}, "label 'x' is also a feature"),
        ({"data__labels": {"late": {"task": "count", "class_weight": "balanced"}}}, "data.labels.late.class_weight"),
        ({"data__holdout": "x", "promote": {}}, "several labels need one metric that decides: late_auc"),
        (
            {"data__holdout": "x", "promote": {"metric": "auc"}},
            "auc is not a metric of these labels; did you mean 'late_auc'?",
        ),
    ],
)
def test_what_does_not_go_with_several_labels_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        config(**{**SEVERAL, **changes})


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        (
            {"fit__early_stopping": {"monitor": "val_late_au"}},
            "run.fit.early_stopping.monitor",
            "there is no metric 'val_late_au'; did you mean 'val_late_auc'?",
        ),
        (
            {"fit__reduce_on_plateau": {"monitor": "minutes_rmsee"}},
            "run.fit.reduce_on_plateau.monitor",
            "there is no metric 'minutes_rmsee'; did you mean 'minutes_rmse'?",
        ),
        (
            {"fit__early_stopping": {"monitor": "mae"}},
            "run.fit.early_stopping.monitor",
            "there is no metric 'mae'; did you mean 'minutes_mae'?",
        ),
        (
            {"data__holdout": "x", "promote": {"metric": "late_auc", "limits": {"late_auc": 0.5, "minutes_rms": 40}}},
            "run.promote.limits.minutes_rms",
            "minutes_rms is not a metric of these labels; did you mean 'minutes_rmse'?",
        ),
        (
            {"data__holdout": "x", "promote": {"metric": "zzz"}},
            "run.promote.metric",
            "zzz is not a metric of these labels; use one of late_auc, late_pr_auc",
        ),
    ],
)
def test_a_metric_that_no_label_has_is_refused_where_it_stands_with_the_nearest(tmp_path, changes, place, said):
    path = sets.write_job(tmp_path / "job.yaml", sets.job("data", "out", **{**SEVERAL, **changes}))
    at = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if f"{place.rpartition('.')[2]}:" in line)
    with pytest.raises(ConfigError) as refused:
        Config.load(path)
    assert f"{path}:{at}: {place}: {said}" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"fit__early_stopping": {"monitor": "val_late_auc"}},
        {"fit__reduce_on_plateau": {"monitor": "late_loss"}},
        {"data__labels": {**TWO, "late": {"task": "binary", "metrics": [{"entrypoint": "a:b"}]}},
         "fit__early_stopping": {"monitor": "val_late_gain", "mode": "max"}},
        {"data__label": "label", "task": "binary", "data__labels": None, "model": {"entrypoint": "a:b"},
         "fit__early_stopping": {"monitor": "val_gain", "mode": "max"}},
    ],
)  # fmt: skip
def test_a_metric_that_code_of_ones_own_may_bring_is_taken(changes):
    config(**{**SEVERAL, **changes})


def test_a_metric_without_a_direction_needs_a_mode():
    with pytest.raises(ValidationError, match=r"fit.early_stopping.mode\n .*less or more of val_coverage is better"):
        config(task="quantile", fit__early_stopping={"monitor": "val_coverage"})


def test_a_label_or_a_task_is_missing():
    with pytest.raises(ValidationError, match=r"give data\.label and task for one label"):
        config(data__label=None)
    with pytest.raises(ValidationError, match=r"task: data\.label needs it"):
        config(task=None)


def test_three_quantiles_are_predicted_by_default():
    assert config(task="quantile").data.label.quantiles == [0.1, 0.5, 0.9]
    assert config(task="quantile", data__label=LEVELS).data.label.quantiles == [0.1, 0.9]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "quantile", "data__label": {"column": "label", "quantiles": [0.9, 0.1]}}, "do not rise"),
        ({"task": "quantile", "data__label": {"column": "label", "quantiles": [0.5, 1.0]}}, "less than 1"),
        ({"task": "regression", "data__label": LEVELS}, "data.label.quantiles goes with task: quantile"),
        ({"task": "count", "data__label": {"column": "label", "transform": "log1p"}}, "transform goes with regression"),
        ({"task": "quantile", "fit__loss": "MeanSquaredError"}, "compares one value a row, and quantiles are several"),
        ({"task": "quantile", "fit__metrics": ["MeanSquaredError"]}, "leave it out, or give code of your own"),
        ({"task": "quantile", "fit__metrics": ["mae"]}, "mae cannot be measured on a quantile task; use pinball"),
        ({"task": "count", "fit__loss": "mse"}, "'mse' goes with regression"),
        ({"task": "count", "fit__metrics": ["r2"]}, "r2 cannot be measured on a count task; use deviance"),
        ({"task": "count", "fit__class_weight": "balanced"}, "class_weight goes with binary and multiclass"),
        ({"task": "quantile", "fit__calibrate": "temperature"}, "calibrate goes with binary and multiclass"),
        ({"task": "multilabel", "fit__class_weight": "balanced"}, "class_weight goes with binary and multiclass"),
        ({"task": "multilabel", "fit__calibrate": "temperature"}, "calibrate goes with binary and multiclass"),
        ({"task": "multilabel", "fit__loss": "CategoricalCrossentropy"}, "compares classes; it goes with multiclass"),
        ({"task": "multilabel", "fit__metrics": ["F1Score"]}, "set average: macro"),
        ({"task": "quantile", "data__holdout": "x", "promote": {"metric": "coverage"}}, "promote"),
    ],
)
def test_what_has_no_meaning_for_a_task_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        config(**changes)
