"""The exported model: raw columns in, the trained layers behind, predictions out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.model.codes import lookup
from trainer.model.features import Features
from trainer.model.trainable import Trainable
from trainer.schema import Column, Layout, NumberField

KERAS_FILE = "model.keras"
SAVED_MODEL_FOLDER = "saved_model"


def serving_model(features: Features, trained: keras.Model, layout: Layout) -> keras.Model:
    """Puts the packing in front of a trained model, in the graph.

    Args:
        features: The specification the model was built from.
        trained: The model of `build`, or the Trainable around it; its weights are shared, not copied.
        layout: The raw columns.

    Returns:
        A functional model of stock layers: {column name: [B] or [B, size] of its dtype} -> float32
        [B, outputs]. Call it, or give `predict` a tf.data.Dataset: `predict` on arrays casts float64 to
        float32 on the way in (Keras 3.15), and large nullable integers lose their digits.
    """
    del features  # The layers it made are inside `trained`.
    inner = trained.model if isinstance(trained, Trainable) else trained
    raw = {column.name: raw_input(column) for column in layout.columns}
    packed = {}
    if layout.numbers:
        packed["numbers"] = _numbers(layout, raw)
    if layout.codes:
        packed["codes"] = ops.stack([lookup(field, raw[field.column.name]) for field in layout.codes], axis=1)
    return keras.Model(raw, inner(packed), name="serving")


def export(model: keras.Model, folder: Path, layout: Layout) -> None:
    """Writes `model.keras` and `saved_model/` into a folder.

    The SavedModel's `serving_default` takes the raw columns by name and returns {"prediction": [B, outputs]}.

    Args:
        model: From `serving_model`.
        folder: A local folder; made if it is not there.
        layout: The raw columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / KERAS_FILE)
    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = {column.name: _spec(column) for column in layout.columns}
    archive.add_endpoint("serving_default", _prediction(model), input_signature=[specs])
    archive.write_out(str(folder / SAVED_MODEL_FOLDER), verbose=False)


def raw_input(column: Column) -> Any:
    """The exported model's symbolic input of a column: [B], vectors [B, size]."""
    shape = (column.size,) if column.kind == "vector" else ()
    return keras.Input(shape=shape, dtype=column.dtype, name=column.name)


def _prediction(model: keras.Model) -> Any:
    def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"prediction": model(columns, training=False)}

    return serve


def _spec(column: Column) -> tf.TensorSpec:
    shape = (None, column.size) if column.kind == "vector" else (None,)
    return tf.TensorSpec(shape, column.dtype, name=re.sub(r"\W", "_", column.name, flags=re.ASCII))


def _numbers(layout: Layout, raw: dict[str, Any]) -> Any:
    """Packed float32 [B, N]. Offsets are subtracted in float64, as the feed does.

    Columns of one dtype are stacked first: the graph of a wide table stays small.
    """
    groups: dict[str, list[NumberField]] = {}
    for field in layout.numbers:
        groups.setdefault("vector" if field.column.kind == "vector" else field.column.dtype, []).append(field)
    parts, order = [], []
    for fields in groups.values():
        parts += _stacked(fields, raw)
        order += [index for field in fields for index in range(field.start, field.start + field.column.size)]
    packed = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
    if order == sorted(order):
        return packed
    return ops.take(packed, np.argsort(order).tolist(), axis=1)


def _stacked(fields: list[NumberField], raw: dict[str, Any]) -> list[Any]:
    tensors = [raw[field.column.name] for field in fields]
    if fields[0].column.kind == "vector":
        return [_shifted(tensor, [field.offset]) for field, tensor in zip(fields, tensors, strict=True)]
    return [_shifted(ops.stack(tensors, axis=1), [field.offset for field in fields])]


def _shifted(values: Any, offsets: list[float]) -> Any:
    if any(offsets):
        values = ops.subtract(ops.cast(values, "float64"), np.asarray(offsets, np.float64))
    return ops.cast(values, "float32")
