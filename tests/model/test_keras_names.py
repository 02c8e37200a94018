"""Every loss, metric, optimizer and schedule of Keras, by its name in the job file: as plain Keras on one device.

The last batch is padded, rows have weights, and 1, 2 and 4 replicas share a batch. With 4 the last replica's share of
the last batch is padding alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.packed_sets import batches, make_config
from trainer.config import keras_names
from trainer.errors import ConfigError
from trainer.model.objective import keras_table
from trainer.model.objective.keras_inputs import arguments_of
from trainer.model.strategy import make_strategy
from trainer.model.trainable import Trainable, compile_model
from trainer.schema import LabelField

ROWS, BATCH = 41, 16
REPLICAS = (1, 2, 4)
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 5)).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2.0, ROWS).astype("float32")
LABELS = {
    "binary": (RNG.random(ROWS) < 0.4).astype("float32"),
    "multiclass": RNG.integers(0, 3, ROWS).astype("int32"),
    "regression": RNG.uniform(0.5, 3.0, ROWS).astype("float32"),
}
#: Losses that compare classes stand with multiclass, those of counts and sizes with regression.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "BinaryCrossentropy": ("binary", {"label_smoothing": 0.1}),
    "BinaryFocalCrossentropy": ("binary", {"gamma": 2.0, "apply_class_balancing": True}),
    "CategoricalCrossentropy": ("multiclass", {"label_smoothing": 0.1}),
    "CategoricalFocalCrossentropy": ("multiclass", {"gamma": 1.5}),
    "CategoricalGeneralizedCrossEntropy": ("multiclass", {"q": 0.7}),
    "CategoricalHinge": ("multiclass", {}),
    "Circle": ("multiclass", {"gamma": 2.0}),
    "CosineSimilarity": ("multiclass", {}),
    "Dice": ("binary", {}),
    "Hinge": ("binary", {}),
    "Huber": ("regression", {"delta": 0.3}),
    "KLDivergence": ("multiclass", {}),
    "LogCosh": ("regression", {}),
    "MeanAbsoluteError": ("regression", {}),
    "MeanAbsolutePercentageError": ("regression", {}),
    "MeanSquaredError": ("regression", {}),
    "MeanSquaredLogarithmicError": ("regression", {}),
    "Poisson": ("regression", {}),
    "SparseCategoricalCrossentropy": ("multiclass", {}),
    "SquaredHinge": ("binary", {}),
    "Tversky": ("multiclass", {"alpha": 0.3}),
}
CLASSES = {"num_classes": 3}
METRICS: dict[str, tuple[str, dict[str, Any]]] = {
    "AUC": ("binary", {"curve": "PR", "num_thresholds": 57}),
    "Accuracy": ("multiclass", {}),
    "BinaryAccuracy": ("binary", {"threshold": 0.6}),
    "BinaryCrossentropy": ("binary", {}),
    "BinaryIoU": ("binary", {"threshold": 0.45}),
    "CategoricalAccuracy": ("multiclass", {}),
    "CategoricalCrossentropy": ("multiclass", {}),
    "CategoricalHinge": ("multiclass", {}),
    "ConcordanceCorrelation": ("multiclass", {}),
    "CosineSimilarity": ("multiclass", {}),
    "F1Score": ("binary", {"threshold": 0.5}),
    "FBetaScore": ("multiclass", {"average": "macro", "beta": 2.0}),
    "FalseNegatives": ("binary", {}),
    "FalsePositives": ("binary", {}),
    "Hinge": ("binary", {}),
    "IoU": ("multiclass", {**CLASSES, "target_class_ids": [1]}),
    "KLDivergence": ("multiclass", {}),
    "LogCoshError": ("regression", {}),
    "MeanAbsoluteError": ("regression", {}),
    "MeanAbsolutePercentageError": ("regression", {}),
    "MeanIoU": ("multiclass", CLASSES),
    "MeanSquaredError": ("regression", {}),
    "MeanSquaredLogarithmicError": ("regression", {}),
    "OneHotIoU": ("multiclass", {**CLASSES, "target_class_ids": [0, 2]}),
    "OneHotMeanIoU": ("multiclass", CLASSES),
    "PearsonCorrelation": ("multiclass", {}),
    "Poisson": ("regression", {}),
    "Precision": ("binary", {"thresholds": 0.4}),
    "PrecisionAtRecall": ("binary", {"recall": 0.6}),
    "R2Score": ("regression", {}),
    "Recall": ("binary", {"thresholds": 0.4}),
    "RecallAtPrecision": ("binary", {"precision": 0.5}),
    "RootMeanSquaredError": ("regression", {}),
    "SensitivityAtSpecificity": ("binary", {"specificity": 0.5}),
    "SparseCategoricalAccuracy": ("multiclass", {}),
    "SparseCategoricalCrossentropy": ("multiclass", {}),
    "SparseTopKCategoricalAccuracy": ("multiclass", {"k": 2}),
    "SpecificityAtSensitivity": ("binary", {"sensitivity": 0.5}),
    "SquaredHinge": ("binary", {}),
    "TopKCategoricalAccuracy": ("multiclass", {"k": 2}),
    "TrueNegatives": ("binary", {}),
    "TruePositives": ("binary", {}),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adafactor": {},
    "Adam": {"amsgrad": True, "clipnorm": 0.05},
    "Ftrl": {"l1_regularization_strength": 0.01},
    "Muon": {"ns_steps": 3, "global_clipnorm": 0.05},
    "RMSprop": {"centered": True, "weight_decay": 0.01},
    "SGD": {"nesterov": True, "momentum": 0.9, "clipvalue": 0.01},
}
#: Plain Keras takes one-hot rows where ours are made of class indices.
INDICES = ("Sparse", "IoU", "MeanIoU")


def network(task: str) -> keras.Model:
    inputs = keras.Input((5,), name="numbers")
    units, activation = {"binary": (1, "sigmoid"), "multiclass": (3, "softmax"), "regression": (1, "softplus")}[task]
    layer = keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    return keras.Model({"numbers": inputs}, layer(inputs))


def ours(task: str, fit: dict[str, Any], replicas: int, label: LabelField | None = None, y: Any = None) -> Trainable:
    """Trained by the job file's words for two epochs of padded batches; `second_pass` evaluates them."""
    config = make_config(task, fit={"optimizer": {"name": "sgd", "learning_rate": 0.05}, **fit})
    with make_strategy(f"cpu:{replicas}").scope():
        model = compile_model(network(task), config, steps_total=6, labels=() if label is None else (label,))
    data = batches({"numbers": X}, LABELS[task] if y is None else y, BATCH, WEIGHTS)
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    model.second_pass = lambda: model.evaluate(data, verbose=0, return_dict=True)
    return model


