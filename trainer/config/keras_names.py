"""Keras's losses, metrics, optimizers and schedules by name: checked without TensorFlow, which the launcher lacks.

`keras_names.json` comes from `trainer.model.objective.keras_table`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["losses", "metrics", "optimizers", "schedules"]
_SINGULAR = {"losses": "loss", "metrics": "metric", "optimizers": "optimizer", "schedules": "schedule"}
#: Arguments that clip gradients.
CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")
_LAST_AXIS = (None, -1, 1, [-1], [1])
_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum")


@cache
def table() -> Mapping[str, Any]:
    """The whole table; see `trainer.model.objective.keras_table`."""
    text = Path(__file__).with_name("keras_names.json").read_text(encoding="utf-8")
    names: dict[str, Any] = json.loads(text)
    return names


def entry(kind: Kind, name: str) -> Mapping[str, Any]:
    """A class: `arguments` with their defaults, `required` ones; of a metric `log_name` and `direction` too."""
    known: dict[str, Any] = table()[kind][name]
    return known


def check_name(kind: Kind, name: str, short: Iterable[str] = ()) -> None:
    """Raises ValueError, with the nearest name, unless a name is one of Keras's or one of `short`."""
    known = [*short, *table()[kind]]
    if name in known:
        return
    letters = name.replace("_", "").lower()
    by_letters = {one.replace("_", "").lower(): one for one in reversed(known)}
    near = difflib.get_close_matches(letters, by_letters, n=1) or [one for one in by_letters if letters in one]
    near.sort(key=lambda one: (not one.startswith(letters), known.index(by_letters[one])))
    hint = f"did you mean {by_letters[near[0]]!r}?" if near and letters else f"one of {', '.join(known)}"
    raise ValueError(f"Keras {table()['keras']} has no {_SINGULAR[kind]} {name!r}; {hint}")


def check_arguments(kind: Kind, name: str, arguments: Mapping[str, Any]) -> None:
    """Raises ValueError unless a Keras class takes the arguments, and none that it needs is missing."""
    known = entry(kind, name)
    defaults = known["arguments"]
    for argument, value in arguments.items():
        if argument not in defaults:
            near = difflib.get_close_matches(argument, defaults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(defaults) or 'none'}"
            raise ValueError(f"{name} has no argument {argument!r}; {hint}")
        if expected := _expected_instead(defaults[argument], value):
            raise ValueError(f"{name}: {argument} is {value!r}, and it takes {expected}")
        if argument == "axis" and value not in _LAST_AXIS:
            raise ValueError(f"{name}: axis is {value!r}; rows do not depend on each other: leave it out or take -1")
        if argument == "reduction" and value not in _REDUCTIONS:
            raise ValueError(f"{name}: reduction is {value!r}; use one of {', '.join(_REDUCTIONS)}")
    clips = [argument for argument in CLIPS if kind == "optimizers" and arguments.get(argument) is not None]
    if len(clips) > 1:
        raise ValueError(f"{name}: give one of {', '.join(clips)}")
    if missing := [argument for argument in known["required"] if argument not in arguments]:
        raise ValueError(f"{name} needs {', '.join(missing)}")


def _expected_instead(default: Any, value: Any) -> str:
    """What an argument with that default takes, where the value is nothing of the kind; else an empty string."""
    truth = isinstance(value, bool)
    if isinstance(default, bool):
        return "" if truth else "true or false"
    if isinstance(default, int | float):
        return "" if isinstance(value, int | float) and not truth else "a number"
    if isinstance(default, str):
        return "" if value is None or isinstance(value, str) else "text"
    return ""
