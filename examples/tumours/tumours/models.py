"""A subclassed model that takes columns by name, and knows nothing of kfit."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class SizeAndShape(keras.Model):
    """Looks at a tumour's size and at its shape apart, and then at both.

    Args:
        units: Of each of the two parts.
        kwargs: Those of every Keras model.
    """

    def __init__(self, units: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.size = keras.layers.Dense(units, "relu")
        self.shape_of = keras.layers.Dense(units, "relu")
        self.head = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs: dict[str, Any]) -> Any:
        """Returns the probability, [batch, 1]."""
        sizes = [inputs[name] for name in ("mean_radius", "mean_area")]
        shapes = [inputs[name] for name in ("mean_texture", "mean_smoothness", "mean_concavity")]
        parts = [self.size(ops.concatenate(sizes, -1)), self.shape_of(ops.concatenate(shapes, -1))]
        return self.head(ops.concatenate(parts, -1))

    def get_config(self) -> dict[str, Any]:
        """Returns what the published model is made again with."""
        return {**super().get_config(), "units": self.units}
