"""The data: where it is, how it is split, what is checked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
    Tag,
    model_validator,
)

from trainer.config.features import Feature
from trainer.config.objective import AnyLoss, AnyMetric, Loss, WatchedMetric, check_task, metrics_of
from trainer.config.own_code import OwnCode
from trainer.config.values import Days, Fraction, PositiveInt, Scalar, SizeBytes, Strict, Uris, member
from trainer.errors import ConfigError
from trainer.schema import Task

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
    """A fraction of the rows validates, the same rows in every run."""

    fraction: Fraction = Field(description="Fraction of the rows that validate.")
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
    """A span of days, counted from the run's logical date: the day it was scheduled for, or `--date`."""

    uri: Annotated[str, AfterValidator(_dated_uri)] = Field(
        description="The files of a day: a folder or a glob with {date} in it (2013-03-01), or {date:%Y/%m/%d}."
    )
    last: Annotated[Days, Field(gt=0)] = Field(description="Number of days, 28d.")
    until: Annotated[Days, Field(le=0)] = Field(
        -1, description="The last day, counted from the logical date: 0d is that day, -1d the day before."
    )
    gap: Annotated[Days, Field(ge=0)] = Field(
        0, description="Move the whole span back by so many days, for labels that arrive late."
    )
    missing: Literal["fail", "warn"] = Field(
        "fail", description="A day without a file ends the run with exit 65, or is left out with a warning."
    )
    max_missing: PositiveInt = Field(3, description="warn: more missing days than this end with exit 65.")


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
    """Conditions on a row's value, which must all be true; null matches only `null: true`."""

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
    at_least: Scalar | None = Field(None, description="This value or greater ones; dates as 2013-01-31.")
    above: Scalar | None = Field(None, description="Values greater than this.")
    at_most: Scalar | None = Field(None, description="This value or smaller ones.")
    below: Scalar | None = Field(None, description="Values smaller than this.")
    null: bool | None = Field(None, description="true: only rows without a value; false: only rows with one.")


class Limits(Strict):
    """How far a column may differ from the run in production. null: no limit."""

    nulls: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        0.05, description="Largest rise of the fraction of rows that are null or NaN."
    )
    range: Annotated[float, Field(ge=0.0)] | None = Field(
        1.0,
        description="How far numbers may lie outside production's range, as a fraction of that range.",
    )
    new_categories: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        0.05, description="Largest fraction of rows with a category that the run in production did not have."
    )
    psi: Annotated[float, Field(gt=0.0)] | None = Field(
        0.25,
        description="Largest population stability index; by convention 0.1 is a slight and 0.25 a marked shift.",
    )


class Checks(Limits):
    """Limits on the training rows, compared with the run in production, before a model is fitted."""

    min_rows: Annotated[float, Field(ge=0.0)] | None = Field(
        0.5, description="Fewest rows, as a fraction of production's training rows. null: no limit."
    )
    max_rows: Annotated[float, Field(gt=0.0)] | None = Field(
        2.0, description="Most rows, as a fraction of production's training rows. null: no limit."
    )
    columns: dict[str, Limits] = Field(
        {}, description="Limits of single columns, by name; keys that are left out are as for all columns."
    )


def _rising(levels: list[float]) -> list[float]:
    if levels != sorted(set(levels)):
        raise ValueError(f"{levels} do not rise; write each quantile once, the lowest first")
    return levels


Levels = Annotated[list[Fraction], AfterValidator(_rising)]
_LEVELS = [0.1, 0.5, 0.9]
Transform = Literal["standard", "log1p", "none"]


