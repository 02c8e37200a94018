"""On which devices a run computes, and how reproducibly and precisely."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.errors import ConfigError
from trainer.model.workers import make_workers_strategy, several_workers


def make_strategy(devices: str = "auto", addresses: Sequence[str] = (), index: int = 0) -> tf.distribute.Strategy:
    """The strategy of a run. Call it before anything else of TensorFlow: devices are fixed at first use.

    Args:
        devices: Of this worker: `auto` (GPUs if there are any), `gpu`, `cpu`, or `cpu:N` for N logical CPU devices.
        addresses: host:port of each worker's TensorFlow server, where there are several.
        index: Which of them this worker is.

    Returns:
        Over the devices of all workers; with one, MirroredStrategy over several devices, else the default strategy.

    Raises:
        ConfigError: Text of another form, no GPU where one was asked for, or devices already fixed.
    """
    if devices in ("auto", "gpu"):
        gpus = tf.config.list_physical_devices("GPU")
        if devices == "gpu" and not gpus:
            remedy = "Ask for resources.gpus, or take --devices cpu."
            if not tf.test.is_built_with_gpu_support():
                remedy = "This TensorFlow has no CUDA: take an image that was built with LOCK=gpu (docs/image.md)."
            raise ConfigError("no GPU found", where="--devices gpu", remedy=remedy)
        if addresses:
            return make_workers_strategy(addresses, index)
        return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    match = re.fullmatch(r"cpu(?::([1-9]\d*))?", devices)
    if match is None:
        raise ConfigError(f"{devices!r} names no devices", where="--devices", remedy="Write auto, gpu, cpu or cpu:4.")
    count = int(match[1] or 1)
    _fix_cpu_devices(count)
    if addresses:
        return make_workers_strategy(addresses, index, devices=count)
    return _cpu_strategy(count)


def check_batch_size(batch_size: int, replicas: int) -> None:
    """Raises ConfigError unless a global batch splits evenly among the replicas of all workers."""
    if batch_size % replicas:
        below = batch_size // replicas * replicas
        choices = f"{below} or {below + replicas}" if below else str(replicas)
        raise ConfigError(
            f"batch_size {batch_size} does not divide among {replicas} replicas; use {choices}",
            where="run.fit.batch_size",
        )


def seed_everything(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Seeds Python, NumPy and TensorFlow, and sets determinism and precision as the job says.

    Call it before the model is built. Mixed precision computes in float16 on GPUs (with loss scaling,
    which Keras adds at compile) and in bfloat16 on CPUs, whose range needs none.

    Raises:
        ConfigError: deterministic together with jit_compile.
    """
    on_gpu = uses_gpu(strategy)
    keras.utils.set_random_seed(config.fit.seed)
    if _is_deterministic(config, on_gpu):
        tf.config.experimental.enable_op_determinism()
    half = "mixed_float16" if on_gpu else "mixed_bfloat16"
    keras.config.set_dtype_policy(half if config.fit.mixed_precision else "float32")


def _is_deterministic(config: Config, on_gpu: bool) -> bool:
    deterministic, jit_compile = config.fit.deterministic, config.fit.jit_compile
    if deterministic and jit_compile:
        # Keras would warn once and leave XLA out.
        raise ConfigError(
            "jit_compile and deterministic: true exclude each other",
            where="run.fit",
            remedy="Leave one of them out.",
        )
    return bool(deterministic) or (deterministic is None and not on_gpu and not jit_compile)


def uses_gpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy computes on GPUs."""
    if several_workers(strategy) or strategy.num_replicas_in_sync > 1:
        return any("GPU" in device for device in strategy.extended.worker_devices)
    return bool(tf.config.get_visible_devices("GPU"))


def _fix_cpu_devices(count: int) -> None:
    try:
        tf.config.set_visible_devices([], "GPU")
        if count > 1:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        # TensorFlow runs already; that is fine where it has enough devices.
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ConfigError(
                f"TensorFlow already runs with {len(tf.config.list_logical_devices('CPU'))} CPU device(s)",
                where=f"--devices cpu:{count}",
                remedy="Make the strategy before any other use of TensorFlow.",
            ) from error


def _cpu_strategy(count: int) -> tf.distribute.Strategy:
    if count == 1:
        return tf.distribute.get_strategy()
    # Not the default collectives: two strategies of different sizes in one process abort each other's groups
    # ("is joining a group with size4, but that group has size 2"), and a sum in device order is reproducible.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(count)], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
