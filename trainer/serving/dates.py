"""Parts of dates in the graph: `trainer.date_parts` by Keras operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from trainer.date_parts import ArrayOps


def _right_of(rising: np.ndarray, values: Any) -> Any:
    if not len(rising):
        return ops.zeros_like(values)
    flat = ops.reshape(values, (-1,))  # TensorFlow searches one row at a time
    return ops.reshape(ops.searchsorted(rising, flat, side="right"), (-1, *values.shape[1:]))


def _take(table: np.ndarray, at: Any) -> Any:
    return ops.take(table, at, axis=0)


KERAS = ArrayOps(
    where=ops.where,
    cast=ops.cast,
    take=_take,
    right_of=_right_of,
    stack=lambda values: ops.stack(list(values), axis=-1),
    is_nan=ops.isnan,
    clip=ops.clip,
)
