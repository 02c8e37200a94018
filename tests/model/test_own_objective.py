"""A loss, metrics and an optimizer of the job's own code: as plain Keras on one device, on padded batches."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tests.model.keras_names.keras_oracle import CLOSE, LABELS, X, network, ours, plain
from tests.model.packed_sets import make_config
from trainer.errors import ConfigError, ModelCodeError
from trainer.model.objective.optimizer import clips
from trainer.model.trainable import compile_model

OWN = "tests.model.test_own_objective"


class Focal(keras.losses.Loss):
    def __init__(self, gamma: float = 1.0, **options):
        super().__init__(**options)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        hit = ops.where(y_true > 0.5, y_pred, 1 - y_pred)
        return ops.squeeze(-((1 - hit) ** self.gamma) * ops.log(hit + 1e-7), -1)


def squared(y_true, y_pred, power: float = 2.0):
    """Of shape [batch, 1]: Keras's mean is over all elements."""
    return ops.abs(y_true - y_pred) ** power


def of_labels(y_true):
    return y_true[:, 0]


def of_three(y_true, y_pred):
    return keras.ops.zeros((3,))


def of_the_batch(y_true, y_pred):
    return ops.max(ops.square(y_true - y_pred))


def distance(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


class SquaredErrors(keras.metrics.Metric):
    """Takes no weights, as many a metric of a guide does not."""

    def __init__(self, name: str = "squares"):
        super().__init__(name=name)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true, y_pred):
        self.total.assign_add(ops.sum(ops.square(y_true - y_pred)))

    def result(self):
        return self.total


def optimizer(rate: float):
    return keras.optimizers.SGD(rate, momentum=0.5, global_clipnorm=0.05)


def nothing(y_true, y_pred):
    return None


TWICE = {"metrics": ["auc", {"entrypoint": f"{OWN}:{SquaredErrors.__name__}", "args": {"name": "auc"}}]}


class Wrapped(keras.losses.Loss):
    """A plain function as Keras wraps it, for the oracle."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"entrypoint": f"{OWN}:Focal", "args": {"gamma": 2.0}}, lambda: Focal(2.0)),
        ({"entrypoint": f"{OWN}:squared", "args": {"power": 3.0}}, lambda: Wrapped(lambda y, p: squared(y, p, 3.0))),
        ({"entrypoint": f"{OWN}:of_the_batch"}, lambda: Wrapped(of_the_batch)),
    ],
    ids=["class", "function", "one number for the batch"],
)
def test_an_own_loss_is_that_of_plain_keras_on_one_device(own, expected, replicas):
    oracle = plain("binary", loss=expected())
    found = ours("binary", {"loss": own, "metrics": []}, replicas)
    np.testing.assert_allclose(found.history.history["loss"], oracle.history.history["loss"], **CLOSE)
    for a, b in zip(found.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("replicas", [1, 4])
def test_own_metrics_count_every_row_once_and_no_padding(replicas):
    metrics = [{"entrypoint": f"{OWN}:distance"}, {"entrypoint": f"{OWN}:{SquaredErrors.__name__}"}]
    model = ours("regression", {"metrics": metrics}, replicas)
    logs = model.second_pass()
    errors = LABELS["regression"] - model({"numbers": X}).numpy()[:, 0]
    assert logs["distance"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
    assert logs["squares"] == pytest.approx(np.square(errors).sum(), rel=1e-5)


@pytest.mark.parametrize("replicas", [1, 4])
def test_an_own_optimizer_clips_what_one_device_clips(replicas):
    own = {"entrypoint": f"{OWN}:optimizer", "args": {"rate": 0.1}}
    oracle = plain("binary", loss=keras.losses.BinaryCrossentropy(), optimizer=optimizer(0.1))
    found = ours("binary", {"optimizer": own, "metrics": []}, replicas)
    for a, b in zip(found.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_an_optimizer_that_mixed_precision_has_wrapped_still_clips():
    inner = optimizer(0.1)
    assert clips(inner)
    assert clips(keras.optimizers.LossScaleOptimizer(inner))
    assert not clips(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))


@pytest.mark.parametrize(
    ("fit", "error", "what"),
    [
        ({"loss": {"entrypoint": f"{OWN}:nothing"}}, ModelCodeError, "nothing returned NoneType, not a tensor"),
        (
            {"loss": {"entrypoint": f"{OWN}:{SquaredErrors.__name__}"}},
            ModelCodeError,
            "returned SquaredErrors, not a Keras loss",
        ),
        ({"loss": {"entrypoint": f"{OWN}:missing"}}, ConfigError, "has no function 'missing'"),
        (
            {"loss": {"entrypoint": f"{OWN}:{of_labels.__name__}"}},
            ModelCodeError,
            "cannot be called with y_true, y_pred: too many",
        ),
        (
            {"loss": {"entrypoint": f"{OWN}:{of_three.__name__}"}},
            ModelCodeError,
            r"of shape \(3,\), not a value for each row",
        ),
        (
            {"metrics": [{"entrypoint": f"{OWN}:{of_labels.__name__}"}]},
            ModelCodeError,
            "of_labels cannot be called with y_true, y_pred: too many positional arguments",
        ),
        (
            {"metrics": [{"entrypoint": f"{OWN}:{of_three.__name__}"}]},
            ModelCodeError,
            r"of shape \(3,\), not a value for each row",
        ),
        ({"metrics": [{"entrypoint": f"{OWN}:of_the_batch"}]}, ModelCodeError, "not a value for each row"),
        ({"metrics": [{"entrypoint": f"{OWN}:Focal"}]}, ModelCodeError, "returned Focal, not a Keras metric"),
        (TWICE, ConfigError, "is taken"),
        ({"optimizer": {"entrypoint": f"{OWN}:optimizer"}}, ModelCodeError, "missing 1 required positional argument"),
        ({"optimizer": {"entrypoint": f"{OWN}:Focal"}}, ModelCodeError, "returned Focal, not a Keras optimizer"),
    ],
)
def test_an_own_objective_that_is_none_is_told(fit, error, what):
    with pytest.raises(error, match=what):
        ours("binary", fit, 1)


def test_a_plateau_cannot_lower_the_rate_of_an_own_schedule(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    schedule = "keras.optimizers.schedules.CosineDecay(0.1, 9)"
    (tmp_path / "own_rate.py").write_text(f"import keras\ndef made():\n    return keras.optimizers.SGD({schedule})\n")
    fit = {"optimizer": {"entrypoint": "own_rate:made"}, "reduce_on_plateau": {"monitor": "loss"}}
    with pytest.raises(ConfigError, match="reduce_on_plateau cannot lower"):
        compile_model(network("binary"), make_config("binary", fit=fit), steps_total=6)
