"""The user's own model: import it, call it, and say plainly where it went wrong."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import keras

from trainer.config import Entrypoint, Fit
from trainer.errors import KfitError, ModelCodeError
from trainer.model import own_code
from trainer.model.builtins import side_by_side
from trainer.model.column_inputs import columns_for
from trainer.model.features import Features
from trainer.model.objective.compiled import Compiled, OwnStep, compiled_by

_WHERE = "run.model.entrypoint"
#: Arguments of every layer, and of a functional model.
_OF_KERAS = {"self", "args", "kwargs", "name", "trainable", "dtype", "inputs", "outputs"}
#: Activations whose answers are no probabilities.
_NO_PROBABILITY = frozenset(
    {"linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "softplus", "softsign"}
)


def build_entrypoint(features: Features, spec: Entrypoint, fit: Fit) -> tuple[keras.Model, Compiled]:
    """Calls `package.module:function(features, **args)` and checks what comes back.

    Returns:
        An uncompiled functional model: packed inputs -> float32 [B, features.outputs]; and what its code compiled.

    Raises:
        ConfigError: There is no such module or function.
        ModelCodeError: It does not import, raises, or returns what cannot be trained.
    """
    made = _made(features, spec)
    return _with_step(features, made, spec.inputs, fit, f"the model of {spec.entrypoint}", _WHERE)


def build_saved(features: Features, made: keras.Model, kind: str, uri: str, fit: Fit) -> tuple[keras.Model, Compiled]:
    """As `build_entrypoint`, of a model that was loaded from a URI and takes `packed`, `encoded` or `raw` inputs."""
    return _with_step(features, made, kind, fit, f"the model in {uri}", "run.model.from")


def _with_step(
    features: Features, made: keras.Model, kind: str, fit: Fit, name: str, where: str
) -> tuple[keras.Model, Compiled]:
    model, front = _fitted_in(features, made, kind, name, where)
    own_step = OwnStep(made, front) if type(made).train_step is not keras.Model.train_step else None
    if len(features.heads) > 1 and (own_step is not None or made.compiled):
        what = "has a train_step of its own" if own_step is not None else "is compiled"
        raise ModelCodeError(
            f"{name} {what}, which goes with one label; the job has {len(features.heads)}",
            where=where,
            remedy="leave loss, metrics and the step to the job file",
        )
    return model, compiled_by(made, fit, own_step)


def _made(features: Features, spec: Entrypoint) -> keras.Model:
    builder = own_code.load(spec.entrypoint, _WHERE, "features" if spec.inputs == "packed" else "")
    if spec.inputs == "packed":
        _check_takes_features(builder, spec)
        return own_code.make(spec.entrypoint, spec.args, _WHERE, keras.Model, features)
    takes_features = "features" in inspect.signature(builder).parameters
    args = {**spec.args, **({"features": features} if takes_features else {})}
    return own_code.make(spec.entrypoint, args, _WHERE, keras.Model)


def _check_takes_features(builder: Any, spec: Entrypoint) -> None:
    """The model of a plain script takes no features; it takes columns, which the job file has to say."""
    try:
        takes = inspect.signature(builder).parameters
    except ValueError:  # of a class without one
        return
    if takes.keys() <= spec.args.keys():
        raise ModelCodeError(
            f"{spec.entrypoint} takes no features, and inputs: packed hands it those",
            where=_WHERE,
            remedy="set inputs: raw (or encoded) for a model of columns, or let it take features as its first argument",
        )


def _fitted_in(
    features: Features, made: keras.Model, kind: str, name: str, where: str
) -> tuple[keras.Model, keras.Model]:
    """The model on packed inputs, checked, and what stands in front of the one that was made."""
    inputs = features.inputs()
    try:
        taken = (
            _taken_inputs(made, inputs, name, where) if kind == "packed" else columns_for(features, made, inputs, kind)
        )
        _check_shapes(made, taken, name, where)
        output = made(taken)
    except KfitError:
        raise
    except Exception as error:
        raise own_code.fault(f"{name} does not take the {kind} inputs", error, where) from error
    output = _one_output(features, output, name, where)
    _check_activation(features, made, name, where)
    _check_loads_again(made, name, where)
    if output.dtype != "float32":
        output = keras.layers.Activation("linear", dtype="float32", name="float32_prediction")(output)
    return keras.Model(inputs, output, name=made.name), keras.Model(inputs, taken)


def _one_output(features: Features, output: Any, name: str, where: str) -> Any:
    """What a model returns as one tensor; of several labels it may be a dict by label or a list in their order."""
    heads = features.heads
    names = [head.label for head in heads]
    if len(heads) > 1 and isinstance(output, dict) and sorted(output) == sorted(names):
        output = [output[label] for label in names]
    several = len(heads) > 1 and isinstance(output, list | tuple) and len(output) == len(heads)
    outputs = list(output) if several else [output]
    sizes = [head.outputs for head in heads] if several else [features.outputs]
    for one, size in zip(outputs, sizes, strict=True):
        if not isinstance(one, keras.KerasTensor) or tuple(one.shape) != (None, size):
            expected = f"shape (None, {size})" + (f", or a dict of {', '.join(names)}" if len(heads) > 1 else "")
            raise _wrong_end(features, f"{name} returns {own_code.describe(one)}, expected {expected}", where)
    return side_by_side(outputs)


def _wrong_end(features: Features, what: str, where: str) -> ModelCodeError:
    remedy = "End in keras.layers.Dense(features.outputs, features.activation)."
    if len(features.heads) > 1:
        remedy = "End in keras.layers.Dense(head.outputs, head.activation) for each of features.heads."
    return ModelCodeError(what, where=where, remedy=remedy)


def _check_shapes(made: keras.Model, taken: Any, name: str, where: str) -> None:
    """Keras takes columns of any width for an input of one, until the first step."""
    for own, given in zip(getattr(made, "inputs", None) or (), keras.tree.flatten(taken), strict=False):
        if len(own.shape) == len(given.shape) and own.shape[-1] == 1 != given.shape[-1]:
            raise ModelCodeError(
                f"{name} has an input {own.name} of shape {own.shape}, and the column has {given.shape}",
                where=where,
                remedy="give the input the shape of the column, or leave the column out",
            )


def _taken_inputs(made: keras.Model, inputs: dict[str, Any], name: str, where: str) -> Any:
    """The packed inputs that a functional model was built from: all, or some of them."""
    if getattr(made, "inputs", None) is None:
        return inputs
    keys = [tensor.name for tensor in made.inputs]
    if unknown := [key for key in keys if key not in inputs]:
        raise ModelCodeError(
            f"{name} has the inputs {', '.join(unknown)}; packed inputs are {', '.join(inputs)}",
            where=where,
            remedy="Build it from features.inputs().",
        )
    takes_dict = len(keys) > 1 or isinstance(getattr(made, "_inputs_struct", None), dict)
    return {key: inputs[key] for key in keys} if takes_dict else inputs[keys[0]]


def _check_activation(features: Features, made: keras.Model, name: str, where: str) -> None:
    """Logits under a sigmoid's loss train to nonsense without a sound, so they are refused."""
    lasts = [made.layers[-1]] if made.layers else []
    if len(features.heads) > 1:  # of a functional model with an output for each, in the order of their sorted names
        lasts = [tensor._keras_history.operation for tensor in getattr(made, "outputs", None) or ()]
    for head, last in zip(features.heads, lasts, strict=False):
        ends = getattr(last.activation, "__name__", "") if isinstance(last, keras.layers.Dense) else ""
        if ends in _NO_PROBABILITY and head.activation != "linear":
            shown = "without activation" if ends == "linear" else f"with the activation {ends}"
            what = f"{name} ends in layer {last.name!r} {shown}, expected {head.activation}"
            raise _wrong_end(features, what, where)


