"""The exported model: raw columns in, the trained layers behind, predictions out."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.model.codes import lookup
from trainer.model.features import Features
from trainer.model.label_scale import predicted
from trainer.model.trainable import Trainable
from trainer.schema import Column, Layout, NumberField, image_key, ragged_key

KERAS_FILE = "model.keras"
SAVED_MODEL_FOLDER = "saved_model"
#: Kinds of which a row is a list.
_LISTS = ("vector", "sequence")


def serving_model(features: Features, trained: keras.Model, layout: Layout) -> keras.Model:
    """Puts the packing in front of a trained model, in the graph.

    Args:
        features: The specification the model was built from.
        trained: The model of `build`, or the Trainable around it; its weights are shared, not copied.
        layout: The raw columns.

    Returns:
        A functional model of stock layers: {column name: [B] or [B, size] of its dtype, images as pixels} -> float32
        [B, outputs] in the label's own units (float64 where `LabelField.offset` is not 0). Call it, or give
        `predict` a tf.data.Dataset: `predict` on arrays casts float64 to float32 on the way in (Keras 3.15), and
        large nullable integers lose their digits.
    """
    del features  # The layers it made are inside `trained`.
    inner = trained.model if isinstance(trained, Trainable) else trained
    names = signature_names(layout)
    raw = {column.name: _raw_input(column, names[column.name]) for column in layout.columns}
    packed = {}
    if layout.numbers:
        packed["numbers"] = _numbers(layout, raw)
    if layout.packed_codes:
        packed["codes"] = _codes(layout, raw)
    for index, field in enumerate(layout.ragged):
        packed[ragged_key(index)] = lookup(field, raw[field.column.name])[:, : field.column.size]
    packed |= {image_key(index): raw[column.name] for index, column in enumerate(layout.images)}
    with warnings.catch_warnings():
        # Keras wants a key to be its layer's name, and refuses "/" there; the keys are what counts.
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict")
        return keras.Model(raw, predicted(layout.label, inner(packed)), name="serving")


def export(model: keras.Model, folder: Path, layout: Layout) -> None:
    """Writes `model.keras` and `saved_model/` into a folder.

    The SavedModel's `serving_default` takes the raw columns by name and returns {"prediction": [B, outputs]}.

    Args:
        model: From `serving_model`.
        folder: A local folder; made if it is not there.
        layout: The raw columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Keras 3.15 hands NumPy the variables of EinsumDense as they are, and NumPy 2 asks for an argument more.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(folder / KERAS_FILE)
    archive = keras.export.ExportArchive()
    archive.track(model)
    names = signature_names(layout)
    specs = {column.name: _spec(column, names[column.name]) for column in layout.columns}
    archive.add_endpoint("serving_default", _prediction(model), input_signature=[specs])
    archive.write_out(str(folder / SAVED_MODEL_FOLDER), verbose=False)


def signature_names(layout: Layout) -> dict[str, str]:
    """Column name -> its name in the SavedModel's signature: the same, where TensorFlow takes it.

    Other characters than ASCII letters, digits and `_` become `_`; a name that is then taken gets a number.
    """
    kept = {column.name for column in layout.columns if _plain(column.name) == column.name}
    names, taken = {}, set(kept)
    for column in layout.columns:
        name = column.name
        if name not in kept:
            numbered = (f"{_plain(name)}_{count}" for count in itertools.count(2))
            tries = itertools.chain([_plain(name)], numbered)
            name = next(one for one in tries if one not in taken)
            taken.add(name)
        names[column.name] = name
    return names


def _plain(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if re.match(r"[A-Za-z]", plain) else f"column_{plain}"


def _raw_input(column: Column, signature_name: str) -> Any:
    """The exported model's symbolic input of a column: [B], vectors [B, size], ragged sequences [B, any]."""
    name = signature_name if "/" in column.name else column.name
    return keras.Input(shape=_row_shape(column), dtype=column.dtype, name=name)


def _row_shape(column: Column) -> tuple[int | None, ...]:
    if column.kind == "image":
        return column.shape
    return (None if column.ragged else column.size,) if column.kind in _LISTS else ()


def _prediction(model: keras.Model) -> Any:
    def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"prediction": model(columns, training=False)}

    return serve


def _spec(column: Column, name: str) -> tf.TensorSpec:
    return tf.TensorSpec((None, *_row_shape(column)), column.dtype, name=name)


def _codes(layout: Layout, raw: dict[str, Any]) -> Any:
    """Packed int32 [B, C]."""
    found = [lookup(field, raw[field.column.name]) for field in layout.packed_codes]
    if all(len(codes.shape) == 1 for codes in found):
        return ops.stack(found, axis=1)
    return ops.concatenate([ops.expand_dims(codes, 1) if len(codes.shape) == 1 else codes for codes in found], axis=1)


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
