"""The data: where it is, how it is split, what is checked of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PositiveInt,
    Tag,
    model_validator,
)

from trainer.config.features import Feature
from trainer.config.values import Days, Fraction, Scalar, SizeBytes, Strict, Uris, member
from trainer.errors import ConfigError

_DATE_FIELD = re.compile(r"\{date(?::[^{}]+)?\}")


def _by_name(features: dict[str, Any]) -> dict[str, Any]:
    # helm sorts the keys of a values file, and the order of inputs decides which random weight each one gets:
    # so a laptop and a pod train the same model only if the file's order counts nowhere.
    return dict(sorted(features.items()))


def _dated_uri(value: str) -> str:
    if not _DATE_FIELD.search(value):
        raise ValueError(f"{value!r} has no {{date}}; write it like s3://lake/flights/dt={{date}}/*.parquet")
    return value


class FractionSplit(Strict):
    """A share of the rows, the same rows in every run."""

    fraction: Fraction = Field(description="Share of the rows that validate.")
    by: str | None = Field(
        None,
        description="Rows with the same value of this column stay together. "
        "Default: by the row's position in its shard.",
    )


class NewestSplit(Strict):
    """The newest days validate."""

    newest: Fraction = Field(description="Share of the days, rounded up to whole days, that validate.")
    by: str = Field(description="A date, a timestamp, or a hive partition column with dates.")


class Window(Strict):
    """A span of days, counted from the run's logical date: the night it was scheduled for, or `--date`."""

    uri: Annotated[str, AfterValidator(_dated_uri)] = Field(
        description="A day's files: a folder or a glob with {date} in it (2013-03-01), or {date:%Y/%m/%d}."
    )
    last: Annotated[Days, Field(gt=0)] = Field(description="How many days, 28d.")
    until: Annotated[Days, Field(le=0)] = Field(
        -1, description="The last day, counted from the logical date: 0d is that day, -1d the day before."
    )
    gap: Annotated[Days, Field(ge=0)] = Field(
        0, description="Move the whole span so many days back, for labels that come late."
    )
    missing: Literal["fail", "warn"] = Field(
        "fail", description="A day without a file: end with exit 65, or go on without it and say so."
    )
    max_missing: PositiveInt = Field(3, description="warn: at most so many days, then exit 65 all the same.")


def _uris_member(value: object) -> str:
    return member("Window" if isinstance(value, dict | Strict) else "URIs")


DataUris = Annotated[
    Annotated[Window, Tag(member("Window"))] | Annotated[Uris, Tag(member("URIs"))],
    Discriminator(_uris_member),
]


def _split_member(value: object) -> str:
    if not isinstance(value, dict | Strict):
        return member("URIs")
    if isinstance(value, Window) or (isinstance(value, dict) and "uri" in value):
        return member("Window")
    newest = "newest" in value if isinstance(value, dict) else isinstance(value, NewestSplit)
    return member("NewestSplit" if newest else "FractionSplit")


Validation = Annotated[
    Annotated[FractionSplit, Tag(member("FractionSplit"))]
    | Annotated[NewestSplit, Tag(member("NewestSplit"))]
    | Annotated[Window, Tag(member("Window"))]
    | Annotated[Uris, Tag(member("URIs"))],
    Discriminator(_split_member),
]


def _take_both_names(schema: dict[str, Any]) -> None:
    """Lets the schema take `one_of` beside its alias `in`, as the model does."""
    schema["properties"]["one_of"] = schema["properties"]["in"]


