"""Names and arguments of Keras in a job file: checked without TensorFlow, and kept as they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trainer.config import Config, Fit
from trainer.errors import ConfigError

RUN = {
    "data": {"train": "x", "label": "y", "features": {"a": {"kind": "numeric"}}},
    "model": {"builtin": "mlp"},
    "output": {"uri": "out"},
}
FIT = {
    "loss": {"name": "BinaryFocalCrossentropy", "gamma": 2.0},
    "metrics": ["auc", {"name": "F1Score", "threshold": 0.5}, {"name": "AUC", "curve": "PR", "as": "area"}],
    "optimizer": {
        "name": "Muon",
        "learning_rate": {
            "name": "InverseTimeDecay",
            "initial_learning_rate": 0.1,
            "decay_steps": 3,
            "decay_rate": 0.5,
        },
        "ns_steps": 3,
    },
}


@pytest.fixture
def loaded(tmp_path: Path):
    def load(fit: dict[str, Any], task: str = "binary") -> Config:
        path = tmp_path / "job.yaml"
        path.write_text(json.dumps({"name": "job", "run": {**RUN, "task": task, "fit": fit}}))
        return Config.load(path)

    return load


def test_names_and_arguments_are_kept_as_they_are_written(loaded):
    config = loaded(FIT)
    dumped = config.fit.model_dump(mode="json")
    assert {key: dumped[key] for key in FIT} == FIT
    assert Fit.model_validate(config.fit.model_dump()) == config.fit
    assert [metric.log_name for metric in config.fit.metrics] == ["auc", "f1_score", "area"]
    assert loaded({}).fit.model_dump(mode="json")["loss"] == "auto"


def test_the_editors_schema_takes_every_name_and_still_refuses_mistakes():
    schema = json.loads((Path(__file__).parents[2] / "docs" / "run.schema.json").read_text())
    for fit in (FIT, {"optimizer": {"name": "adam"}}, {"loss": "Hinge"}, {"loss": {"name": "NewInKeras4", "x": 1}}):
        jsonschema.validate({"run": {**RUN, "task": "binary", "fit": fit}}, schema)
    for fit in ({"optimizer": {"name": "adam", "lr": 1}}, {"loss": 3}, {"metrics": "auc"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"run": {**RUN, "task": "binary", "fit": fit}}, schema)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (
            {"loss": "BinaryFocal"},
            "fit.loss: Keras 3.15.1 has no loss 'BinaryFocal'; did you mean 'BinaryFocalCrossent",
        ),
        ({"loss": "binary_focal_crossentropy"}, "did you mean 'BinaryFocalCrossentropy'?"),
        ({"loss": {"name": "Huber", "dleta": 2}}, "fit.loss: Huber has no argument 'dleta'; did you mean 'delta'?"),
        ({"loss": {"name": "Huber", "delta": "x"}}, "fit.loss: Huber: delta is 'x', and it takes a number"),
        (
            {"loss": {"name": "Hinge", "reduction": "none"}},
            "Hinge: reduction is 'none'; use one of sum_over_batch_size, ",
        ),
        ({"loss": {"name": "Dice", "axis": 0}}, "Dice: axis is 0; rows do not depend on each other"),
        ({"loss": "mse"}, "fit.loss 'mse' goes with regression; leave it out, or give a loss of Keras"),
        ({"loss": {"name": "auto", "gamma": 2}}, "'auto' takes no arguments, and has gamma"),
        ({"loss": {"name": "Hinge", "entrypont": 2}}, "Hinge has no argument 'entrypont'"),
        ({"loss": {"name": "BinaryCrossentropy", "from_logits": True}}, "the model answers with probabilities"),
        ({"loss": "SparseCategoricalCrossentropy"}, "compares classes; it goes with multiclass, not with binary"),
        ({"loss": "CTC"}, "has no loss 'CTC'"),
        ({"loss": "focal"}, "has no loss 'focal'; did you mean 'BinaryFocalCrossentropy'?"),
        ({"optimizer": "AdamW"}, "fit.optimizer: 'AdamW' is text; write it like {name: AdamW}"),
        ({"optimizer": "Moun"}, "fit.optimizer: Keras 3.15.1 has no optimizer 'Moun'; did you mean 'Muon'?"),
        (
            {"optimizer": {"name": "AdamW", "clipnorm": 1, "clipvalue": 2}},
            "fit.optimizer: AdamW: give one of clipnorm, clipvalue",
        ),
        (
            {"metrics": ["mae"]},
            "mae cannot be measured on a binary task; use auc, pr_auc, accuracy, precision, recall, or",
        ),
        ({"metrics": ["f1"]}, "fit.metrics[0]: Keras 3.15.1 has no metric 'f1'; did you mean 'F1Score'?"),
        ({"metrics": ["auc", "AUC"]}, "the name 'auc' is taken; give the metric another one: `as: name`"),
        ({"metrics": [{"name": "AUC", "as": "loss"}]}, "the name 'loss' is taken"),
        ({"metrics": [{"name": "AUC", "as": "val_x"}]}, "as is 'val_x'; use letters, digits and _"),
        ({"metrics": ["PrecisionAtRecall"]}, "PrecisionAtRecall needs recall"),
        ({"metrics": [{"name": "Recall", "thresholds": [0.1, 0.2]}]}, "Recall: give one threshold"),
        ({"optimizer": {"name": "Moun"}}, "fit.optimizer: Keras 3.15.1 has no optimizer 'Moun'; did you mean 'Muon'?"),
        (
            {"optimizer": {"name": "Muon", "lr": 1}},
            "fit.optimizer: Muon has no argument 'lr'; it takes learning_rate, ",
        ),
        (
            {"optimizer": {"name": "Adam", "learning_rate": -1}},
            "fit.optimizer.learning_rate: -1 (a whole number): should",
        ),
        (
            {"optimizer": {"learning_rate": {"name": "InverseTime"}}},
            "no schedule 'InverseTime'; did you mean 'InverseTi",
        ),
        ({"optimizer": {"learning_rate": "atuo"}}, "fit.optimizer.learning_rate: 'atuo' (text): should be 'auto'"),
        ({"optimizer": {"name": "Adam", "use_ema": True}}, "set fit.early_stopping: null, or its restore_best_weights"),
    ],
)
def test_a_wrong_name_or_argument_is_said_with_what_is_right(loaded, fit, said):
    with pytest.raises(ConfigError) as caught:
        loaded(fit)
    assert said in str(caught.value)


def test_a_metric_with_a_value_for_each_class_wants_an_average(loaded):
    with pytest.raises(ConfigError, match="F1Score has a value for each class; set average"):
        loaded({"metrics": ["F1Score"]}, "multiclass")
    loaded({"metrics": [{"name": "F1Score", "average": "macro"}]}, "multiclass")
