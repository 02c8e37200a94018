"""The feature specification: packed inputs and their preprocessing, by stock Keras layers alone.

Training model and exported model share it, so there is no train/serve skew. All tensors are float32 under any precision
policy, and 500 numeric columns take as few operations as one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from trainer.config import Categorical, Config, Sequence, Text
from trainer.model.codes import code_of
from trainer.model.heads import make_heads
from trainer.model.scaling import plan_scaling, scaled_quantiles, smooth_clip
from trainer.schema import (
    MISSING_CODE,
    CodeField,
    Column,
    Layout,
    Statistics,
    image_key,
    ragged_key,
)

#: `encode: auto` gives columns of more values an embedding.
MOST_ONE_HOT = 9
#: One-hots of at most so many codes are made together; a wider one is made by an operation of its own.
_NARROW = 128


class Features:
    """The features of a model; the argument of an entrypoint.

    An entrypoint takes `inputs()`, turns them into tensors by `encode` or `columns`, and ends in
    `outputs` units with `activation`. Layers are shared between calls on the same inputs; each call of
    `inputs` starts a new model.

    Args:
        layout: How raw columns are packed.
        config: The job file's `run:` key.
        statistics: Of the training split.

    Attributes:
        heads: What the model ends in: units and activation for each label.
        outputs: Units of the last layer: the classes, the quantiles, else 1; of several labels together.
        activation: Of the last layer: sigmoid (binary, multilabel), softmax (multiclass), linear; of several labels
            that of the first.
        width: Columns of what `encode` returns.

    Raises:
        ConfigError: An imputation constant that is not a number.
    """

    def __init__(self, layout: Layout, config: Config, statistics: Statistics) -> None:
        self.layout = layout
        self._config, self._statistics = config, statistics
        self.heads = make_heads(layout, config, statistics)
        self.outputs = sum(head.outputs for head in self.heads)
        self.activation = self.heads[0].activation
        self._scaling = plan_scaling(layout, config, statistics)
        self._ragged = {field.column.name: ragged_key(index) for index, field in enumerate(layout.ragged)}
        self._coded = {
            name: feature
            for name, feature in config.data.features.items()
            if isinstance(feature, Categorical | Sequence | Text)
        }
        self._embedded = [field for field in layout.codes if _is_embedded(self._coded[field.column.name], field)]
        self._one_hot = [field for field in layout.codes if not _is_embedded(self._coded[field.column.name], field)]
        self._code_indicators = [field.start for field in layout.codes if self._coded[field.column.name].indicator]
        self._layers: dict[str, keras.layers.Layer] = {}
        self.width = (
            layout.numbers_width
            + len(self._scaling.indicators)
            + sum(field.cardinality for field in self._one_hot)
            + len(self._code_indicators)
            + sum(self._embedding_size(field) for field in self._embedded)
            + sum(image_width(column) for column in layout.images)
        )

    def inputs(self) -> dict[str, Any]:
        """Symbolic packed inputs: `numbers` float32 [B, N], `codes` int32 [B, C], absent where width 0; others."""
        self._layers = {}
        packed = (("numbers", self.layout.numbers_width, "float32"), ("codes", self.layout.codes_width, "int32"))
        inputs = {name: keras.Input(shape=(width,), dtype=dtype, name=name) for name, width, dtype in packed if width}
        for key in self._ragged.values():
            inputs[key] = keras.Input(shape=(None,), dtype="int32", name=key)
        for index, column in enumerate(self.layout.images):
            inputs[image_key(index)] = keras.Input(shape=column.shape, dtype="uint8", name=image_key(index))
        return inputs

    def embedding_shapes(self) -> dict[str, tuple[int, int]]:
        """Returns the shape of each embedding that `encode` makes, by column."""
        return {f.column.name: (f.cardinality, self._embedding_size(f)) for f in self._embedded}

    def encode(self, inputs: Mapping[str, Any], embed_numbers: Callable[[Any], Any] | None = None) -> Any:
        """Returns all features as one float32 tensor [B, width].

        In this order: numbers scaled and imputed, indicators of numbers, one-hots, indicators of codes,
        embeddings, images after a few convolutions.

        Args:
            inputs: From `inputs()`.
            embed_numbers: From the scaled numeric columns (those of vectors are left out) float32 [B, K] to what
                stands beside them, [B, any]; `width` does not count it. K is `numeric_columns`.
        """
        parts = []
        if self.layout.numbers:
            scaled = self._scaled(inputs["numbers"])
            parts.append(scaled)
            if embed_numbers is not None and (single := list(self._scaling.single)):
                parts.append(embed_numbers(scaled if len(single) == scaled.shape[1] else ops.take(scaled, single, 1)))
            if self._scaling.indicators:
                picked = ops.take(inputs["numbers"], list(self._scaling.indicators), axis=1)
                parts.append(ops.cast(ops.isnan(picked), "float32"))
        if self.layout.codes:
            parts += self._encoded_codes(inputs)
        for index, column in enumerate(self.layout.images):
            parts.append(self._convolved(inputs[image_key(index)], index, column))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)

    def columns(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns each feature by column name.

        Returns:
            Numbers and vectors: float32 [B, size], scaled and imputed. Categories: int32 codes [B].
            Sequences and texts: int32 codes [B, length], ragged ones [B, longest], 0 after the last.
            Images: float32 [B, height, width, channels] in [0, 1].
        """
        by_name = {}
        if self.layout.numbers:
            scaled = self._scaled(inputs["numbers"])
            for field in self.layout.numbers:
                by_name[field.column.name] = scaled[:, field.start : field.start + field.column.size]
        for code in self.layout.codes:
            by_name[code.column.name] = self._values(inputs, code)
        for index, image in enumerate(self.layout.images):
            by_name[image.name] = self._pixels(inputs[image_key(index)], index)
        return by_name

    @property
    def numeric_columns(self) -> int:
        """Number of numeric features and parts of dates; elements of vectors do not count."""
        return len(self._scaling.single)

    def scaled_quantiles(self, bins: int) -> npt.NDArray[np.float64]:
        """Returns the scaled quantiles of each numeric column, ascending: float64 [numeric_columns, bins + 1]."""
        return scaled_quantiles(self.layout, self._statistics, self._scaling, bins)

    def cardinality(self, column: str) -> int:
        """Number of codes of a categorical column: the input_dim of its Embedding."""
        return next(field.cardinality for field in self.layout.codes if field.column.name == column)

    def _pixels(self, pixels: Any, index: int) -> Any:
        return self._layer(keras.layers.Rescaling, f"pixels_{index}", 1 / 255)(pixels)

    def _convolved(self, pixels: Any, index: int, column: Column) -> Any:
        """[B, height, width, channels] -> [B, image_width]."""
        maps = self._pixels(pixels, index)
        for number, filters in enumerate(_filters(column)):
            name = f"image_{index}_convolution_{number}"
            maps = self._layer(keras.layers.Conv2D, name, filters, 3, padding="same", activation="relu")(maps)
            maps = keras.layers.MaxPooling2D(2, padding="same", dtype="float32")(maps)
        return keras.layers.Flatten(dtype="float32")(maps)

    def _scaled(self, numbers: Any) -> Any:
        scaling = self._scaling
        if (scaling.factors != 1.0).any():
            numbers = self._layer(keras.layers.Rescaling, "number_factors", scaling.factors.tolist())(numbers)
        moments = {"mean": scaling.means.tolist(), "variance": np.square(scaling.deviations).tolist()}
        scaled = self._layer(keras.layers.Normalization, "scaled_numbers", **moments)(numbers)
        if not np.isnan(scaling.fills).all():
            scaled = ops.where(ops.isnan(scaled), scaling.fills.astype("float32"), scaled)
        if not scaling.clipped.any():
            return scaled
        clipped = smooth_clip(scaled, ops.sqrt)
        return clipped if scaling.clipped.all() else ops.where(scaling.clipped, clipped, scaled)

    def _encoded_codes(self, inputs: Mapping[str, Any]) -> list[Any]:
        parts = []
        for narrow, fields in itertools.groupby(self._one_hot, lambda field: field.cardinality <= _NARROW):
            if narrow:
                parts.append(self._narrow_one_hots(inputs["codes"], list(fields)))
            else:
                filled = [(self._filled(inputs["codes"], field), field.cardinality) for field in fields]
                parts += [ops.one_hot(codes, size, dtype="float32") for codes, size in filled]
        if self._code_indicators:
            picked = ops.take(inputs["codes"], self._code_indicators, axis=1)
            parts.append(ops.cast(ops.equal(picked, 0), "float32"))
        for field in self._embedded:
            name = f"embed_{self._ragged.get(field.column.name, field.start)}_{plain_name(field.column.name)}"
            layer = self._layer(keras.layers.Embedding, name, field.cardinality, self._embedding_size(field))
            values = self._values(inputs, field)
            parts.append(layer(values) if field.column.kind == "categorical" else _mean(layer(values), values))
        return parts

    def _narrow_one_hots(self, codes: Any, fields: list[CodeField]) -> Any:
        """One-hots side by side, [B, sum of cardinalities], by one comparison for any number of columns."""
        sizes = [field.cardinality for field in fields]
        # [B, C] -> [B, sum of sizes]: each column's code in all the places of its one-hot.
        repeated = ops.take(codes, np.repeat([field.start for field in fields], sizes).tolist(), axis=1)
        fills = np.repeat([self._graph_fill(field) for field in fields], sizes).astype(np.int32)
        if fills.any():
            repeated = ops.where(ops.equal(repeated, MISSING_CODE), fills, repeated)
        own = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        return ops.cast(ops.equal(repeated, own), "float32")

    def _values(self, inputs: Mapping[str, Any], field: CodeField) -> Any:
        """A column's codes: [B], or [B, size] of a sequence or a text, [B, longest] of a ragged one."""
        if field.column.ragged:
            return inputs[self._ragged[field.column.name]]
        codes = inputs["codes"]
        if field.column.kind == "categorical":
            return self._filled(codes, field)
        return codes[:, field.start : field.start + field.column.size]

    def _filled(self, codes: Any, field: CodeField) -> Any:
        """Returns the codes of a column [B]. Nulls that an indicator needs are replaced here and not in the feed."""
        column, fill = codes[:, field.start], self._graph_fill(field)
        return column if fill == MISSING_CODE else ops.where(ops.equal(column, MISSING_CODE), fill, column)

    def _graph_fill(self, field: CodeField) -> int:
        """Returns the code that replaces null in the graph; `MISSING_CODE` where the feed or nothing does."""
        impute = self._coded[field.column.name].impute
        return MISSING_CODE if impute is None or field.fill is not None else code_of(field, impute.constant)

    def _embedding_size(self, field: CodeField) -> int:
        size = self._coded[field.column.name].size
        return size or min(50, math.ceil(1.6 * field.cardinality**0.56))

    def _layer(self, kind: type[keras.layers.Layer], name: str, *args: Any, **options: Any) -> keras.layers.Layer:
        """The float32 layer of that name, made when it is first used."""
        if name not in self._layers:
            self._layers[name] = kind(*args, **options, dtype="float32", name=name)
        return self._layers[name]


