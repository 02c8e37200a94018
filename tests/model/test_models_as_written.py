"""Models as Keras's guides write them, with no word of kfit in their code: by column, compiled, frozen."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.model.packed_sets import FEATURES, batches, every_kind, labels, make_config
from trainer.errors import ConfigError, KfitError
from trainer.model.build import build_job
from trainer.model.features import Features
from trainer.model.strategy import make_strategy, seed_everything
from trainer.model.trainable import compile_model

OWN = "tests.model.test_models_as_written"
NAMES = ("f32", "i64", "vec", "s_hot", "i_hot")
ROWS = 60


def functional_raw():
    """Normalization and StringLookup inside, as in "structured data classification from scratch"."""
    number = keras.Input((1,), name="i64")
    text = keras.Input((1,), name="s_hot", dtype="string")
    integer = keras.Input((1,), name="i_hot", dtype="int64")
    codes = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(text)
    places = keras.layers.IntegerLookup(vocabulary=[7, 10**12], output_mode="one_hot")(integer)
    scaled = keras.layers.Normalization(mean=0.0, variance=300.0**2)(number)
    joined = keras.layers.Concatenate()([scaled, codes, places])
    return keras.Model([number, text, integer], keras.layers.Dense(1, "sigmoid")(joined))


def sequential():
    return keras.Sequential([keras.layers.Dense(8, "relu", name="first"), keras.layers.Dense(1, "sigmoid")])


class WideAndDeep(keras.Model):
    def __init__(self, units: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.place = keras.layers.Embedding(6, 3)
        self.deep = keras.layers.Dense(units, "relu")
        self.head = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        place = ops.squeeze(self.place(inputs["s_hot"]), 1)
        return self.head(self.deep(ops.concatenate([inputs["f32"], inputs["vec"], place], axis=-1)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class WithoutConfig(WideAndDeep):
    get_config = keras.Model.get_config


class TakesNothing(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.last(inputs["f32"])


def made_inside():
    class Inside(keras.Sequential):
        pass

    return Inside([keras.layers.Dense(1, "sigmoid")])


def compiled():
    model = sequential()
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.1),
        loss=keras.losses.BinaryFocalCrossentropy(gamma=1.0),
        metrics=["accuracy", keras.metrics.Precision(name="hits", thresholds=0.3)],
    )
    return model


def compiled_for_two_outputs():
    model = sequential()
    model.compile(loss={"a": "mse", "b": "mse"})
    return model


class WithItsOwnStep(keras.Model):
    """The custom `train_step` of Keras's guide, with a doubled loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(4, "relu")
        self.last = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.last(self.first(ops.concatenate(list(inputs.values()), axis=-1)))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = 2 * self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss, "rows": ops.cast(ops.shape(y)[0], "float32")}


def with_its_own_step():
    model = WithItsOwnStep()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.BinaryCrossentropy())
    return model


def one_tensor():
    inputs = keras.Input((3,), name="anything")
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))


def two_strange_inputs():
    inputs = [keras.Input((1,), name="f32"), keras.Input((1,), name="nowhere")]
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(keras.layers.Concatenate()(inputs)))


def made(build, inputs: str, names=NAMES, replicas: int = 1, fit=None, **model):
    config = make_config(
        features={n: FEATURES[n] for n in names},
        model={"entrypoint": f"{OWN}:{build.__name__}", "inputs": inputs, **model},
        fit=fit or {},
    )
    rows = every_kind(ROWS, names=names)
    seed_everything(config, make_strategy(f"cpu:{replicas}"))
    with make_strategy(f"cpu:{replicas}").scope():
        job = build_job(Features(rows.layout, config, rows.statistics), config)
        return compile_model(job.model, config, steps_total=6, compiled=job.compiled), rows, job


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("build", "inputs"),
    [(functional_raw, "raw"), (WideAndDeep, "encoded"), (sequential, "encoded"), (compiled, "encoded")],
)
def test_a_model_that_knows_nothing_of_kfit_trains(build, inputs, replicas):
    model, rows, _ = made(build, inputs, replicas=replicas)
    data = batches(rows.x, labels(ROWS, "binary"), 16)
    before = model.evaluate(data, verbose=0)[0]
    model.fit(data, epochs=8, verbose=0, shuffle=False)
    assert model.evaluate(data, verbose=0)[0] < before


def test_raw_columns_are_those_of_the_data():
    model, rows, _ = made(functional_raw, "raw")
    (own,) = [layer for layer in model.model.layers if isinstance(layer, keras.Model)]
    raw = {name: rows.raw[name].reshape(ROWS, 1) for name in ("i64", "s_hot", "i_hot")}
    raw["s_hot"] = np.where(raw["s_hot"] == "", "", raw["s_hot"]).astype(str)
    given = [ops.convert_to_tensor(raw["i64"].astype("float32")), ops.convert_to_tensor(raw["s_hot"])]
    expected = own([*given, ops.convert_to_tensor(raw["i_hot"])])
    np.testing.assert_allclose(model(rows.x), expected, atol=1e-6)


