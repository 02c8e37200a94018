"""Why a step failed: turns what TensorFlow raised, or a loss that is not finite, into an error for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.errors import ModelCodeError, NotFiniteError
from trainer.feed.pipeline.damaged_images import broken_image
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import Prepared
from trainer.model import own_code

#: Deviations from the mean of training above which a value is suspected.
_FAR = 1e6


def cause_of(error: Exception, feeds: Iterable[Feed | None], prepared: Prepared) -> Exception:
    """Finds the error behind one that `model.fit` raised; tf.data passes on only the text of what a feed raised.

    Returns:
        The feed's own error, the row whose image is damaged, or a fault of the model's code; else `error` itself.
    """
    for feed in feeds:
        if feed is not None and feed.error is not None:
            return feed.error if isinstance(feed.error, Exception) else error
    if (broken := broken_image(prepared, error)) is not None:
        return broken
    if (fault := own_code.fault_in_training(error)) is not None:
        return fault
    if isinstance(error, tf.errors.OpError | ValueError | TypeError):
        return ModelCodeError(
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
            where="model.fit",
            remedy="the step of the model failed; try it on a few rows with fit.jit_compile: false",
        )
    return error


def loss_not_finite(config: Config, prepared: Prepared, steps: int, epoch: int, step: int) -> NotFiniteError:
    """Makes the error for a loss that is not finite; reads the step's batch again to name the columns behind it.

    Args:
        config: The configuration.
        prepared: The data.
        steps: Steps of an epoch.
        epoch: From 0.
        step: Steps of the epoch that were done, the last of them with that loss; 0: all of the epoch before.
    """
    if step == 0 and epoch > 0:
        epoch, step = epoch - 1, steps
    inputs = _inputs_of(config, prepared, epoch, max(0, step - 1))
    names = _suspects(prepared, inputs)
    columns = f"not finite or very large in that batch: {', '.join(names)}"
    return NotFiniteError(
        f"the loss is not finite at epoch {epoch + 1}, step {step}; "
        + (columns if names else "all columns of that batch are finite"),
        where="run.fit",
        remedy="lower fit.optimizer.learning_rate, set global_clip_norm, or fix the columns named",
    )


def _inputs_of(config: Config, prepared: Prepared, epoch: int, step: int) -> Mapping[str, Any]:
    with Feed(
        prepared,
        "train",
        batch_size=config.fit.known_batch_size,
        seed=config.fit.seed,
        shuffle=config.data.shuffle is not False,
        epoch=epoch,
        step=step,
    ) as feed:
        inputs, _, _ = next(iter(feed.dataset()))
        return dict(inputs)


def _suspects(prepared: Prepared, inputs: Mapping[str, Any]) -> list[str]:
    """Columns with a value that is infinite, or further than `_FAR` deviations from the mean of training."""
    if "numbers" not in inputs:
        return []
    numbers = np.asarray(inputs["numbers"], np.float64)  # [B, N]
    statistics = prepared.statistics["train"].columns
    suspects = []
    for field in prepared.layout.numbers:
        column = statistics[field.column.name]
        values = numbers[:, field.start : field.start + field.column.size] + field.offset  # [B, size]
        distance = np.abs(values - column.mean)
        if np.isinf(values).any() or (distance > _FAR * max(column.variance, 1e-12) ** 0.5).any():
            suspects.append(field.column.name)
    return suspects
