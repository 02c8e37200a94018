"""A Keras model's whole state as numpy arrays, and back.

Names are positions: Keras gives no unique ones, and the same configuration builds the same variables in
the same order. Variables that hold a value per replica (metric accumulators) are kept per replica, since
their sum split evenly would round otherwise than a run that was never stopped. Only where a run goes on
with another number of replicas their sum (or mean, as the variable says) is what is put back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.checkpoint.serialization import assemble, parts, table
from trainer.errors import ConfigError

Arrays = Mapping[str, np.ndarray]


def snapshot(model: Any, first_replica: int = 0) -> dict[str, Arrays]:
    """Copies weights, optimizer and metric accumulators to host memory.

    Args:
        model: A built and compiled Keras model.
        first_replica: Of this worker's, among those of all workers.

    Returns:
        Groups `weights`, `optimizer`, `metrics`; each name -> array of the variable's own shape and dtype.
    """
    return {name: _read(variables, first_replica) for name, variables in _groups(model).items()}


def per_replica(model: Any, first_replica: int) -> bytes:
    """What only this worker has: the values of its replicas, for `with_others` on the chief."""
    held = {
        f"{group}/{name}": array
        for group, variables in _groups(model).items()
        for name, array in _read([v if _replicas(v) else None for v in variables], first_replica).items()
    }
    head = json.dumps(table(held)).encode()
    return len(head).to_bytes(8, "big") + head + b"".join(parts(held))


def with_others(groups: Mapping[str, Arrays], sent: Sequence[bytes]) -> dict[str, Arrays]:
    """A snapshot with the replicas of the other workers.

    Args:
        groups: The chief's `snapshot`.
        sent: `per_replica` of each of the others.
    """
    merged = {group: dict(arrays) for group, arrays in groups.items()}
    for data in sent:
        size = int.from_bytes(data[:8], "big")
        held = assemble(json.loads(data[8 : 8 + size]), np.frombuffer(data[8 + size :], np.uint8))
        for path, array in held.items():
            group, _, name = path.partition("/")
            merged[group][name] = array
    return {group: dict(sorted(arrays.items())) for group, arrays in merged.items()}


def restore(model: Any, groups: Mapping[str, Arrays], *, metrics: bool, first_replica: int = 0) -> None:
    """Puts a snapshot back, on any number of replicas.

    Args:
        model: Built and compiled from the same configuration.
        groups: What `snapshot` gave.
        metrics: Whether metric accumulators are put back as well (in the midst of an epoch).
        first_replica: Of this worker's, among those of all workers.

    Raises:
        ConfigError: The snapshot is of another model.
    """
    for name, variables in _groups(model).items():
        if name != "metrics" or metrics:
            _write(variables, groups[name], first_replica)


def _groups(model: Any) -> dict[str, Sequence[Any]]:
    return {"weights": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}


def weights(model: Any) -> dict[str, np.ndarray]:
    """Copies the weights alone."""
    return _read(model.variables, 0)


def set_weights(model: Any, arrays: Arrays) -> None:
    """Puts weights back."""
    _write(model.variables, arrays, 0)


def _replicas(variable: Any) -> list[Any]:
    """The values of this process's replicas of a variable that has one each; empty for all others."""
    value = variable.value if hasattr(variable, "value") and not callable(variable.value) else variable
    held = getattr(variable, "_value", value)
    replicas = getattr(held, "values", None)
    synchronised = "SyncOnRead" in type(held).__name__
    return list(replicas) if synchronised and isinstance(replicas, tuple | list) else []


def _read(variables: Sequence[Any], first_replica: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for i, variable in enumerate(variables):
        if variable is None:
            continue
        if replicas := _replicas(variable):
            # np.array copies: the next step must not reach into the snapshot.
            found |= {f"{i:04d}.{first_replica + k}": np.array(part) for k, part in enumerate(replicas)}
        else:
            found[f"{i:04d}.0"] = np.array(np.asarray(variable))  # Keras 3.15: no __array__(copy=)
    return found


def _write(variables: Sequence[Any], arrays: Arrays, first_replica: int) -> None:
    kept: dict[int, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        position, _, replica = name.partition(".")
        kept.setdefault(int(position), {})[int(replica)] = array
    if kept.keys() != set(range(len(variables))) or any(
        tuple(variable.shape) != array.shape for i, variable in enumerate(variables) for array in kept[i].values()
    ):
        raise ConfigError(
            "the checkpoint is of another model",
            where="--run",
            remedy="begin a new run, or go back to the configuration of this one",
        )
    for i, variable in enumerate(variables):
        replicas = _replicas(variable)
        if not replicas:
            variable.assign(_joined(kept[i], variable))
            continue
        everywhere = _everywhere(variable)
        for k, part in enumerate(replicas):
            if len(kept[i]) == everywhere:
                part.assign(kept[i][first_replica + k])
            else:
                part.assign(_share(kept[i], variable, first_replica + k))


def _everywhere(variable: Any) -> int:
    """Replicas over all workers."""
    held = getattr(variable, "_value", variable)
    return int(held.distribute_strategy.num_replicas_in_sync)


def _joined(kept: Mapping[int, np.ndarray], variable: Any) -> np.ndarray:
    if len(kept) == 1:
        return kept[0]
    together = np.stack([kept[k] for k in sorted(kept)])
    found = together.mean(axis=0) if str(getattr(variable, "aggregation", "sum")).endswith("mean") else together.sum(0)
    return np.asarray(found, kept[0].dtype)


def _share(kept: Mapping[int, np.ndarray], variable: Any, replica: int) -> np.ndarray:
    joined = _joined(kept, variable)
    if str(getattr(variable, "aggregation", "sum")).endswith("mean") or replica == 0:
        return joined
    return np.zeros_like(joined)