def _check_loads_again(made: keras.Model, name: str, where: str) -> None:
    """A layer that Keras does not load without running its bytes as code is refused before the training, not after."""
    lambdas = [layer.name for layer in made._flatten_layers() if isinstance(layer, keras.layers.Lambda)]
    if lambdas:
        raise ModelCodeError(
            f"{name} has a Lambda layer, {lambdas[0]!r}, which a published model cannot hold",
            where=where,
            remedy="Write it with keras.ops, or as a layer of its own in a package that the image has.",
        )
    for layer in _own_layers(made):
        if why := _why_not_made_again(layer):
            raise ModelCodeError(
                f"{name} could be saved but not loaded again by Keras: {type(layer).__name__} {why}",
                where=where,
                remedy="define the class at the top of a module, hand **kwargs of its __init__ to super().__init__, "
                "and let get_config add the other arguments to super().get_config()",
            )


def _own_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Layers of classes that are none of Keras's, and that a saved model makes by their configuration."""
    if not type(layer).__module__.startswith("keras."):
        yield layer
        return
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _own_layers(inner)


def _why_not_made_again(layer: keras.layers.Layer) -> str:
    """Why Keras could not make a layer by its configuration; empty where it can."""
    kind = type(layer)
    registered = keras.saving.get_registered_name(kind) != kind.__name__
    if not registered and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind:
        return f"is not found by its name in {kind.__module__}"
    taken = [one for one in inspect.signature(kind.__init__).parameters if one not in _OF_KERAS]
    # Keras (3.15) fills in the configuration of a layer by itself; that of a model with the defaults of its arguments.
    if taken and isinstance(layer, keras.Model) and kind.get_config.__module__.startswith("keras."):
        return f"has no get_config, so its {', '.join(taken)} would be lost"
    try:
        kind.from_config(layer.get_config())
    except Exception as error:  # the model's own code runs here
        return f"raises {type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[-1]}"
    return ""