def _filters(column: Column) -> list[int]:
    """Filters of each convolution, after which height and width are halved until both are at most 4."""
    blocks = max(1, math.ceil(math.log2(max(column.shape[:2]) / 4)))
    return [min(128, 16 * 2**block) for block in range(blocks)]


def image_width(column: Column) -> int:
    """Columns that an image becomes in `Features.encode`."""
    height, width, _ = column.shape
    filters = _filters(column)
    for _ in filters:
        height, width = -(-height // 2), -(-width // 2)
    return height * width * filters[-1]


def _mean(embedded: Any, codes: Any) -> Any:
    """Mean [B, E] of the embeddings [B, size, E] whose codes [B, size] are not padding; 0 of none."""
    real = ops.expand_dims(ops.cast(ops.not_equal(codes, 0), "float32"), -1)
    return ops.sum(embedded * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1.0)


def _is_embedded(feature: Categorical | Sequence | Text, field: CodeField) -> bool:
    if not isinstance(feature, Categorical):
        return True
    if feature.encode == "auto":
        return feature.size is not None or len(field.vocabulary) > MOST_ONE_HOT
    return feature.encode == "embedding" or (feature.encode == "hash" and feature.size is not None)


def plain_name(name: str) -> str:
    """A column's name with what Keras and TensorFlow refuse in names replaced."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)
