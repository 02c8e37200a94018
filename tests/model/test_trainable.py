"""`fit` on padded, weighted batches is exact: loss, metrics, replicas, seeds, options."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from tests.model.packed_sets import FEATURES, FEW, batches, every_kind, labels, make_config
from trainer.config import Config
from trainer.errors import ConfigError
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.strategy import check_batch_size, make_strategy, seed_everything
from trainer.model.trainable import Trainable, compile_model

SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.05}}


def few_config(task: str = "binary", **parts) -> Config:
    return make_config(task, {name: FEATURES[name] for name in FEW}, **parts)


def trained(
    config: Config,
    rows: int = 90,
    batch_size: int = 40,
    replicas: int = 1,
    weights=None,
    epochs: int = 1,
    validate: bool = False,
) -> Trainable:
    strategy = make_strategy(f"cpu:{replicas}")
    seed_everything(config, strategy)
    made = every_kind(rows, task=config.task, names=FEW)
    with strategy.scope():
        features = Features(made.layout, config, made.statistics)
        model = compile_model(build(features, config), config, steps_total=epochs * -(-rows // batch_size))
    data = batches(made.x, labels(rows, config.task), batch_size, weights)
    model.fit(data, epochs=epochs, verbose=0, shuffle=False, validation_data=data if validate else None)
    return model


@pytest.mark.parametrize(
    ("task", "rows", "replicas"),
    [("binary", 90, 2), ("multiclass", 41, 4), ("regression", 119, 2)],
)
def test_replicas_end_an_epoch_with_the_weights_and_metrics_of_one_device(task, rows, replicas):
    plain = {"builtin": "mlp", "hidden": [8]}
    config = few_config(task, model=plain, fit=SGD)
    weights = np.random.default_rng(0).uniform(0.5, 2, rows)
    one, many = (trained(config, rows, replicas=count, weights=weights, validate=True) for count in (1, replicas))
    for a, b in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name, values in one.history.history.items():
        np.testing.assert_allclose(values, many.history.history[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("clip", ["clip_norm", "global_clip_norm"])
def test_replicas_clip_the_gradient_that_one_device_clips(clip):
    """Keras clips each replica's own gradient before it sums them; `mean_over_replicas` mends that."""
    optimizer = {**SGD["optimizer"], clip: 0.01}
    config = few_config(model={"builtin": "mlp", "hidden": [8]}, fit={"optimizer": optimizer})
    one, two = (trained(config, replicas=count) for count in (1, 2))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_padded_epoch_moves_weights_as_unpadded_batches_do():
    """One device, Keras's own loss on ragged batches, as the oracle."""
    config = few_config(model={"builtin": "linear"}, fit=SGD)
    padded = trained(config, rows=90)
    made, y = every_kind(90, names=FEW), labels(90, "binary")
    seed_everything(config, make_strategy("cpu"))
    plain = build(Features(made.layout, config, made.statistics), config)
    plain.compile(keras.optimizers.SGD(0.05), "binary_crossentropy")
    history = plain.fit(made.x, y, batch_size=40, shuffle=False, verbose=0)
    for a, b in zip(padded.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert padded.history.history["loss"][0] == pytest.approx(history.history["loss"][0], rel=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    runs = [trained(few_config(fit={"seed": seed}), epochs=2).get_weights() for seed in (5, 5, 6)]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize("replicas", [1, 2])
def test_binary_metrics_are_scikit_learns_on_the_real_rows_whatever_they_weigh(replicas):
    metrics = ["auc", "pr_auc", "accuracy", "precision", "recall"]
    config = few_config(fit={"metrics": metrics, "seed": 3})
    rows = 477
    model = trained(config, rows, batch_size=100, replicas=replicas)
    made, y = every_kind(rows, names=FEW), labels(rows, "binary")
    weighted = batches(made.x, y, 100, weights=np.where(y == 1, 9.0, 0.5))
    logs = model.evaluate(weighted, verbose=0, return_dict=True)
    p = model(made.x).numpy()[:, 0]
    said = {
        "auc": sklearn.metrics.roc_auc_score(y, p),
        "pr_auc": sklearn.metrics.average_precision_score(y, p),
        "accuracy": sklearn.metrics.accuracy_score(y, p > 0.5),
        "precision": sklearn.metrics.precision_score(y, p > 0.5, zero_division=0),
        "recall": sklearn.metrics.recall_score(y, p > 0.5),
    }
    loss = np.mean(np.where(y == 1, -9.0 * np.log(p), -0.5 * np.log1p(-p)))
    assert logs.pop("loss") == pytest.approx(loss, rel=1e-4)
    # Keras interpolates under a precision-recall curve, scikit-learn sums its steps.
    assert logs["pr_auc"] == pytest.approx(said["pr_auc"], abs=1e-2)
    assert {**logs, "pr_auc": 0} == pytest.approx({**said, "pr_auc": 0}, abs=1e-3)
    assert sorted(logs) == sorted(metrics)


def test_regression_metrics_keep_their_digits_on_labels_far_from_zero():
    config = few_config("regression", fit={"optimizer": {"name": "sgd", "learning_rate": 1e-9}})
    model = trained(config, 90)
    made, y = every_kind(90, names=FEW), labels(90, "regression")
    p = model(made.x).numpy()[:, 0]
    model.model.get_layer("prediction").bias.assign([1e5])
    logs = model.evaluate(batches(made.x, (y + 1e5).astype("float32"), 40), verbose=0, return_dict=True)
    y32 = (y + 1e5).astype("float32").astype("float64")
    p32 = model(made.x).numpy()[:, 0].astype("float64")
    assert abs(p32 - p - 1e5).max() < 10
    assert logs["r2"] == pytest.approx(sklearn.metrics.r2_score(y32, p32), rel=1e-4)
    assert logs["mae"] == pytest.approx(np.abs(y32 - p32).mean(), rel=1e-5)
    assert logs["rmse"] == pytest.approx(np.sqrt(np.square(y32 - p32).mean()), rel=1e-5)


def test_several_steps_at_a_time_end_with_the_same_weights():
    one, four = (trained(few_config(fit={**SGD, "steps_per_execution": steps}), 290, replicas=2) for steps in (1, 4))
    for a, b in zip(one.get_weights(), four.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_xla_ends_with_nearly_the_same_weights(task):
    plain = {"builtin": "mlp", "hidden": [8]}
    off = trained(few_config(task, model=plain, fit=SGD))
    # Determinism stays on in a process once it is on, and Keras then leaves XLA out.
    disable_op_determinism()
    on = trained(few_config(task, model=plain, fit={**SGD, "jit_compile": True}))
    assert on.jit_compile
    for a, b in zip(off.get_weights(), on.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_mixed_precision_computes_in_half_and_keeps_ends_in_float32():
    model = trained(few_config(fit={"mixed_precision": True}), epochs=2)
    made = every_kind(30, names=FEW)
    assert model.model.get_layer("hidden_1").compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in model.model.layers if layer.name.startswith(("embed", "scaled"))} == {
        "float32"
    }
    assert model(made.x).dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in model.weights)
    assert np.isfinite(model.history.history["loss"]).all()


@pytest.mark.parametrize("devices", ["cpu", "cpu:2"])
def test_fit_draws_every_batch_once(devices):
    strategy = make_strategy(devices)
    config = few_config()
    made = every_kind(80, names=FEW)
    with strategy.scope():
        model = compile_model(build(Features(made.layout, config, made.statistics), config), config, 4)
    (batch,) = batches(made.x, labels(80, "binary"), 80)
    drawn = []

    def draw():
        for step in range(4):
            drawn.append(step)
            yield batch

    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), batch)
    data = tf.data.Dataset.from_generator(draw, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(4))
    model.fit(data, epochs=1, verbose=0, shuffle=False)
    assert drawn == [0, 1, 2, 3]


