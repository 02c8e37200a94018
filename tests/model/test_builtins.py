"""What the builtin models begin with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.model.packed_sets import FEATURES, every_kind, make_config
from trainer.model.build import build
from trainer.model.features import Features
from trainer.schema import ColumnStatistics

NAMES = ("f32", "i64", "vec", "s_hot")


def built(task: str, values: tuple[tuple[str | int, int], ...], **parts):
    made = every_kind(40, task=task, names=NAMES)
    label = ColumnStatistics(rows=sum(n for _, n in values), nulls=0, values=values)
    statistics = replace(made.statistics, columns={**made.statistics.columns, "y": label})
    config = make_config(task, {name: FEATURES[name] for name in NAMES}, **parts)
    return build(Features(made.layout, config, statistics), config)


@pytest.mark.parametrize(
    ("fit", "rate"), [({}, 0.1), ({"class_weight": "balanced"}, 0.5), ({"class_weight": {"1": 9.0}}, 0.5)]
)
def test_the_bias_of_a_binary_model_begins_at_the_weighted_frequency_of_its_label(fit, rate):
    bias = float(built("binary", ((0, 90), (1, 10)), fit=fit).get_layer("prediction").bias[0])
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(rate)


def test_the_biases_of_a_multiclass_model_begin_at_the_frequencies():
    model = built("multiclass", (("red", 60), ("green", 30), ("blue", 10)))
    odds = np.exp(np.asarray(model.get_layer("prediction").bias))
    np.testing.assert_allclose(odds / odds.sum(), [0.6, 0.3, 0.1], rtol=1e-5)


@pytest.mark.parametrize("builtin", ["mlp", "dcn"])
@pytest.mark.parametrize("numbers", ["periodic", "piecewise", "none"])
def test_numeric_columns_are_embedded_and_elements_of_vectors_are_not(builtin, numbers):
    model = built("binary", ((0, 1), (1, 1)), model={"builtin": builtin, "hidden": [5], "numbers": numbers})
    plain = built("binary", ((0, 1), (1, 1)), model={"builtin": "linear"})
    width = plain.get_layer("prediction").kernel.shape[0]
    embedded = 0 if numbers == "none" else 2 * 8  # f32 and i64
    assert model.get_layer("hidden_1").kernel.shape[0] == width + embedded
    assert np.isfinite(model(every_kind(40, names=NAMES).x)).all()
