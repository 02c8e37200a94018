"""Writes `trainer/config/keras_names.json`: names and arguments of what Keras has.

The launcher checks job files without TensorFlow, so what Keras knows is checked in; a test holds it true.
`python -m trainer.model.objective.keras_table trainer/config` writes it after an update of Keras.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import keras
from keras.src.utils.naming import to_snake_case

from trainer.config.reference import write_or_check

_BASES = {
    "losses": (keras.losses, keras.losses.Loss),
    "metrics": (keras.metrics, keras.metrics.Metric),
    "optimizers": (keras.optimizers, keras.optimizers.Optimizer),
    "schedules": (keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule),
}
#: What needs a Python object, or does not compare labels with predictions: nothing that a job file can name.
NOT_IN_A_JOB_FILE = {
    "CTC": "its labels are sequences",
    "Mean": "it takes no labels",
    "Sum": "it takes no labels",
    "MeanMetricWrapper": "it wraps a function",
    "LossScaleOptimizer": "it wraps an optimizer; `mixed_precision` adds it",
    "MultiOptimizer": "it maps variables to optimizers",
}
#: Arguments without a default, so that a metric can be made and asked in which direction it is better.
_SAMPLES: dict[str, Any] = {"num_classes": 2, "target_class_ids": [0]}


def keras_names() -> str:
    """The table as JSON: kind -> name -> the name in logs, arguments with defaults, required ones, direction."""
    table: dict[str, Any] = {"keras": keras.__version__}
    for kind, (module, base) in _BASES.items():
        classes = {name: getattr(module, name) for name in sorted(dir(module))}
        table[kind] = {
            name: _entry(made, kind)
            for name, made in classes.items()
            if inspect.isclass(made) and issubclass(made, base) and made is not base and name not in NOT_IN_A_JOB_FILE
        }
    return json.dumps(table, indent=1) + "\n"


def _entry(made: type, kind: str) -> dict[str, Any]:
    parameters = [
        p
        for p in list(inspect.signature(made.__init__).parameters.values())[1:]  # type: ignore[misc]
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("name", "dtype")
    ]
    required = [p.name for p in parameters if p.default is p.empty]
    entry: dict[str, Any] = {
        "arguments": {p.name: None if p.default is p.empty else p.default for p in parameters},
        "required": required,
    }
    if kind == "metrics":
        metric = made(**{name: _SAMPLES.get(name, 0.5) for name in required})
        default = inspect.signature(made.__init__).parameters["name"].default  # type: ignore[misc]
        entry["log_name"] = default or to_snake_case(made.__name__)
        entry["direction"] = {"up": "max", "down": "min"}.get(getattr(metric, "_direction", ""), "")
    return entry


if __name__ == "__main__":
    sys.exit(write_or_check({"keras_names.json": keras_names()}))
