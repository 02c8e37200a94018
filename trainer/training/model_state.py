"""Copies a Keras model's whole state to numpy arrays, and back.

Arrays are named by position (`0003.1`: variable 3, replica 1): Keras's names are not unique, and the same
configuration builds the same variables in the same order. Variables with a value per replica (metric accumulators)
are stored per replica: a sum that is split evenly would round differently from a run that was never stopped. Their
sum (or mean, as the variable says) is restored only where a run goes on with another number of replicas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.checkpoint.serialization import assemble, parts, table
from trainer.errors import ConfigError

Arrays = Mapping[str, np.ndarray]


def snapshot(model: Any) -> dict[str, Arrays]:
    """Copies weights, optimizer and metric accumulators of worker 0's replicas of a compiled model to host memory.

    Returns:
        Groups `weights`, `optimizer`, `metrics`; each name -> array of the variable's own shape and dtype.
    """
    return {name: _read(variables, 0) for name, variables in _groups(model).items()}


def per_replica(model: Any, first_replica: int) -> bytes:
    """Packs what only this worker has: the values of its replicas.

    Args:
        model: A built and compiled Keras model.
        first_replica: Index of this worker's first replica among those of all workers.

    Returns:
        Bytes for `with_others` on worker 0.
    """
    arrays = {
        f"{group}/{name}": array
        for group, variables in _groups(model).items()
        for name, array in _read([v if _replicas(v) else None for v in variables], first_replica).items()
    }
    head = json.dumps(table(arrays)).encode()
    return len(head).to_bytes(8, "big") + head + b"".join(parts(arrays))


def with_others(groups: Mapping[str, Arrays], sent: Sequence[bytes]) -> dict[str, Arrays]:
    """Merges what the other workers have `sent`, each its `per_replica`, into worker 0's `snapshot`."""
    merged = {group: dict(arrays) for group, arrays in groups.items()}
    for data in sent:
        size = int.from_bytes(data[:8], "big")
        arrays = assemble(json.loads(data[8 : 8 + size]), np.frombuffer(data[8 + size :], np.uint8))
        for path, array in arrays.items():
            group, _, name = path.partition("/")
            merged[group][name] = array
    return {group: dict(sorted(arrays.items())) for group, arrays in merged.items()}


def restore(model: Any, groups: Mapping[str, Arrays], *, metrics: bool, first_replica: int = 0) -> None:
    """Restores a snapshot, on any number of replicas.

    Args:
        model: Built and compiled from the same configuration.
        groups: The result of `snapshot`.
        metrics: Whether to restore metric accumulators too (in the midst of an epoch).
        first_replica: Index of this worker's first replica among those of all workers.

    Raises:
        ConfigError: The snapshot belongs to another model.
    """
    for name, variables in _groups(model).items():
        if name != "metrics" or metrics:
            _write(variables, groups[name], first_replica)


def _groups(model: Any) -> dict[str, Sequence[Any]]:
    return {"weights": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}


def weights(model: Any) -> dict[str, np.ndarray]:
    """Copies the weights alone; returns position -> array."""
    return _read(model.variables, 0)


def set_weights(model: Any, arrays: Arrays) -> None:
    """Restores weights from the result of `weights`.

    Raises:
        ConfigError: They belong to another model.
    """
    _write(model.variables, arrays, 0)


def _replicas(variable: Any) -> list[Any]:
    """Returns the values of this process's replicas of a variable that has one for each; else an empty list."""
    value = variable.value if hasattr(variable, "value") and not callable(variable.value) else variable
    holder = getattr(variable, "_value", value)
    replicas = getattr(holder, "values", None)
    synchronised = "SyncOnRead" in type(holder).__name__
    return list(replicas) if synchronised and isinstance(replicas, tuple | list) else []


def _read(variables: Sequence[Any], first_replica: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for i, variable in enumerate(variables):
        if variable is None:
            continue
        if replicas := _replicas(variable):
            # np.array copies: the next step must not reach into the snapshot.
            arrays |= {f"{i:04d}.{replica}": np.array(part) for replica, part in enumerate(replicas, first_replica)}
        else:
            arrays[f"{i:04d}.0"] = np.array(np.asarray(variable))  # Keras 3.15: no __array__(copy=)
    return arrays


def _write(variables: Sequence[Any], arrays: Arrays, first_replica: int) -> None:
    stored: dict[int, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        position, _, replica = name.partition(".")
        stored.setdefault(int(position), {})[int(replica)] = array
    if stored.keys() != set(range(len(variables))) or any(
        tuple(variable.shape) != array.shape for i, variable in enumerate(variables) for array in stored[i].values()
    ):
        raise ConfigError(
            "the checkpoint belongs to another model",
            where="--run",
            remedy="begin a new run, or go back to the configuration of this one",
        )
    for i, variable in enumerate(variables):
        replicas = _replicas(variable)
        if not replicas:
            variable.assign(_joined(stored[i], variable))
            continue
        of_all_workers = getattr(variable, "_value", variable).distribute_strategy.num_replicas_in_sync
        same_number = len(stored[i]) == of_all_workers
        for k, part in enumerate(replicas, first_replica):
            part.assign(stored[i][k] if same_number else _share(stored[i], variable, k))


def _joined(stored: Mapping[int, np.ndarray], variable: Any) -> np.ndarray:
    if len(stored) == 1:
        return stored[0]
    together = np.stack([stored[k] for k in sorted(stored)])
    return np.asarray(together.mean(axis=0) if _is_mean(variable) else together.sum(axis=0), stored[0].dtype)


def _share(stored: Mapping[int, np.ndarray], variable: Any, replica: int) -> np.ndarray:
    joined = _joined(stored, variable)
    return joined if replica == 0 or _is_mean(variable) else np.zeros_like(joined)


def _is_mean(variable: Any) -> bool:
    """Whether the values of a variable's replicas make one by their mean, not by their sum."""
    return str(getattr(variable, "aggregation", "sum")).endswith("mean")