class Label(Strict):
    """The column to predict, and the scale on which a regression is trained."""

    column: str = Field(description="Its name.")
    quantiles: Levels = Field(
        _LEVELS, min_length=1, description="task: quantile: which quantiles are predicted, the lowest first."
    )
    transform: Transform = Field(
        "standard",
        description="Regression, quantile: what the network learns to predict. standard: (y - mean) / std; log1p: the "
        "same of log(1 + y), for amounts over several orders of magnitude; none: y itself. Metrics, predictions and "
        "the exported model are always in the label's own units.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A column's name is also a label."""
        return {"anyOf": [{"type": "string"}, handler(core)]}


ClassWeight = (
    Annotated[Literal["balanced"], Tag(member("balanced"))]
    | Annotated[
        dict[Annotated[int, Tag(member("int"))] | Annotated[str, Tag(member("str"))], float],
        Tag(member("weights")),
    ]
)


class LabelOfSeveral(Strict):
    """One of several labels that a model predicts: what `task`, `data.label` and `fit` say where there is one."""

    task: Task = Field(description="What the label is; see `task`.")
    weight: PositiveFloat = Field(1.0, description="Factor of its loss in the sum of all.")
    quantiles: Levels = Field(_LEVELS, min_length=1, description="See `data.label`.")
    transform: Transform = Field("standard", description="See `data.label`.")
    loss: AnyLoss = Field("auto", validate_default=True, description="See `fit.loss`.")
    metrics: list[AnyMetric] | None = Field(None, description="See `fit.metrics`. The label's name goes before each.")
    class_weight: ClassWeight | None = Field(None, description="See `fit.class_weight`. It weighs this label's loss.")


@dataclass(frozen=True)
class Target:
    """One label with all that is asked of it; a job with one label has a list of one.

    Attributes:
        label: Its column and scale.
        task: What it is.
        loss, metrics, class_weight: As `fit` has them.
        weight: Factor of its loss.
        label_key, fit_key: The keys of the job file that say so.
        prefix: Of its metrics' names: "" where there is one label, else its name and "_".
    """

    label: Label
    task: Task
    loss: Loss | OwnCode
    metrics: list[WatchedMetric | OwnCode] | None
    class_weight: Literal["balanced"] | dict[int | str, float] | None
    weight: float = 1.0
    label_key: str = "data.label"
    fit_key: str = "fit"
    prefix: str = ""

    def check(self) -> None:
        """Raises ValueError where parts do not go together."""
        if self.task not in ("binary", "multiclass") and self.class_weight is not None:
            raise ValueError(f"{self.fit_key}.class_weight goes with binary and multiclass, not with {self.task}")
        if self.task not in ("regression", "quantile") and self.label.transform != "standard":
            raise ValueError(
                f"{self.label_key}.transform goes with regression and quantile, not with {self.task}; leave it out"
            )
        if self.task != "quantile" and self.label.quantiles != _LEVELS:
            raise ValueError(f"{self.label_key}.quantiles goes with task: quantile, not with {self.task}")
        check_task(self.task, self.loss, metrics_of(self.task, self.metrics), self.fit_key)


def _as_label(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Data(Strict):
    """Which rows and columns are read, and how."""

    train: DataUris = Field(
        description="A folder, a URI, a glob or a list of them: local, file://, s3://, gs://, az://. "
        "Or a window of days."
    )
    validation: Validation | None = Field(
        None, description="A fraction of the training rows, or URIs or a window of its own. Default: no validation."
    )
    holdout: DataUris | None = Field(
        None, description="Fresh rows that no model was fitted on, for the gate of `promote`."
    )
    checks: Checks | None = Field(
        None, description="Limits relative to the run in production; a breach ends with exit 65. Default: none."
    )
    unchanged: Literal["skip", "fit"] | None = Field(
        None,
        description="Where data, configuration and code are those of a run that succeeded: exit 0 at once with status "
        "skipped, or fit again. Default: skip where `promote` is set, else fit.",
    )
    label: Annotated[Label, BeforeValidator(_as_label)] | None = Field(
        None, description="Column to predict: its name, or a mapping with its transform. Or give `labels`."
    )
    labels: Annotated[dict[str, LabelOfSeveral], AfterValidator(_by_name)] = Field(
        {}, description="Columns to predict together, by name, in place of `label` and `task`."
    )
    sample_weight: str | None = Field(None, description="Column with a weight >= 0 for each row's loss.")
    features: Annotated[dict[str, Feature], AfterValidator(_by_name)] = Field(
        min_length=1, description="Columns to learn from, by name. Their order does not matter."
    )
    filter: dict[str, Condition] = Field(
        {}, description="Rows that belong to the dataset, by column. Row groups that cannot contain any are not read."
    )
    shuffle: Annotated[SizeBytes, Tag(member("size"))] | Annotated[Literal[False], Tag(member("false"))] = Field(
        256 * 1024**2,
        description="Decoded bytes (and at most 256 row groups) that are shuffled at a time; more mixes better and "
        "takes memory. It influences the order of rows, so it never depends on the machine. false: file order.",
    )
    memory: SizeBytes | None = Field(
        None,
        description="Most bytes the feed holds in flight. Default: a third of the cgroup's limit, "
        "else of physical memory.",
    )
    on_bad_shard: Literal["fail", "skip"] = Field(
        "fail", description="A shard that cannot be read ends the run with exit 65, or is left out and counted."
    )
    max_bad_shards: PositiveInt = Field(10, description="skip: more bad shards than this end with exit 65.")

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> Data:
        if (self.label is None) != bool(self.labels):
            raise ValueError("give data.label and task for one label, or data.labels for several")
        for name in self.label_columns:
            if name in self.features:
                raise ValueError(f"label {name!r} is also a feature; remove it from features")
            if name == self.sample_weight:
                raise ValueError(f"label {name!r} is also sample_weight; give a column with the rows' weights")
        return self

    @property
    def label_columns(self) -> list[str]:
        """The columns of all labels, in their order."""
        return [*self.labels] if self.label is None else [self.label.column]

    @property
    def train_uris(self) -> str | list[str]:
        """URIs of the training rows; a window must have been resolved."""
        return resolved_uris(self.train, "run.data.train")

    @property
    def holdout_uris(self) -> str | list[str] | None:
        """URIs of the holdout rows; a window must have been resolved."""
        return None if self.holdout is None else resolved_uris(self.holdout, "run.data.holdout")


def resolved_uris(uris: Window | str | list[str], where: str) -> str | list[str]:
    """What a key of data names, without a window.

    Raises:
        ConfigError: It is a window that has not been resolved.
    """
    if isinstance(uris, Window):
        raise ConfigError(
            "a window of days has no date yet",
            where=where,
            remedy="give --date, or as a library trainer.nightly.windows.resolve(config, date) first",
        )
    return uris
