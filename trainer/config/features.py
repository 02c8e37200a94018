"""The features of a model, and how each is encoded."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from trainer.config.values import WHOLE, PositiveInt, Rate, Scalar, Strict, member


class Constant(Strict):
    """A constant that replaces null."""

    constant: Scalar = Field(description="The value that replaces null.")


def _number(impute: object) -> object:
    if isinstance(impute, Constant):
        try:
            finite = math.isfinite(float(impute.constant))
        except (ValueError, OverflowError):
            finite = False
        if not finite:
            raise ValueError(
                f"impute.constant {impute.constant!r} is not a number; give one, or impute: mean or median"
            )
    return impute


def _moment(impute: object) -> object:
    if isinstance(impute, Constant):
        try:
            datetime.fromisoformat(str(impute.constant))
        except ValueError as error:
            raise ValueError(f"impute.constant {impute.constant!r} is no date; write it as 2013-01-31") from error
    return impute


def _no_empty_text(impute: Constant | None) -> Constant | None:
    if impute is not None and impute.constant == "":
        raise ValueError("impute.constant '' is the text of null already; leave impute out, or give a text of its own")
    return impute


StatisticOrConstant = (
    Annotated[Literal["mean", "median"], Tag(member("statistic"))] | Annotated[Constant, Tag(member("Constant"))] | None
)
Indicator = Annotated[bool, Field(description="Add a 0/1 input that says the value was null.")]
EmbeddingSize = Annotated[
    PositiveInt | None,
    Field(description="Width of the embedding. Default: min(50, 1.6 * cardinality ** 0.56), rounded up."),
]


class Numeric(Strict):
    """A number: any int, float, bool, decimal, date or timestamp column."""

    kind: Literal["numeric"]
    scale: Literal["robust_clip", "standard", "min_max", "robust", "none"] = Field(
        "robust_clip",
        description="robust_clip: (x - median) / interquartile range, bent so that outliers stay within ±3; "
        "standard: (x - mean) / std; min_max: to [0, 1]; robust: as robust_clip without the bend.",
    )
    impute: Annotated[StatisticOrConstant, AfterValidator(_number)] = Field(
        None, description="What replaces null and NaN. Without it a null is an error (exit 65)."
    )
    indicator: Indicator = False


class Date(Strict):
    """A date or timestamp column, as parts of the calendar. One with a time zone has the parts of its local time."""

    kind: Literal["date"]
    parts: (
        Annotated[
            list[Literal["year", "month", "day", "day_of_year", "weekday", "hour", "minute", "second", "time"]],
            Field(min_length=1),
            Tag(member("parts")),
        ]
        | Annotated[Literal["auto"], Tag(member("auto"))]
    ) = Field(
        "auto",
        description="auto: year, month and weekday, and of timestamps hour. time: the year with its fraction, for a "
        "trend.",
    )
    cyclic: bool = Field(
        True, description="Parts that begin again as sine and cosine, so that December lies beside January."
    )
    impute: Annotated[StatisticOrConstant, AfterValidator(_moment)] = Field(
        None, description="The date that stands in for null. Without it a null is an error (exit 65)."
    )
    indicator: Indicator = False


class Categorical(Strict):
    """One of several values: a string, int, bool or dictionary column. Null is a category of its own."""

    kind: Literal["categorical"]
    encode: Literal["auto", "one_hot", "embedding", "hash"] = Field(
        "auto",
        description="auto: one_hot up to 9 values, else embedding; "
        "hash: into `buckets`, without a vocabulary, then an embedding where `size` is given, else one-hot.",
    )
    size: EmbeddingSize = None
    buckets: Annotated[int, Field(gt=0, lt=2**31 - 8), WHOLE] | None = Field(
        None, description="Number of hash buckets; required with hash, and only there."
    )
    max_vocabulary: PositiveInt = Field(10_000, description="The most frequent values kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Values with fewer training rows count as unseen.")
    impute: Annotated[Constant | None, AfterValidator(_no_empty_text)] = Field(
        None, description="The value that replaces null. Default: null is a category of its own."
    )
    indicator: Indicator = False

    @model_validator(mode="after")
    def _hash_has_buckets(self) -> Categorical:
        if (self.encode == "hash") != (self.buckets is not None):
            raise ValueError("buckets goes with encode: hash, and encode: hash needs buckets")
        return self


class Vector(Strict):
    """A vector of fixed size: a list column of one length."""

    kind: Literal["vector"]
    size: PositiveInt = Field(description="Number of elements.")
    scale: Literal["standard", "none"] = Field("none", description="standard: each element by its own mean and std.")
    impute: Annotated[Constant | None, AfterValidator(_number)] = Field(
        None, description="Replaces every element of a null row. Without it a null is an error (exit 65)."
    )
    indicator: bool = Field(False, description="Add a 0/1 input that says the vector was null.")


class Sequence(Strict):
    """A list of values: a list column of strings or ints. Each value has an embedding; a row is their mean."""

    kind: Literal["sequence"]
    length: PositiveInt = Field(description="Values of a row that are kept, from the front; shorter rows are padded.")
    ragged: bool = Field(
        False, description="Pad to a batch's longest row instead of `length`: for rows that are mostly far shorter."
    )
    size: EmbeddingSize = None
    max_vocabulary: PositiveInt = Field(10_000, description="The most frequent values kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Values that occur less often in training count as unseen.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


class Text(Strict):
    """Text: a string column, in lower case, without punctuation, split at spaces. A row is the mean of its words."""

    kind: Literal["text"]
    length: PositiveInt = Field(256, description="Words of a row that are kept, from the front.")
    size: EmbeddingSize = None
    max_vocabulary: PositiveInt = Field(20_000, description="The most frequent words kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Words that occur less often in training count as unseen.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


class Augment(Strict):
    """Random augmentation of training images, the same in every run with the same seed."""

    flip: bool = Field(False, description="Mirror half of the images, left to right.")
    shift: Rate = Field(0.0, description="Move images by up to this fraction of their height and width.")


class Image(Strict):
    """An image: a binary column of encoded PNG, JPEG, GIF or BMP files."""

    kind: Literal["image"]
    height: PositiveInt = Field(description="Pixels; stored images are resized.")
    width: PositiveInt = Field(description="Pixels; stored images are resized.")
    channels: Literal[1, 3] = Field(3, description="1: greyscale; 3: RGB.")
    augment: Augment | None = Field(None, description="Augmentation of the training images. Default: none.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


def _kind_member(value: object) -> str:
    return member(str(value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)))


Feature = Annotated[
    Annotated[Numeric, Tag(member("numeric"))]
    | Annotated[Date, Tag(member("date"))]
    | Annotated[Categorical, Tag(member("categorical"))]
    | Annotated[Vector, Tag(member("vector"))]
    | Annotated[Sequence, Tag(member("sequence"))]
    | Annotated[Text, Tag(member("text"))]
    | Annotated[Image, Tag(member("image"))],
    Discriminator(
        _kind_member,
        custom_error_type="unknown_kind",
        custom_error_message="should be 'numeric', 'date', 'categorical', 'vector', 'sequence', 'text' or 'image'",
    ),
]