def plain(task: str, *, loss: keras.losses.Loss, optimizer: Any = None) -> keras.Model:
    """Keras's own `fit` on one device, on batches that are not padded."""
    model = network(task)
    model.compile(optimizer or keras.optimizers.SGD(0.05), loss)
    y = labels_for(task, type(loss).__name__)
    model.fit({"numbers": X}, y, BATCH, 2, sample_weight=WEIGHTS, shuffle=False, verbose=0)
    return model


def labels_for(task: str, name: str) -> np.ndarray:
    y = LABELS[task]
    if name in ("CategoricalGeneralizedCrossEntropy", "Circle"):
        return y
    return np.eye(3, dtype="float32")[y] if task == "multiclass" and not name.startswith(INDICES) else y[:, None]


@cache
def expected_of_loss(name: str, reduction: str) -> tuple[list[float], list[np.ndarray]]:
    task, arguments = LOSSES[name]
    model = plain(task, loss=getattr(keras.losses, name)(**arguments, reduction=reduction))
    return model.history.history["loss"], model.get_weights()


def assert_loss_is_kerass(name: str, replicas: int, reduction: str = "sum_over_batch_size") -> None:
    task, arguments = LOSSES[name]
    losses, weights = expected_of_loss(name, reduction)
    trained = ours(task, {"loss": {"name": name, **arguments, "reduction": reduction}, "metrics": []}, replicas)
    np.testing.assert_allclose(trained.history.history["loss"], losses, **CLOSE)
    for a, b in zip(trained.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("name", keras_names.table()["losses"])
def test_a_loss_of_keras_is_that_of_plain_keras_on_one_device(name, replicas):
    assert_loss_is_kerass(name, replicas)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_a_loss_is_reduced_as_keras_reduces_it(reduction, replicas):
    assert_loss_is_kerass("BinaryFocalCrossentropy", replicas, reduction)


@pytest.mark.parametrize("replicas", [1, 4])
def test_rows_of_a_class_that_is_ignored_do_not_count(replicas):
    loss = {"ignore_class": 2}
    expected = plain("multiclass", loss=keras.losses.SparseCategoricalCrossentropy(**loss))
    found = ours("multiclass", {"loss": {"name": "SparseCategoricalCrossentropy", **loss}, "metrics": []}, replicas)
    np.testing.assert_allclose(found.history.history["loss"], expected.history.history["loss"], **CLOSE)


@cache
def logs_of_all_metrics(task: str, replicas: int) -> tuple[dict[str, float], np.ndarray]:
    metrics = [{"name": n, "as": f"own_{n}", **arguments} for n, (of, arguments) in METRICS.items() if of == task]
    model = ours(task, {"metrics": metrics}, replicas)
    return model.second_pass(), model({"numbers": X}).numpy()


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("name", keras_names.table()["metrics"])
def test_a_metric_of_keras_is_that_of_plain_keras_on_one_device(name, replicas):
    task, arguments = METRICS[name]
    logs, predictions = logs_of_all_metrics(task, replicas)
    label = LabelField("y", "", task)
    metric = getattr(keras.metrics, name)(**arguments_of(label, name, arguments))
    metric.update_state(labels_for(task, name), predictions)
    np.testing.assert_allclose(logs[f"own_{name}"], np.squeeze(metric.result()), **CLOSE)


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_regression_by_keras_sees_labels_in_their_own_units(replicas):
    """Learnt on another scale and stored minus an offset, as timestamps are."""
    label = LabelField("y", "", "regression", transform="standard", offset=1000.0, mean=1001.5, deviation=0.5)
    fit = {"loss": "MeanAbsolutePercentageError", "metrics": ["MeanAbsolutePercentageError", "MeanSquaredError"]}
    model = ours("regression", fit, replicas, label)
    p = model({"numbers": X}).numpy()[:, 0].astype("float64") * 0.5 + 1001.5
    y = LABELS["regression"].astype("float64") + 1000.0
    seen = model.second_pass()
    errors = 100 * np.abs(y - p) / y
    assert seen["mean_absolute_percentage_error"] == pytest.approx(errors.mean(), rel=1e-6)
    assert seen["mean_squared_error"] == pytest.approx(np.square(y - p).mean(), rel=1e-6)
    assert seen["loss"] == pytest.approx((errors * WEIGHTS).mean(), rel=1e-5)


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
