"""A batch by column name, for a model that was written without kfit: `inputs: raw` or `encoded`.

What stands in front of the model is made of stock layers, so the published model holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainer.errors import ConfigError, ModelCodeError
from trainer.model.features import Features
from trainer.schema import CodeField, image_key

_WHERE = "run.model.inputs"
#: What a null and an unseen value of a category of integers are.
NULL_INTEGER, UNSEEN_INTEGER = -(2**63), -(2**63) + 1
UNSEEN_TEXT = "[UNK]"


def columns_for(features: Features, made: keras.Model, inputs: Mapping[str, Any], kind: str) -> Any:
    """What a model is called on: columns by name, or one tensor where it takes one.

    Args:
        features: The packed features.
        made: Functional (its inputs are named like columns), Sequential, or a subclass with `call(inputs)`.
        inputs: From `features.inputs()`.
        kind: `raw` or `encoded`.

    Returns:
        A tensor, a list or a dict of tensors.

    Raises:
        ConfigError: A column cannot be given as it is stored.
        ModelCodeError: The model has an input that is no column, or takes one tensor where there are several columns.
    """
    columns = by_column(features, inputs, kind)
    names = _names(made)
    if names is None:  # a subclass
        return next(iter(columns.values())) if len(columns) == 1 else columns
    if unknown := [name for name in names if name not in columns]:
        if len(names) > 1:
            raise ModelCodeError(
                f"the model has the inputs {', '.join(unknown)}; columns are {', '.join(columns)}",
                where=_WHERE,
                remedy="name each keras.Input as its column: keras.Input((1,), name='…')",
            )
        return _one_tensor(features, columns, inputs, kind)
    given = {name: columns[name] for name in names}
    structure = getattr(made, "_inputs_struct", None)
    if isinstance(structure, dict):
        return {key: given[tensor.name] for key, tensor in structure.items()}
    return list(given.values()) if len(given) > 1 else next(iter(given.values()))


def by_column(features: Features, inputs: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Each column by its name.

    Args:
        features: The packed features.
        inputs: From `features.inputs()`.
        kind: `encoded`: as `Features.columns`, codes of a category [B, 1]. `raw`: as the data has it: numbers float32
            [B, size] with NaN for null, categories [B, 1] of strings ('' for null, '[UNK]' for unseen) or int64 (the
            two constants above), images uint8.
    """
    if kind == "encoded":
        return {name: _at_least_a_column(tensor) for name, tensor in features.columns(inputs).items()}
    columns: dict[str, Any] = {}
    for number in features.layout.numbers:
        values = inputs["numbers"][:, number.start : number.start + number.column.size]
        columns[number.column.name] = ops.add(ops.cast(values, "float64"), number.offset) if number.offset else values
    for field in features.layout.codes:
        columns[field.column.name] = _values(field, inputs)
    for index, image in enumerate(features.layout.images):
        columns[image.name] = inputs[image_key(index)]
    return columns


def _values(field: CodeField, inputs: Mapping[str, Any]) -> Any:
    """Codes -> the values of the vocabulary, [B, 1]."""
    name = field.column.name
    if field.buckets or field.column.kind != "categorical":
        what = "hashed" if field.buckets else f"a {field.column.kind}, which reaches the model as codes"
        raise ConfigError(f"column {name!r} is {what}", where=_WHERE, remedy="take inputs: encoded")
    codes = inputs["codes"][:, field.start : field.start + 1]
    if all(isinstance(value, str) for value in field.vocabulary):
        texts = list(field.vocabulary)
        return keras.layers.StringLookup(vocabulary=texts, invert=True, mask_token="", oov_token=UNSEEN_TEXT)(codes)
    values = [int(value) for value in field.vocabulary]
    if strange := [value for value in values if not UNSEEN_INTEGER < value < 2**63]:
        raise ConfigError(
            f"column {name!r} holds {strange[0]}, which int64 does not hold beside null and unseen",
            where=_WHERE,
            remedy="take inputs: encoded",
        )
    tokens = {"mask_token": NULL_INTEGER, "oov_token": UNSEEN_INTEGER}
    return keras.layers.IntegerLookup(vocabulary=values, invert=True, **tokens)(codes)


def _names(made: keras.Model) -> list[str] | None:
    """The names of a model's inputs; of a Sequential one that is not built its own name; None of a subclass."""
    if isinstance(made, keras.Sequential):
        return [tensor.name for tensor in made.inputs] if made.built else [made.name]
    known = getattr(made, "inputs", None)
    return None if known is None else [tensor.name for tensor in known]


def _one_tensor(features: Features, columns: Mapping[str, Any], inputs: Mapping[str, Any], kind: str) -> Any:
    if len(columns) == 1:
        return next(iter(columns.values()))
    if kind == "encoded":
        return features.encode(inputs)
    raise ModelCodeError(
        f"the model takes one tensor, and there are the columns {', '.join(columns)}",
        where=_WHERE,
        remedy="take inputs: encoded, which is all columns as one tensor [batch, width]; or name an input for each",
    )


def _at_least_a_column(tensor: Any) -> Any:
    """[B] -> [B, 1]."""
    return ops.expand_dims(tensor, -1) if len(tensor.shape) == 1 else tensor
