"""The user's own model: import it, call it, and say plainly where it went wrong."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import keras

from trainer.config import Entrypoint
from trainer.errors import ConfigError, ModelCodeError
from trainer.model.features import Features
from trainer.user_code import add_working_folder

_WHERE = "run.model.entrypoint"


def build_entrypoint(features: Features, wanted: Entrypoint) -> keras.Model:
    """Calls `package.module:function(features, **args)` and checks what comes back.

    Returns:
        An uncompiled functional model: packed inputs -> float32 [B, features.outputs].

    Raises:
        ConfigError: There is no such module or function.
        ModelCodeError: It does not import, raises, or returns what cannot be trained.
    """
    function = _load(wanted.entrypoint)
    try:
        made = function(features, **wanted.args)
    except Exception as error:
        raise _fault(f"{wanted.entrypoint} raised", error) from error
    if not isinstance(made, keras.Model):
        raise ModelCodeError(
            f"{wanted.entrypoint} returned {_describe(made)}, not a Keras model",
            where=_WHERE,
            remedy="Return an uncompiled keras.Model from features.inputs() to features.outputs units.",
        )
    return _checked(features, made, wanted.entrypoint)


def _load(name: str) -> Callable[..., Any]:
    module_name, function_name = name.split(":")
    add_working_folder()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _fault(f"{module_name} does not import", error) from error  # it lacks a module of its own
        raise ConfigError(
            f"there is no module {error.name!r}",
            where=_WHERE,
            remedy="correct the name, run where it lies, or add its folder to PYTHONPATH",
        ) from error
    except Exception as error:
        raise _fault(f"{module_name} does not import", error) from error
    function: Callable[..., Any] | None = getattr(module, function_name, None)
    if function is None or not callable(function):
        what = "has no function" if function is None else "has no callable"
        raise ConfigError(
            f"{module_name} {what} {function_name!r}",
            where=_WHERE,
            remedy=f"Define {function_name}(features) in {getattr(module, '__file__', None) or module_name}.",
        )
    return function


def _checked(features: Features, made: keras.Model, name: str) -> keras.Model:
    inputs = features.inputs()
    taken = _taken_inputs(made, inputs, name)
    try:
        output = made(taken)
    except Exception as error:
        raise _fault(f"the model of {name} does not take the packed inputs", error) from error
    shape = tuple(getattr(output, "shape", ()))
    if not isinstance(output, keras.KerasTensor) or shape != (None, features.outputs):
        raise ModelCodeError(
            f"the model of {name} returns {_describe(output)}, expected shape (None, {features.outputs})",
            where=_WHERE,
            remedy="End in keras.layers.Dense(features.outputs, features.activation).",
        )
    _check_activation(features, made, name)
    _check_loads_again(made, name)
    if output.dtype != "float32":
        output = keras.layers.Activation("linear", dtype="float32", name="float32_prediction")(output)
    return keras.Model(inputs, output, name=made.name)


def _taken_inputs(made: keras.Model, inputs: dict[str, Any], name: str) -> Any:
    """The packed inputs that a functional model was built from: all, or some of them."""
    if not isinstance(made, keras.models.Model) or not hasattr(made, "inputs") or made.inputs is None:
        return inputs
    wanted = [tensor.name for tensor in made.inputs]
    if unknown := [one for one in wanted if one not in inputs]:
        raise ModelCodeError(
            f"the model of {name} has the inputs {', '.join(unknown)}; packed inputs are {', '.join(inputs)}",
            where=_WHERE,
            remedy="Build it from features.inputs().",
        )
    return {one: inputs[one] for one in wanted} if len(wanted) > 1 or _takes_dict(made) else inputs[wanted[0]]


def _takes_dict(made: keras.Model) -> bool:
    return isinstance(getattr(made, "_inputs_struct", None), dict)


def _check_activation(features: Features, made: keras.Model, name: str) -> None:
    """Logits under a sigmoid's loss train to nonsense without a sound, so they are refused."""
    last = made.layers[-1] if made.layers else None
    if features.activation == "linear" or not isinstance(last, keras.layers.Dense):
        return
    if last.activation is keras.activations.linear:
        raise ModelCodeError(
            f"the model of {name} ends in layer {last.name!r} without activation, expected {features.activation}",
            where=_WHERE,
            remedy="End in keras.layers.Dense(features.outputs, features.activation).",
        )


def _check_loads_again(made: keras.Model, name: str) -> None:
    """A layer that Keras does not load without running its bytes as code is refused before the training, not after."""
    lambdas = [layer.name for layer in made._flatten_layers() if isinstance(layer, keras.layers.Lambda)]
    if lambdas:
        raise ModelCodeError(
            f"the model of {name} has a Lambda layer, {lambdas[0]!r}, which a published model cannot hold",
            where=_WHERE,
            remedy="Write it with keras.ops, or as a layer of its own in a package that the image has.",
        )


def _fault(what: str, error: Exception) -> ModelCodeError:
    reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    return ModelCodeError(
        f"{what}: {reason}",
        where=_place(error) or _WHERE,
        remedy="Mend it and run again; `python -c 'import …'` shows the whole traceback of an import.",
    )


def _place(error: Exception) -> str:
    """file:line of the user's code: the innermost frame that is neither ours nor a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in _frames(error.__traceback__) if _is_users(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(trace)) if trace else []


def _is_users(filename: str) -> bool:
    if filename.startswith("<") or "site-packages" in filename:
        return False
    path = Path(filename).resolve()
    return not path.is_relative_to(Path(__file__).parents[1]) and not path.is_relative_to(
        Path(importlib.__file__).parent
    )


def _describe(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