class Condition(Strict):
    """What a row's value must be; everything that is given has to hold, and null fits nothing but `null: true`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra=_take_both_names,
    )

    equals: Scalar | None = Field(None, description="This value.")
    one_of: list[Scalar] | None = Field(None, alias="in", min_length=1, description="One of these values.")
    not_in: list[Scalar] | None = Field(None, min_length=1, description="None of these values.")
    at_least: Scalar | None = Field(None, description="This value or a greater one; dates as 2013-01-31.")
    above: Scalar | None = Field(None, description="A greater value.")
    at_most: Scalar | None = Field(None, description="This value or a smaller one.")
    below: Scalar | None = Field(None, description="A smaller value.")
    null: bool | None = Field(None, description="true: only rows without a value; false: only rows with one.")


class Limits(Strict):
    """How far a column may move from the run in production. null: no limit."""

    nulls: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        0.05, description="Largest rise of the share of rows that are null or NaN."
    )
    range: Annotated[float, Field(ge=0.0)] | None = Field(
        1.0,
        description="How far numbers may lie outside production's smallest and largest, as a share of that span.",
    )
    new_categories: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        0.05, description="Largest share of rows with a category that production never saw."
    )
    psi: Annotated[float, Field(gt=0.0)] | None = Field(
        0.25,
        description="Largest population stability index; 0.1 is a slight and 0.25 a marked shift by custom.",
    )


class Checks(Limits):
    """Limits that the training rows keep before a model is fitted, against the run in production."""

    min_rows: Annotated[float, Field(ge=0.0)] | None = Field(
        0.5, description="Fewest rows, as a share of production's training rows. null: no limit."
    )
    max_rows: Annotated[float, Field(gt=0.0)] | None = Field(
        2.0, description="Most rows, as a share of production's training rows. null: no limit."
    )
    columns: dict[str, Limits] = Field(
        {}, description="Limits of single columns, by name; what one leaves out is as for all."
    )


class Label(Strict):
    """The column to predict, and the scale on which a regression is learnt."""

    column: str = Field(description="Its name.")
    transform: Literal["standard", "log1p", "none"] = Field(
        "standard",
        description="Regression: what the network learns to predict. standard: (y - mean) / std; log1p: the same of "
        "log(1 + y), for amounts over several orders of magnitude; none: y itself. Metrics, predictions and the "
        "exported model are in the label's own units whichever it is.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A column's name is also a label."""
        return {"anyOf": [{"type": "string"}, handler(core)]}


def _as_label(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Data(Strict):
    """Which rows and columns are read, and how."""

    train: DataUris = Field(
        description="A folder, a URI, a glob or a list of them: local, file://, s3://, gs://, az://. "
        "Or a window of days."
    )
    validation: Validation | None = Field(
        None, description="A share of the training rows, or URIs or a window of its own. Default: no validation."
    )
    holdout: DataUris | None = Field(
        None, description="Fresh rows that no model was fitted on: the gate of `promote` scores on them."
    )
    checks: Checks | None = Field(
        None, description="Limits against the run in production; a breach ends with exit 65. Default: none."
    )
    unchanged: Literal["skip", "fit"] | None = Field(
        None,
        description="Data, configuration and code as in a run that succeeded: exit 0 at once with status skipped, "
        "or fit again. Default: skip where `promote` is set, else fit.",
    )
    label: Annotated[Label, BeforeValidator(_as_label)] = Field(
        description="Column to predict: its name, or a mapping with its transform."
    )
    sample_weight: str | None = Field(None, description="Column with a weight >= 0 for each row's loss.")
    features: Annotated[dict[str, Feature], AfterValidator(_by_name)] = Field(
        min_length=1, description="Columns to learn from, by name. Their order does not matter."
    )
    filter: dict[str, Condition] = Field(
        {}, description="Rows that belong to the set, by column. Row groups that cannot hold one are not read."
    )
    shuffle: Annotated[SizeBytes, Tag(member("size"))] | Annotated[Literal[False], Tag(member("false"))] = Field(
        256 * 1024**2,
        description="Decoded bytes (and at most 256 row groups) that are mixed at a time; larger mixes better and "
        "takes memory. Part of what decides the order of rows, so it never follows the machine. false: file order.",
    )
    memory: SizeBytes | None = Field(
        None,
        description="Most bytes the feed holds in flight. Default: a third of the cgroup's limit, "
        "else of physical memory.",
    )
    on_bad_shard: Literal["fail", "skip"] = Field(
        "fail", description="A shard that cannot be read: end with exit 65, or leave it out and count it."
    )
    max_bad_shards: PositiveInt = Field(10, description="Skip at most so many shards, then exit 65 all the same.")

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> Data:
        if self.label.column in self.features:
            raise ValueError(f"label {self.label.column!r} is also a feature; remove it from features")
        if self.label.column == self.sample_weight:
            raise ValueError(f"label {self.label.column!r} is also sample_weight; give a column with the rows' weights")
        return self

    @property
    def train_uris(self) -> str | list[str]:
        """Where the training rows lie; a window must have been resolved."""
        return resolved_uris(self.train, "run.data.train")

    @property
    def holdout_uris(self) -> str | list[str] | None:
        """Where the holdout rows lie; a window must have been resolved."""
        return None if self.holdout is None else resolved_uris(self.holdout, "run.data.holdout")


def resolved_uris(uris: Window | str | list[str], where: str) -> str | list[str]:
    """What a key of data names, without a window.

    Raises:
        ConfigError: It is a window that nobody has given a date.
    """
    if isinstance(uris, Window):
        raise ConfigError(
            "a window of days has no date yet",
            where=where,
            remedy="give --date, or as a library trainer.nightly.windows.resolve(config, date) first",
        )
    return uris
