"""Optimizers and schedules of Keras by their names, the table of all names, and what Keras refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.keras_names.keras_oracle import CLOSE, network, ours, plain
from tests.model.packed_sets import make_config
from trainer.config import keras_names
from trainer.errors import ConfigError
from trainer.model.objective import keras_table
from trainer.model.trainable import compile_model

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adafactor": {},
    "Adam": {"amsgrad": True, "clipnorm": 0.05},
    "Ftrl": {"l1_regularization_strength": 0.01},
    "Muon": {"ns_steps": 3, "global_clipnorm": 0.05},
    "RMSprop": {"centered": True, "weight_decay": 0.01},
    "SGD": {"nesterov": True, "momentum": 0.9, "clipvalue": 0.01},
}


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_keras_moves_weights_as_on_one_device(name, replicas):
    arguments = {"learning_rate": 0.01, **OPTIMIZERS[name]}
    optimizer = getattr(keras.optimizers, name)(**arguments)
    expected = plain("multiclass", loss=keras.losses.SparseCategoricalCrossentropy(), optimizer=optimizer)
    found = ours("multiclass", {"optimizer": {"name": name, **arguments}, "metrics": []}, replicas)
    for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_every_optimizer_of_keras_can_be_asked_for():
    for name in keras_names.table()["optimizers"]:
        config = make_config("multiclass", fit={"optimizer": {"name": name}})
        made = compile_model(network("multiclass"), config, steps_total=6).optimizer
        assert (type(made).__name__, type(made).__module__.split(".")[0]) == (name, "keras")
        default = keras_names.entry("optimizers", name)["arguments"]["learning_rate"]
        assert float(made.learning_rate) == pytest.approx(default)


def test_an_optimizers_average_of_the_weights_is_taken_at_the_end_of_the_run():
    arguments = {"learning_rate": 0.05, "use_ema": True, "ema_momentum": 0.5}
    expected = plain("binary", loss=keras.losses.BinaryCrossentropy(), optimizer=keras.optimizers.SGD(**arguments))
    fit = {"optimizer": {"name": "SGD", **arguments}, "metrics": [], "early_stopping": None}
    found = ours("binary", fit, replicas=2)
    raw = found.get_weights()
    found.finish_weights()
    for a, b, before in zip(found.get_weights(), expected.get_weights(), raw, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
        assert not np.allclose(a, before, **CLOSE)


SCHEDULES: dict[str, dict[str, Any]] = {
    "CosineDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "alpha": 0.1},
    "CosineDecayRestarts": {"initial_learning_rate": 0.1, "first_decay_steps": 3},
    "ExponentialDecay": {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5, "staircase": True},
    "InverseTimeDecay": {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5},
    "PiecewiseConstantDecay": {"boundaries": [2, 4], "values": [0.3, 0.2, 0.1]},
    "PolynomialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "power": 2.0},
}


@pytest.mark.parametrize("name", keras_names.table()["schedules"])
def test_a_schedule_of_keras_gives_its_rates(name):
    rate = {"name": name, **SCHEDULES[name]}
    for optimizer in ({"name": "adam"}, {"name": "Adam"}):
        config = make_config("binary", fit={"optimizer": {**optimizer, "learning_rate": rate}})
        made = compile_model(network("binary"), config, steps_total=6).optimizer
        schedule = getattr(keras.optimizers.schedules, name)(**SCHEDULES[name])
        for step in (0, 1, 4, 9):
            made.iterations.assign(step)
            assert float(made.learning_rate) == pytest.approx(float(schedule(step)))


def test_the_table_of_names_is_that_of_the_installed_keras():
    written = Path(keras_names.__file__).with_name("keras_names.json").read_text()
    assert written == keras_table.keras_names(), "run `python -m trainer.model.objective.keras_table trainer/config`"


def test_every_name_left_out_has_a_reason_and_is_kerass():
    for name in keras_table.NOT_IN_A_JOB_FILE:
        assert any(hasattr(module, name) for module in (keras.losses, keras.metrics, keras.optimizers))
        assert not any(name in keras_names.table()[kind] for kind in ("losses", "metrics", "optimizers"))


@pytest.mark.parametrize(
    ("task", "fit", "message"),
    [
        ("binary", {"metrics": [{"name": "AUC", "curve": "ROCK"}]}, "AUC: .*ROCK"),
        ("regression", {"metrics": [{"name": "R2Score", "class_aggregation": "mean"}]}, "R2Score: .*mean"),
        ("binary", {"optimizer": {"name": "SGD", "momentum": 7}}, "SGD: .*momentum"),
        (
            "multiclass",
            {"loss": {"name": "CategoricalGeneralizedCrossEntropy", "q": 3}},
            "CategoricalGeneralized.*: .*q",
        ),
        ("multiclass", {"loss": "Circle", "jit_compile": True}, "Circle compares the rows of a batch"),
    ],
)
def test_what_keras_refuses_is_a_config_error(task, fit, message):
    with pytest.raises(ConfigError, match=message):
        compile_model(network(task), make_config(task, fit=fit), steps_total=6)
