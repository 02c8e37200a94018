"""The strategy of several workers: `MultiWorkerMirroredStrategy` as Keras 3 can train under it.

It is the same implementation (`CollectiveAllReduceExtended`) under a strategy class of our own, because
Keras (3.15, keras#20585) reduces the logs of a `MultiWorkerMirroredStrategy` along an axis that scalars do
not have, and so fails at the first step. Under any other class it takes each worker's own logs, and
`mean_of_logs` has made those equal before, by one collective for all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context


def make_workers_strategy(addresses: Sequence[str], index: int, *, devices: int = 0) -> tf.distribute.Strategy:
    """Starts this worker's TensorFlow server. The others' must run before the first variable is made.

    Args:
        addresses: host:port of each worker's server.
        index: Which one this is.
        devices: Logical CPU devices; 0: all GPUs, or one CPU without any.

    Returns:
        A strategy over all devices of all workers.
    """
    cluster = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    # An empty type turns it off: its answer to a lost worker is to abort the process, without an exit code
    # or a word. The run's own watch (trainer.workers.coordinator) ends a worker in order.
    context.context().configure_coordination_service(service_type="")
    return _Workers(devices)


class _Workers(tf.distribute.Strategy):  # type: ignore[misc]  # TensorFlow has no types
    _collective_key_base = 0  # which the implementation reads

    def __init__(self, devices: int) -> None:
        super().__init__(_Extended(self, devices))


class _Extended(CollectiveAllReduceExtended):  # type: ignore[misc]
    """Several logical CPU devices a worker, where the original knows one; no health check of its own."""

    _enable_check_health = False

    def __init__(self, strategy: tf.distribute.Strategy, devices: int) -> None:
        self._devices = devices
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        options = tf.distribute.experimental.CommunicationOptions()
        super().__init__(strategy, cluster_resolver=resolver, communication_options=options)

    def _initialize_local_devices(self, cluster_resolver: Any, worker_device: str) -> tuple[tuple[str, ...], str]:
        if not self._devices:
            devices: tuple[tuple[str, ...], str] = super()._initialize_local_devices(cluster_resolver, worker_device)
            return devices
        return tuple(f"{worker_device}/device:CPU:{i}" for i in range(self._devices)), "CPU"


def several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy spans processes."""
    return isinstance(strategy, _Workers)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """Replicas of this process."""
    return len(strategy.extended.worker_devices) if several_workers(strategy) else strategy.num_replicas_in_sync


def mean_of_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The mean over all replicas of all workers, by one collective. Call it in a replica's context.

    Args:
        logs: Name -> scalar.

    Returns:
        The same names, float32 scalars, equal on every replica; `logs` itself where there is one worker.
    """
    if not several_workers(tf.distribute.get_strategy()):
        return dict(logs)
    packed = tf.stack([tf.cast(value, tf.float64) for value in logs.values()])
    means = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, packed)
    return {name: tf.cast(means[at], tf.float32) for at, name in enumerate(logs)}