def test_upstream_still_throws_a_batch_away_under_a_strategy():
    """When this fails, Keras builds without drawing, and `BuildsOnce` can go."""
    with make_strategy("cpu:2").scope():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    drawn = []

    def draw():
        for step in range(2):
            drawn.append(step)
            yield np.ones((2, 1), "float32"), np.ones((2, 1), "float32")

    spec = tf.TensorSpec((2, 1), tf.float32)
    data = tf.data.Dataset.from_generator(draw, output_signature=(spec, spec))
    model.fit(data.apply(tf.data.experimental.assert_cardinality(2)), verbose=0, shuffle=False)
    assert len(drawn) > 2


def test_upstream_still_clips_before_it_sums():
    """When this fails, Keras clips the summed gradient, and `mean_over_replicas` can go."""
    strategy = make_strategy("cpu:2")
    with strategy.scope():
        weight = keras.Variable([0.0])
        optimizer = keras.optimizers.SGD(1.0, clipnorm=1.0)
        optimizer.build([weight])
    strategy.run(lambda: optimizer.apply([tf.constant([10.0])], [weight]))
    assert weight.numpy().tolist() == [-2.0]


def test_schedules_reach_the_rates_they_name():
    def rate_at(step: int, **schedule) -> float:
        fit = {"optimizer": {"name": "sgd", "learning_rate": {"initial": 1.0, **schedule}}}
        made = every_kind(10, names=FEW)
        config = few_config(model={"builtin": "linear"}, fit=fit)
        model = compile_model(build(Features(made.layout, config, made.statistics), config), config, 100)
        model.optimizer.iterations.assign(step)
        return float(model.optimizer.learning_rate)

    assert rate_at(0, name="cosine") == 1.0
    assert rate_at(100, name="cosine", alpha=0.25) == pytest.approx(0.25)
    assert rate_at(5, name="cosine", warmup_steps=10) == pytest.approx(0.5)
    assert rate_at(10, name="cosine", warmup_steps=10) == pytest.approx(1.0)
    assert rate_at(50, name="exponential", decay_steps=50, decay_rate=0.5) == pytest.approx(0.5)
    assert rate_at(21, name="piecewise", boundaries=[20], values=[0.1]) == pytest.approx(0.1)


