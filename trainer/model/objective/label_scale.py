"""From the label's own units to the scale on which a regression is learnt, and back: see `LabelField`.

A model ends in the learnt scale. Loss and gradient are taken there, so they do not depend on the label's units;
metrics, the exported model and every prediction are in the label's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from trainer.schema import LabelField, LabelPlace


def to_learnt(label: LabelField, y: Any) -> Any:
    """Packed labels (minus the offset) -> the learnt scale, float32 of the same shape; counts, which may be 0, stay."""
    if label.transform in ("none", "log"):
        return y
    if label.transform == "log1p":
        y = ops.log1p(y)
    return (ops.cast(y, "float32") - (label.mean - label.offset)) / label.deviation


def from_learnt(label: LabelField, z: Any) -> Any:
    """What a model returns -> packed labels (minus the offset), float32 of the same shape; quantiles in order."""
    z = in_order(label, z)
    if label.transform == "none":
        return z
    scaled = z * label.deviation + (label.mean - label.offset)
    if label.transform == "log":
        return ops.exp(scaled)
    return ops.expm1(scaled) if label.transform == "log1p" else scaled


def in_order(label: LabelField, z: Any) -> Any:
    """Predictions [B, outputs] as they are; quantiles sorted, so that none crosses another.

    Sorting never raises the pinball loss (Chernozhukov, Fernández-Val and Galichon 2010, "Quantile and Probability
    Curves Without Crossing").
    """
    return ops.sort(z, axis=-1) if len(label.quantiles) > 1 else z


def predicted(label: LabelField, z: Any) -> Any:
    """What a model returns -> predictions in the label's own units: float32; float64 where there is an offset."""
    packed = from_learnt(label, z)
    return ops.add(ops.cast(packed, "float64"), label.offset) if label.offset else packed


def all_from_learnt(places: Sequence[LabelPlace], z: Any) -> Any:
    """`from_learnt` of every label's predictions, side by side."""
    parts = [from_learnt(place.label, place.predictions(z)) for place in places]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def all_predicted(places: Sequence[LabelPlace], z: Any) -> Any:
    """`predicted` of every label, side by side; float64 where one of them is."""
    parts = [predicted(place.label, place.predictions(z)) for place in places]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def loss_unit(label: LabelField, loss: str) -> float:
    """What a loss in the learnt scale is multiplied by, to be one of the label (of its logarithm, with `log1p`)."""
    return label.deviation if loss == "mae" or label.quantiles else label.deviation**2