def plain_script(script, rows, names, encoding, weights):
    """A model as a plain script has it: its weights, and the encoded rows that it is called on."""
    features = Features(rows.layout, make_config(features={n: FEATURES[n] for n in names}), rows.statistics)
    inputs = features.inputs()
    x = keras.Model(inputs, getattr(features, encoding)(inputs))(rows.x)
    script(x)
    script.set_weights(weights)
    return script, x


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_a_model_is_compiled_with_is_used_where_the_job_file_is_silent(replicas):
    """Against the same model in a plain script, on the same encoded rows."""
    model, rows, job = made(compiled, "encoded", replicas=replicas)
    assert job.compiled.notes == ()
    script, x = plain_script(compiled(), rows, NAMES, "encode", model.get_weights()[-4:])
    history = script.fit(x, labels(ROWS, "binary"), batch_size=16, epochs=2, verbose=0, shuffle=False).history
    model.fit(batches(rows.x, labels(ROWS, "binary"), 16), epochs=2, verbose=0, shuffle=False)
    assert sorted(model.history.history) == sorted(history)
    for name, values in history.items():
        np.testing.assert_allclose(model.history.history[name], values, atol=1e-5, err_msg=name)


def test_a_train_step_of_ones_own_trains_as_in_a_plain_script():
    names = ("f32", "i64", "vec")
    model, rows, job = made(with_its_own_step, "encoded", names)
    (note,) = job.compiled.notes
    assert note.startswith("WithItsOwnStep.train_step is used: ")
    script, x = plain_script(with_its_own_step(), rows, names, "columns", model.get_weights()[-4:])
    script.fit(x, labels(ROWS, "binary")[:, None], batch_size=16, epochs=2, verbose=0, shuffle=False)
    model.fit(batches(rows.x, labels(ROWS, "binary"), 16), epochs=2, verbose=0, shuffle=False)
    assert model.history.history["rows"] == script.history.history["rows"] == [12, 12]
    np.testing.assert_allclose(model.history.history["loss"], script.history.history["loss"], atol=1e-6)
    for a, b in zip(model.get_weights()[-4:], script.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_train_step_of_ones_own_trains_on_two_replicas():
    """Replicas see half a batch each, and stay one model."""
    names = ("f32", "i64", "vec")
    model, rows, job = made(with_its_own_step, "encoded", names, replicas=2)
    assert "several replicas" in job.compiled.notes[0]
    model.fit(batches(rows.x, labels(ROWS, "binary"), 20), epochs=4, verbose=0, shuffle=False)
    losses = model.history.history["loss"]
    assert losses[-1] < losses[0]
    assert model.history.history["rows"] == [10.0] * 4
    for variable in model.trainable_variables:
        first, second = (one.numpy() for one in variable.value.values)
        np.testing.assert_array_equal(first, second)


def test_what_the_job_file_overrides_is_named():
    fit = {"loss": "Hinge", "optimizer": {"name": "sgd", "learning_rate": 0.5}, "metrics": ["auc"]}
    model, _, job = made(compiled, "encoded", fit=fit)
    assert [note.split()[0] for note in job.compiled.notes] == ["fit.loss", "fit.metrics", "fit.optimizer"]
    assert float(model.optimizer.learning_rate) == 0.5
    assert list(model.directions) == ["loss", "auc"]


def test_frozen_layers_keep_their_weights():
    model, rows, _ = made(sequential, "encoded", freeze=["first"])
    before = [weight.numpy() for weight in model.weights]
    model.fit(batches(rows.x, labels(ROWS, "binary"), 16), epochs=1, verbose=0, shuffle=False)
    moved = [not np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True)]
    assert moved[-4:] == [False, False, True, True]


@pytest.mark.parametrize(
    ("build", "inputs", "options", "what"),
    [
        (one_tensor, "raw", {}, "takes one tensor, and there are the columns f32, i64, vec, s_hot, i_hot"),
        (one_tensor, "encoded", {}, "does not take the encoded inputs"),
        (two_strange_inputs, "encoded", {}, "has the inputs nowhere; columns are f32, i64"),
        (sequential, "encoded", {"freeze": ["frist"]}, "has no layer 'frist'; did you mean 'first'?"),
        (compiled_for_two_outputs, "encoded", {}, "compiled with loss for several outputs"),
        (WithoutConfig, "encoded", {}, "WithoutConfig has no get_config, so its units would be lost"),
        (TakesNothing, "encoded", {}, "TakesNothing raises TypeError: "),
        (made_inside, "encoded", {}, "Inside is not found by its name in tests.model.test_models_as_written"),
        (functional_raw, "raw", {"names": ("i64", "s_hash")}, "column 's_hash' is hashed"),
        (functional_raw, "raw", {"names": ("i64", "big id")}, "holds 18446744073709551613, which int64 does not hold"),
    ],
)
def test_a_model_that_does_not_fit_the_columns_is_told(build, inputs, options, what):
    with pytest.raises(KfitError) as caught:
        made(build, inputs, **options)
    assert what in caught.value.what


def test_freeze_of_a_builtin_names_its_layers():
    config = make_config(
        features={"f32": FEATURES["f32"]}, model={"builtin": "mlp", "hidden": [4], "freeze": ["hidden"]}
    )
    rows = every_kind(20, names=("f32",))
    with pytest.raises(ConfigError, match="did you mean 'hidden_1'"):
        build_job(Features(rows.layout, config, rows.statistics), config)
