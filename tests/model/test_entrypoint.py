"""The user's own model trains; whatever is wrong with it is said with its place."""

from __future__ import annotations

import numpy as np
import pytest

from tests.model.packed_sets import FEATURES, FEW, batches, every_kind, labels, make_config
from trainer.errors import ConfigError, ModelCodeError
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.trainable import compile_model

CODE = """
import keras

def encoded(features, units):
    inputs = features.inputs()
    hidden = keras.layers.Dense(units, "relu")(features.encode(inputs))
    return keras.Model(inputs, keras.layers.Dense(features.outputs, features.activation)(hidden))

def by_column(features):
    inputs = features.inputs()
    columns = features.columns(inputs)
    place = keras.layers.Embedding(features.cardinality("s_hot"), 3)(columns["s_hot"])
    joined = keras.layers.Concatenate()([columns["f32"], columns["vec"], place])
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(joined))

def numbers_only(features):
    numbers = features.inputs()["numbers"]
    return keras.Model(numbers, keras.layers.Dense(1, "sigmoid")(numbers))

class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = keras.layers.Dense(1, "sigmoid")
    def call(self, x):
        return self.last(x["numbers"])

def subclassed(features):
    return Own()

def compiled(features):
    model = encoded(features, 3)
    model.compile("adam", "mse")
    return model

def raises(features):
    width = features.width
    return width / 0

def nothing(features):
    pass

def wide(features):
    inputs = features.inputs()
    return keras.Model(inputs, keras.layers.Dense(7, "sigmoid")(features.encode(inputs)))

def logits(features):
    inputs = features.inputs()
    return keras.Model(inputs, keras.layers.Dense(1)(features.encode(inputs)))

def rectified(features):
    inputs = features.inputs()
    return keras.Model(inputs, keras.layers.Dense(1, "relu", name="end")(features.encode(inputs)))

def of_columns(units=3):
    inputs = keras.Input((1,), name="f32")
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(keras.layers.Dense(units)(inputs)))

def of_the_script():
    return of_columns()

def strange_inputs(features):
    inputs = keras.Input((3,), name="mine")
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))

thing = 3

def anonymous(features):
    inputs = features.inputs()
    doubled = keras.layers.Lambda(lambda x: 2 * x, name="double")(features.encode(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(doubled))
"""


@pytest.fixture
def made_by(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_model.py").write_text(CODE)
    (tmp_path / "needs_more.py").write_text("import keras\nimport not_installed_here\n")
    (tmp_path / "broken.py").write_text("def f(:\n")

    def make(entrypoint: str, **args):
        config = make_config(features={n: FEATURES[n] for n in FEW}, model={"entrypoint": entrypoint, "args": args})
        made = every_kind(40, names=FEW)
        return build(Features(made.layout, config, made.statistics), config), made, config

    return make


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("encoded", {"units": 5}),
        ("by_column", {}),
        ("subclassed", {}),
        ("compiled", {}),
        pytest.param("numbers_only", {}, marks=pytest.mark.filterwarnings("ignore:.*structure of `inputs`")),
    ],
)
def test_own_models_train(made_by, name, args):
    model, made, config = made_by(f"own_model:{name}", **args)
    x = {key: np.nan_to_num(value) for key, value in made.x.items()}
    trainable = compile_model(model, config, 1)
    trainable.fit(batches(x, labels(40, "binary"), 20), verbose=0, shuffle=False)
    assert trainable(x).shape == (40, 1)
    assert np.isfinite(trainable.history.history["loss"]).all()


@pytest.mark.parametrize(
    ("entrypoint", "what", "where"),
    [
        ("needs_more:f", "No module named 'not_installed_here'", "needs_more.py:2"),
        ("broken:f", "broken does not import: SyntaxError", "broken.py:1"),
        ("own_model:raises", "own_model:raises raised: ZeroDivisionError: division by zero", "own_model.py:37"),
        ("own_model:encoded", "TypeError: encoded() missing 1 required positional argument: 'units'", "entrypoint"),
        ("own_model:nothing", "own_model:nothing returned NoneType, not a Keras model", "entrypoint"),
        ("own_model:wide", "shape (None, 7), expected shape (None, 1)", "entrypoint"),
        ("own_model:logits", "without activation, expected sigmoid", "entrypoint"),
        ("own_model:rectified", "ends in layer 'end' with the activation relu, expected sigmoid", "entrypoint"),
        ("own_model:of_the_script", "takes no features, and inputs: packed hands it those", "entrypoint"),
        ("own_model:anonymous", "has a Lambda layer, 'double', which a published model cannot hold", "entrypoint"),
        ("own_model:strange_inputs", "has the inputs mine; packed inputs are numbers, codes", "entrypoint"),
    ],
)
def test_faults_of_own_code_say_what_and_where(made_by, entrypoint, what, where):
    with pytest.raises(ModelCodeError) as caught:
        made_by(entrypoint)
    assert what in caught.value.what
    assert caught.value.where.endswith(where)


@pytest.mark.parametrize(
    ("entrypoint", "what"),
    [
        ("not_there:f", "there is no module 'not_there'"),
        ("not_there.at.all:f", "there is no module 'not_there'"),
        ("own_model.inner:f", "there is no module 'own_model.inner'"),
        ("own_model:missing", "own_model has no function 'missing'"),
        ("own_model:thing", "own_model has no callable 'thing'"),
        ("own_model:subclased", "own_model has no function 'subclased'"),
    ],
)
def test_an_entrypoint_that_does_not_exist_is_configuration(made_by, entrypoint, what):
    with pytest.raises(ConfigError) as caught:
        made_by(entrypoint)
    assert what in caught.value.what
    assert caught.value.where == "run.model.entrypoint"
    assert caught.value.remedy == "did you mean 'subclassed'?" if "clased" in entrypoint else caught.value.remedy
