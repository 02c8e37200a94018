"""The exported model: raw columns in, the trained layers behind, predictions out."""

from __future__ import annotations

import itertools
import keyword
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.date_parts import packed_parts
from trainer.model.codes import lookup, shares_lookup
from trainer.model.objective.label_scale import predicted
from trainer.model.trainable import Trainable
from trainer.schema import CodeField, Column, Layout, NumberField, image_key, ragged_key
from trainer.serving.dates import KERAS
from trainer.serving.published_model import KERAS_FILE

SAVED_MODEL_FOLDER = "saved_model"
#: Name of the layer of the exported model that turns raw columns into what the trained model takes.
PACKING = "kfit_packing"
#: Kinds of which a row is a list.
_LISTS = ("vector", "sequence")
#: Names that TensorFlow does not take as an argument of a signature.
_RESERVED = frozenset({"self", "serving", PACKING, *keyword.kwlist})
_LONGEST_NAME = 100


@dataclass(frozen=True)
class ServingModel:
    """A model of raw columns.

    Attributes:
        model: {input name: [B] or [B, size] of its dtype, images as pixels} -> float32 [B, outputs] in the label's own
            units (float64 where `LabelField.offset` is not 0), NaN for a row that lacks a required number; of several
            labels a dict of them. Call it, or give `predict` a tf.data.Dataset: `predict` on arrays casts float64 to
            float32 on the way in (Keras 3.15), and large nullable integers lose their digits.
        packing: The part of it before the trained layers, {input name: …} -> `x` of `trainer.schema` without images;
            None where every column is an image.
        inputs: Column name -> input name, see `input_names`.
    """

    model: keras.Model
    packing: keras.Model | None
    inputs: Mapping[str, str]

    def predict(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Predictions [rows, outputs] of raw columns by column name; of several labels side by side."""
        answer = self.model(named_tensors(columns, self.inputs), training=False)
        parts = answer.values() if isinstance(answer, dict) else [answer]
        return np.concatenate([np.asarray(part) for part in parts], axis=1)


def named_tensors(columns: Mapping[str, np.ndarray], inputs: Mapping[str, str]) -> dict[str, tf.Tensor]:
    """Raw columns by column name as tensors by input name; a name that `inputs` lacks stays as it is."""
    return {inputs.get(name, name): tf.constant(values) for name, values in columns.items()}


def serving_model(trained: keras.Model, layout: Layout) -> ServingModel:
    """Puts the packing in front of a trained model, in the graph, by stock layers alone.

    Args:
        trained: The model of `build`, or the Trainable around it; its weights are shared, not copied.
        layout: The raw columns.
    """
    inner = trained.model if isinstance(trained, Trainable) else trained
    names = input_names(layout, [inner.name])
    raw = {c.name: keras.Input(shape=_row_shape(c), dtype=c.dtype, name=names[c.name]) for c in layout.columns}
    packing = _packing(layout)
    stored = [raw[c.name] for c in layout.columns if c.kind != "image"]
    packed = {} if packing is None else dict(packing(stored))
    packed |= {image_key(index): raw[column.name] for index, column in enumerate(layout.images)}
    packed_answers = inner(packed)
    answers = {
        at.label.name: _unless_lacking(layout, packed, predicted(at.label, at.predictions(packed_answers)))
        for at in layout.targets
    }
    ends = answers if layout.further_labels else answers[layout.label.name]
    model = keras.Model({names[column]: tensor for column, tensor in raw.items()}, ends, name="serving")
    return ServingModel(model, packing, names)


def _unless_lacking(layout: Layout, packed: Mapping[str, Any], answers: Any) -> Any:
    """NaN for rows that lack a required number: a relu inside the model would make 0 of the NaN and answer."""
    required = [f for f in layout.numbers if f.required and f.column.dtype.startswith("float")]
    if not required:
        return answers
    places = [f.start + i for f in required for i in range(f.column.size)]
    lacking = ops.any(ops.isnan(ops.take(packed["numbers"], places, axis=1)), axis=1, keepdims=True)
    return ops.where(lacking, float("nan"), answers)


def _packing(layout: Layout) -> keras.Model | None:
    """A model of its own, so that no column's name meets the name of one of its many operations."""
    columns = [column for column in layout.columns if column.kind != "image"]
    if not columns:
        return None
    # A list of inputs, not a dict: these names are nobody's business.
    inputs = [keras.Input(_row_shape(c), dtype=c.dtype, name=f"raw_{i}") for i, c in enumerate(columns)]
    raw = {column.name: tensor for column, tensor in zip(columns, inputs, strict=True)}
    packed = {}
    if layout.numbers:
        packed["numbers"] = _numbers(layout, raw)
    if layout.packed_codes:
        packed["codes"] = _codes(layout, raw)
    for index, field in enumerate(layout.ragged):
        packed[ragged_key(index)] = lookup([field], raw[field.column.name])[:, : field.column.size]
    return keras.Model(inputs, packed, name=PACKING)


def export(serving: ServingModel, folder: Path, layout: Layout) -> None:
    """Writes `model.keras` and `saved_model/` into a local folder, which is made if it is not there.

    Both take the raw columns by input name; the SavedModel's `serving_default` returns {"prediction": [B, outputs]};
    of several labels {label: [B, outputs]}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Keras 3.15 hands NumPy the variables of EinsumDense as they are, and NumPy 2 asks for an argument more.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        serving.model.save(folder / KERAS_FILE)
    archive = keras.export.ExportArchive()
    archive.track(serving.model)
    specs = {
        name: tf.TensorSpec((None, *_row_shape(column)), column.dtype, name=name)
        for column in layout.columns
        for name in [serving.inputs[column.name]]
    }
    archive.add_endpoint("serving_default", _prediction(serving.model), input_signature=[specs])
    archive.write_out(str(folder / SAVED_MODEL_FOLDER), verbose=False)


def input_names(layout: Layout, reserved: Iterable[str] = ()) -> dict[str, str]:
    """Column name -> the input's name in the exported model: the same, where Keras and TensorFlow take it.

    They take ASCII letters, digits and `_` after a letter, no keyword of Python, and no two names that differ in case
    alone. What they do not take becomes `_`, and a name that is then taken gets a number. The mapping is one to one;
    the published manifest holds it as `inputs`.

    Args:
        layout: The columns.
        reserved: Names of layers that stand beside the inputs.
    """
    taken = {name.casefold() for name in (*_RESERVED, *reserved)}
    names: dict[str, str] = {}
    for column in layout.columns:
        if _plain(column.name) == column.name and column.name.casefold() not in taken:
            taken.add(column.name.casefold())
            names[column.name] = column.name
    for column in layout.columns:
        if column.name not in names:
            plain = _plain(column.name)
            tries = itertools.chain([plain], (f"{plain}_{count}" for count in itertools.count(2)))
            names[column.name] = free = next(name for name in tries if name.casefold() not in taken)
            taken.add(free.casefold())
    return {column.name: names[column.name] for column in layout.columns}


def _plain(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:_LONGEST_NAME]
    return plain if re.match(r"[A-Za-z]", plain) else f"column_{plain}"


def _row_shape(column: Column) -> tuple[int | None, ...]:
    """Shape of one row's input: (), vectors and sequences (size,), ragged sequences (any,), images their pixels."""
    if column.kind == "image":
        return column.shape
    return (None if column.ragged else column.size,) if column.kind in _LISTS else ()


def _prediction(model: keras.Model) -> Any:
    def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answer = model(columns, training=False)
        return answer if isinstance(answer, dict) else {"prediction": answer}

    return serve


# --- packing: columns of one dtype share their operations, so the graph of a wide table stays small --------------


def _codes(layout: Layout, raw: Mapping[str, Any]) -> Any:
    """Packed int32 [B, C]."""
    groups: dict[object, list[CodeField]] = {}
    for field in layout.packed_codes:
        groups.setdefault((shares_lookup(field), field.column.kind), []).append(field)
    parts = []
    for fields in groups.values():
        alone = fields[0].column.kind == "text"
        parts.append(lookup(fields, raw[fields[0].column.name] if alone else _side_by_side(fields, raw)))
    return _in_packed_order(list(groups.values()), parts)


def _numbers(layout: Layout, raw: Mapping[str, Any]) -> Any:
    """Packed float32 [B, N]. Offsets are subtracted in float64, as the feed does."""
    groups: dict[object, list[NumberField]] = {}
    for field in layout.numbers:
        calendar = (field.column.arrow, field.column.parts) if field.column.kind == "date" else ()
        groups.setdefault((field.column.dtype, field.column.kind, *calendar), []).append(field)
    parts = []
    for fields in groups.values():
        if fields[0].column.kind == "date":
            parts.append(_date_parts(fields, raw))
            continue
        offsets = np.repeat([field.offset for field in fields], [field.column.size for field in fields])
        parts.append(_shifted(_side_by_side(fields, raw), offsets))
    return _in_packed_order(list(groups.values()), parts)


def _date_parts(fields: Sequence[NumberField], raw: Mapping[str, Any]) -> Any:
    """Packed parts of K dates of one type: float32 [B, K * parts]."""
    first = fields[0].column
    # [B, K] -> [B, K, parts] -> [B, K * parts]
    parts = packed_parts(_side_by_side(fields, raw), first.arrow, first.parts, KERAS)
    return ops.reshape(parts, (-1, len(fields) * first.size))


def _side_by_side(fields: Sequence[CodeField] | Sequence[NumberField], raw: Mapping[str, Any]) -> Any:
    """Raw columns of one dtype and kind: [B] each, or [B, size] each -> [B, sum of sizes]."""
    tensors = [raw[field.column.name] for field in fields]
    if fields[0].column.kind not in _LISTS:
        return ops.stack(tensors, axis=1)
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=1)


def _in_packed_order(groups: Sequence[Sequence[CodeField] | Sequence[NumberField]], parts: Sequence[Any]) -> Any:
    """Parts [B, …] of each group -> [B, sum of sizes], every field at its `start`."""
    packed = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
    at = [f.start + i for fields in groups for f in fields for i in range(f.column.size)]
    return packed if at == sorted(at) else ops.take(packed, np.argsort(at).tolist(), axis=1)


def _shifted(values: Any, offsets: np.ndarray) -> Any:
    if offsets.any():
        values = ops.subtract(ops.cast(values, "float64"), offsets)
    return ops.cast(values, "float32")
