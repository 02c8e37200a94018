"""A loss that looks away from what is right already (Lin et al. 2017, "Focal loss for dense object detection")."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Focal(keras.losses.Loss):
    """Cross-entropy, times a factor that is small where the prediction is right.

    Args:
        gamma: How fast the factor falls; 0 is the cross-entropy itself.
        kwargs: Those of every Keras loss.
    """

    def __init__(self, gamma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns a value for each row: kfit weighs them, and knows which are padding."""
        y_true = ops.cast(y_true, y_pred.dtype)
        right = ops.clip(ops.where(y_true > 0.5, y_pred, 1 - y_pred), 1e-7, 1.0)
        return ops.mean(-ops.power(1 - right, self.gamma) * ops.log(right), axis=-1)
