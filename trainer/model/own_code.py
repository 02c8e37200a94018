"""Code of a user's own by `package.module:name`: found, called, and its faults told with file and line."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from trainer.errors import ConfigError, KfitError, ModelCodeError
from trainer.user_code import add_working_folder, defined_at, place_of, remember


def load(name: str, where: str, takes: str = "") -> Any:
    """Imports what an entrypoint names.

    Args:
        name: `package.module:name`.
        where: The key of the job file.
        takes: What it is called with, for the remedy: `features`.

    Raises:
        ConfigError: There is no such module or name, or it cannot be called.
        ModelCodeError: The module does not import.
    """
    module_name, attribute = name.split(":")
    add_working_folder()
    remember(module_name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise fault(f"{module_name} does not import", error, where) from error  # it lacks a module of its own
        raise ConfigError(
            f"there is no module {error.name!r}",
            where=where,
            remedy="correct the name, run where it lies, or add its folder to PYTHONPATH",
        ) from error
    except Exception as error:
        raise fault(f"{module_name} does not import", error, where) from error
    named = getattr(module, attribute, None)
    if not callable(named):
        what = "has no function" if named is None else "has no callable"
        near = difflib.get_close_matches(attribute, [one for one in dir(module) if callable(getattr(module, one))], n=1)
        defined = f"define {attribute}({takes}) in {getattr(module, '__file__', None) or module_name}"
        remedy = f"did you mean {near[0]!r}?" if near else defined
        raise ConfigError(f"{module_name} {what} {attribute!r}", where=where, remedy=remedy)
    return named


def make(name: str, args: Mapping[str, Any], where: str, kind: type, *positional: Any) -> Any:
    """Calls what an entrypoint names and checks what comes back.

    Args:
        name: `package.module:name`, a class or a function.
        args: Its keyword arguments.
        where: The key of the job file.
        kind: What must come back.
        positional: Its positional arguments.

    Raises:
        ConfigError: There is no such module or name, or it cannot be called.
        ModelCodeError: It does not import, raises, or returns something else.
    """
    function = load(name, where, "features" if positional else "")
    try:
        made = function(*positional, **args)
    except Exception as error:
        raise fault(f"{name} raised", error, where) from error
    if not isinstance(made, kind):
        raise ModelCodeError(
            f"{name} returned {describe(made)}, not a Keras {kind.__name__.lower()}",
            where=where,
            remedy=f"name a class derived from keras' {kind.__name__}, or a function that returns one",
        )
    return made


def check_takes(function: Callable[..., Any], name: str, where: str, *takes: str) -> None:
    """Checks that a function can be called with these arguments, so that it is told before it is called by Keras.

    Raises:
        ModelCodeError: It cannot.
    """
    try:
        inspect.signature(function).bind(*takes)
    except TypeError as error:
        raise ModelCodeError(
            f"{name} cannot be called with {', '.join(takes)}: {error}",
            where=defined_at(function) or where,
            remedy=f"let it take {', '.join(takes)}, and then the args of the job file",
        ) from error
    except ValueError:  # a builtin of C has no signature to look at
        return


def check_rows(values: Any, y_true: Any, name: str, where: str) -> None:
    """Checks that as many values came back as there are rows.

    Raises:
        ModelCodeError: They are of another number.
    """
    rows = values.shape[0]
    if rows is not None and rows != y_true.shape[0]:
        raise ModelCodeError(
            f"{name} returned {describe(values)}, not a value for each row",
            where=where,
            remedy="return a tensor whose first dimension is the batch's",
        )


def row_by_row(function: Callable[[Any, Any], Any], name: str, where: str) -> Callable[[Any, Any], Any]:
    """A function of labels and predictions that is checked to answer with a value for each row.

    Raises:
        ModelCodeError: It takes other arguments; or, when called, it answers with one number, or with no tensor.
    """
    check_takes(function, name, where, "y_true", "y_pred")

    def checked(y_true: Any, y_pred: Any) -> Any:
        values = function(y_true, y_pred)
        if not hasattr(values, "shape") or not len(values.shape):
            raise ModelCodeError(
                f"{name} returned {describe(values)}, not a value for each row",
                where=where,
                remedy="return a tensor of shape [batch], so that padding and replicas can be told apart",
            )
        check_rows(values, y_true, name, where)
        return values

    return checked


def fault(what: str, error: BaseException, where: str, remedy: str = "") -> ModelCodeError:
    """The error of a user's code as one message, at the user's line where it is known, else at `where`."""
    reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    return ModelCodeError(
        f"{what}: {reason}",
        where=place_of(error) or where,
        remedy=remedy or "fix it and run again; `python -c 'import …'` shows the whole traceback of an import",
    )


def fault_in_training(error: BaseException) -> ModelCodeError | None:
    """What a user's code raised while the model was compiled or fitted; None where the error is none of its."""
    if isinstance(error, KfitError) or not place_of(error):
        return None
    return ModelCodeError(
        f"{type(error).__name__}: {_reason(error)}",
        where=place_of(error),
        remedy="the code of the job raised while the model was trained; fix it and run again",
    )


def _reason(error: BaseException) -> str:
    """An error's first line, without what Keras puts around one that a layer raised."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).strip()
    inner = re.match(r"Exception encountered when calling .*?\n\n(.*?)(\n\nArguments received.*)?$", text, re.DOTALL)
    lines = (inner[1] if inner else text).strip().splitlines()
    return lines[0] if lines else "no message"


def describe(value: object) -> str:
    """A value by its type, a tensor by its shape too, and a dict by its keys."""
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