def test_what_does_not_go_together_is_a_config_error():
    made = every_kind(10, names=FEW)
    schedule = {"name": "cosine", "initial": 1.0}
    for rate in (schedule, {"name": "CosineDecay", "initial_learning_rate": 1.0, "decay_steps": 9}):
        config = few_config(fit={"optimizer": {"learning_rate": rate}, "reduce_on_plateau": {"monitor": "loss"}})
        with pytest.raises(ConfigError, match="reduce_on_plateau cannot lower"):
            compile_model(build(Features(made.layout, config, made.statistics), config), config, 1)


def test_xla_and_determinism_exclude_each_other():
    config = few_config(fit={"jit_compile": True, "deterministic": True})
    with pytest.raises(ConfigError, match="exclude each other"):
        seed_everything(config, make_strategy("cpu"))


def test_devices_and_batch_size_are_checked(monkeypatch):
    with pytest.raises(ConfigError, match="batch_size 30 does not divide among 4 replicas; use 28 or 32"):
        check_batch_size(30, 4)
    check_batch_size(32, 4)
    with pytest.raises(ConfigError, match="names no devices"):
        make_strategy("cpu:0")
    with pytest.raises(ConfigError, match="no GPU found") as caught:
        make_strategy("gpu")
    assert "resources.gpus" in caught.value.remedy
    monkeypatch.setattr(tf.test, "is_built_with_gpu_support", lambda: False)
    with pytest.raises(ConfigError, match="no GPU found") as caught:
        make_strategy("gpu")
    assert "LOCK=gpu" in caught.value.remedy
    assert len(tf.config.list_logical_devices("CPU")) == 4, "from here on TensorFlow has the devices of conftest"
    with pytest.raises(ConfigError, match="already runs with 4"):
        make_strategy("cpu:9")
    assert make_strategy("cpu:4").num_replicas_in_sync == 4
    assert make_strategy("auto").num_replicas_in_sync == 1
