"""A Keras model's whole state as numpy arrays, and back.

Names are positions: Keras gives no unique ones, and the same configuration builds the same variables in
the same order. Variables that hold a value per replica (metric accumulators) are kept per replica, since
their sum split evenly would round otherwise than a run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.errors import ConfigError

Arrays = Mapping[str, np.ndarray]


def snapshot(model: Any) -> dict[str, Arrays]:
    """Copies weights, optimizer and metric accumulators to host memory.

    Args:
        model: A built and compiled Keras model.

    Returns:
        Groups `weights`, `optimizer`, `metrics`; each name -> array of the variable's own shape and dtype.
    """
    return {
        "weights": _read(model.variables),
        "optimizer": _read(model.optimizer.variables),
        "metrics": _read(model.metrics_variables),
    }


def restore(model: Any, groups: Mapping[str, Arrays], *, metrics: bool) -> None:
    """Puts a snapshot back.

    Args:
        model: Built and compiled from the same configuration.
        groups: What `snapshot` gave.
        metrics: Whether metric accumulators are put back as well (in the midst of an epoch).

    Raises:
        ConfigError: The snapshot is of another model.
    """
    _write(model.variables, groups["weights"])
    _write(model.optimizer.variables, groups["optimizer"])
    if metrics:
        _write(model.metrics_variables, groups["metrics"])


def weights(model: Any) -> dict[str, np.ndarray]:
    """Copies the weights alone."""
    return _read(model.variables)


def set_weights(model: Any, arrays: Arrays) -> None:
    """Puts weights back."""
    _write(model.variables, arrays)


def _parts(variable: Any) -> Sequence[Any]:
    value = variable.value if hasattr(variable, "value") and not callable(variable.value) else variable
    per_replica = getattr(variable, "_value", value)
    replicas = getattr(per_replica, "values", None)
    synchronised = "SyncOnRead" in type(per_replica).__name__
    return list(replicas) if synchronised and isinstance(replicas, tuple | list) else [variable]


def _read(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    # np.array copies: the next step must not reach into the snapshot.
    return {
        f"{i:04d}.{k}": np.array(part)
        for i, variable in enumerate(variables)
        for k, part in enumerate(_parts(variable))
    }


def _write(variables: Sequence[Any], arrays: Arrays) -> None:
    wanted = {f"{i:04d}.{k}": part for i, variable in enumerate(variables) for k, part in enumerate(_parts(variable))}
    if wanted.keys() != arrays.keys() or any(tuple(wanted[n].shape) != arrays[n].shape for n in wanted):
        raise ConfigError(
            "the checkpoint is of another model or another number of replicas",
            where="--run",
            remedy="begin a new run, or go back to the configuration and devices of this one",
        )
    for name, variable in wanted.items():
        variable.assign(arrays[name])
