"""What is minimised and measured, and how weights move: short names of our own, and everything that Keras has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from trainer.config.keras_names import CLIPS, Kind, check_arguments, check_name, entry, table
from trainer.config.own_code import OwnCode, is_own
from trainer.config.values import PositiveInt, Rate, Strict, WholeNumber, member

#: Metrics by short name and task, and those of a task by default.
SHORT_METRICS = {
    "binary": ("auc", "pr_auc", "accuracy", "precision", "recall"),
    "multiclass": ("accuracy", "top5"),
    "multilabel": ("auc", "accuracy", "exact_match"),
    "regression": ("mae", "rmse", "r2"),
    "count": ("deviance", "mae", "rmse"),
    "quantile": ("pinball", "coverage"),
}
DEFAULT_METRICS = {**SHORT_METRICS, "binary": ("auc", "pr_auc", "accuracy"), "multiclass": ("accuracy",)}
#: Of short names; "max" of the others. How often a label lies between two quantiles is best as large as they say.
_DIRECTIONS: dict[str, Literal["min", "max", ""]] = {
    **dict.fromkeys(("mae", "rmse", "deviance", "pinball"), "min"),
    "coverage": "",
}
_SHORT_NAMES_OF_METRICS = tuple(dict.fromkeys(name for names in SHORT_METRICS.values() for name in names))
_SHORT_OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad", "lion")
_SHORT_SCHEDULES = ("cosine", "exponential", "piecewise")
#: These compare classes, so they need a column of predictions for each class.
_OF_CLASSES = re.compile(r"(Sparse|Categorical|TopKCategorical|OneHot|MeanIoU|IoU|Circle)")


class Named(Strict):
    """A name with arguments: `Name`, or `{name: Name, argument: value}`.

    Attributes:
        kind: Which table of Keras the name is looked up in.
        short: Names of our own, which take no arguments.
        elsewhere: Names of our own with keys of their own, which another part describes.
        text_will_do: Whether the name may stand alone.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=False, allow_inf_nan=False)
    kind: ClassVar[Kind]
    short: ClassVar[tuple[str, ...]] = ()
    elsewhere: ClassVar[tuple[str, ...]] = ()
    text_will_do: ClassVar[bool] = True

    name: str = Field(
        description="A short name of kfit's, or the name of a class of Keras; its arguments stand beside it."
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the Keras class."""
        return dict(self.model_extra or {})

    @property
    def is_short(self) -> bool:
        """Whether the name is one of our own."""
        return self.name in self.short

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keras_knows_it(self) -> Named:
        check_name(self.kind, self.name, self.short)
        if not self.is_short:
            check_arguments(self.kind, self.name, self._keras_arguments())
        elif self.arguments:
            raise ValueError(
                f"{self.name!r} takes no arguments, and has {', '.join(self.arguments)}; give Keras's own name of it"
            )
        return self

    def _keras_arguments(self) -> dict[str, Any]:
        return self.arguments

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self) if self.arguments else self.name

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler.resolve_ref_schema(handler(core_schema))
        names: dict[str, Any] = {"anyOf": [{"enum": [*cls.short, *table()[cls.kind]]}, {"type": "string"}]}
        if cls.elsewhere:
            names["not"] = {"enum": [*cls.elsewhere]}
        found["properties"] = {**found["properties"], "name": names}
        return {"anyOf": [names, found]} if cls.text_will_do else found


class Loss(Named):
    """A loss: a short name, or one of Keras's with its arguments."""

    kind = "losses"
    short = ("auto", "mse", "mae", "huber")


class WatchedMetric(Named):
    """A metric: a short name, or one of Keras's with its arguments. `as` is its name in logs and result.json."""

    kind = "metrics"
    short = _SHORT_NAMES_OF_METRICS

    @property
    def log_name(self) -> str:
        """Its name in logs and in result.json."""
        return self.name if self.is_short else str(self.arguments.get("as") or entry("metrics", self.name)["log_name"])

    def _keras_arguments(self) -> dict[str, Any]:
        given = self.arguments
        shown = given.pop("as", None)
        if shown is not None and not (isinstance(shown, str) and re.fullmatch(r"(?!val_)[A-Za-z]\w*", shown)):
            raise ValueError(f"{self.name}: as is {shown!r}; use letters, digits and _, and no val_ in front")
        return given

    @model_validator(mode="after")
    def _is_one_number(self) -> WatchedMetric:
        if type(self.arguments.get("thresholds")) is list:
            raise ValueError(f"{self.name}: give one threshold, and each other one to a metric with its own `as`")
        return self


def _named_or_own(value: object) -> str:
    return member("OwnCode" if is_own(value) else "Named")


AnyLoss = Annotated[
    Annotated[Loss, Tag(member("Named"))] | Annotated[OwnCode, Tag(member("OwnCode"))], Discriminator(_named_or_own)
]
AnyMetric = Annotated[
    Annotated[WatchedMetric, Tag(member("Named"))] | Annotated[OwnCode, Tag(member("OwnCode"))],
    Discriminator(_named_or_own),
]


class Schedule(Strict):
    """A learning-rate schedule."""

    name: Literal["cosine", "exponential", "piecewise"]
    initial: PositiveFloat = Field(description="Learning rate at the first step after the warm-up.")
    decay_steps: PositiveInt | None = Field(
        None, description="cosine, exponential: steps of the decay. Default: all steps of the run."
    )
    decay_rate: PositiveFloat = Field(0.96, description="exponential: factor per decay_steps.")
    alpha: Rate = Field(0.0, description="cosine: the final rate as a fraction of the initial one.")
    warmup_steps: WholeNumber = Field(0, ge=0, description="cosine: steps of a linear warm-up from 0.")
    boundaries: list[PositiveInt] = Field([], description="piecewise: steps at which the rate changes.")
    values: list[PositiveFloat] = Field([], description="piecewise: the rate after each boundary.")

    @model_validator(mode="after")
    def _piecewise_matches(self) -> Schedule:
        if self.name == "piecewise" and not (
            self.boundaries
            and self.boundaries == sorted(set(self.boundaries))
            and len(self.values) == len(self.boundaries)
        ):
            raise ValueError("piecewise needs rising boundaries and one value for each of them")
        return self


class KerasSchedule(Named):
    """A schedule of Keras with its arguments."""

    kind = "schedules"
    elsewhere = _SHORT_SCHEDULES
    text_will_do = False


def _member_of_rate(value: object) -> str:
    if isinstance(value, Schedule | KerasSchedule):
        return member(type(value).__name__)
    if isinstance(value, dict):
        return member("Schedule" if value.get("name") in (*_SHORT_SCHEDULES, None) else "KerasSchedule")
    return member("Auto" if isinstance(value, str) and not re.match(r"[\d.+-]", value) else "Rate")


LearningRate = Annotated[
    Annotated[PositiveFloat, Tag(member("Rate"))]
    | Annotated[Literal["auto"], Tag(member("Auto"))]
    | Annotated[Schedule, Tag(member("Schedule"))]
    | Annotated[KerasSchedule, Tag(member("KerasSchedule"))],
    Discriminator(_member_of_rate),
]


class Optimizer(Strict):
    """The optimizer."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "lion"] = "adamw"
    learning_rate: LearningRate = Field(
        "auto", description="A rate or a schedule. auto: a warm-up, then a cosine decay to 0 over the whole run."
    )
    momentum: Rate = Field(0.0, description="sgd, rmsprop: momentum.")
    weight_decay: float | None = Field(
        None, ge=0.0, description="Decoupled weight decay of the kernels. Default: 0.05 with adamw, else none."
    )
    clip_norm: PositiveFloat | None = Field(None, description="Clip each gradient's norm.")
    global_clip_norm: PositiveFloat | None = Field(None, description="Clip the norm over all gradients.")
    clip_value: PositiveFloat | None = Field(None, description="Clip each gradient's elements.")

    @model_validator(mode="after")
    def _one_clip(self) -> Optimizer:
        if sum(c is not None for c in (self.clip_norm, self.global_clip_norm, self.clip_value)) > 1:
            raise ValueError("give one of clip_norm, global_clip_norm and clip_value")
        if self.momentum and self.name not in ("sgd", "rmsprop"):
            raise ValueError(f"momentum goes with sgd and rmsprop, not with {self.name}")
        return self

    @property
    def clips(self) -> dict[str, float]:
        """Clips by the names of Keras."""
        clips = {"clipnorm": self.clip_norm, "global_clipnorm": self.global_clip_norm, "clipvalue": self.clip_value}
        return {name: clip for name, clip in clips.items() if clip is not None}


class KerasOptimizer(Named):
    """An optimizer of Keras with its arguments and Keras's defaults."""

    kind = "optimizers"
    elsewhere = _SHORT_OPTIMIZERS
    text_will_do = False

    learning_rate: LearningRate | None = Field(
        None, description="A rate, a schedule, or auto (then from Keras's default rate down). Default: Keras's."
    )

    @model_validator(mode="before")
    @classmethod
    def _known_name(cls, value: Any) -> Any:
        """An unknown name is told before its learning rate is looked at."""
        alone = isinstance(value, str)
        name = value if alone else value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str):
            check_name("optimizers", name, _SHORT_OPTIMIZERS)
        if alone:
            raise ValueError(f"{name!r} is text; write it like {{name: {name}}}")
        return value

    @property
    def clips(self) -> dict[str, float]:
        """Clips by the names of Keras."""
        return {name: self.arguments[name] for name in CLIPS if self.arguments.get(name) is not None}

    @property
    def averages(self) -> bool:
        """Whether the weights that count are a moving average."""
        return bool(self.arguments.get("use_ema"))

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self)


def _member_of_optimizer(value: object) -> str:
    if is_own(value):
        return member("OwnCode")
    if isinstance(value, Optimizer | KerasOptimizer):
        return member(type(value).__name__)
    if isinstance(value, str):
        return member("KerasOptimizer")  # which says how it is written
    name = value.get("name", "adamw") if isinstance(value, dict) else None
    return member("KerasOptimizer" if isinstance(name, str) and name not in _SHORT_OPTIMIZERS else "Optimizer")


AnyOptimizer = Annotated[
    Annotated[Optimizer, Tag(member("Optimizer"))]
    | Annotated[KerasOptimizer, Tag(member("KerasOptimizer"))]
    | Annotated[OwnCode, Tag(member("OwnCode"))],
    Discriminator(_member_of_optimizer),
]


def check_task(task: str, loss: Loss | OwnCode, metrics: Iterable[WatchedMetric | OwnCode], where: str = "fit") -> None:
    """Raises ValueError where a loss or a metric of Keras cannot be computed of a task's labels and predictions."""
    watched = [metric for metric in metrics if isinstance(metric, WatchedMetric)]
    parts: list[tuple[Loss | WatchedMetric, str]] = [(loss, f"{where}.loss")] if isinstance(loss, Loss) else []
    if isinstance(loss, Loss) and loss.is_short and loss.name != "auto" and task != "regression":
        raise ValueError(f"{where}.loss {loss.name!r} goes with regression; leave it out, or give a loss of Keras")
    for part, key in [*parts, *((one, f"{where}.metrics") for one in watched)]:
        if isinstance(part, WatchedMetric) and part.is_short and part.name not in SHORT_METRICS[task]:
            raise ValueError(f"{key}: {part.name} cannot be measured on a {task} task; use {_names_for(task)}")
        if task == "quantile" and not part.is_short:
            raise ValueError(f"{key}: {part.name} of Keras compares one value a row, and quantiles are several; "
                             f"leave it out, or give code of your own")  # fmt: skip
        if task != "multiclass" and not part.is_short and _OF_CLASSES.match(part.name):
            raise ValueError(f"{key}: {part.name} compares classes; it goes with multiclass, not with {task}")
        if task != "regression" and part.arguments.get("from_logits"):
            answers = "expected counts" if task == "count" else "probabilities"
            raise ValueError(f"{key}: {part.name}: the model answers with {answers}; leave from_logits out")
    counts = Counter(metric.log_name for metric in watched)
    if twice := [name for name, count in counts.items() if count > 1 or name in ("loss", "learning_rate")]:
        raise ValueError(f"{where}.metrics: the name {twice[0]!r} is taken; give the metric another one: `as: name`")
    for metric in watched:
        _check_one_value(task, metric)


def _check_one_value(task: str, metric: WatchedMetric) -> None:
    averaged = {"F1Score": "average", "FBetaScore": "average"}.get(metric.name)
    if averaged and task in ("multiclass", "multilabel") and metric.arguments.get(averaged) is None:
        raise ValueError(
            f"fit.metrics: {metric.name} has a value for each class; set average: macro, micro or weighted"
        )


def _names_for(task: str) -> str:
    return f"{', '.join(SHORT_METRICS[task])}, or a metric of {'your own' if task == 'quantile' else 'Keras'}"


def metrics_of(task: str, metrics: Iterable[WatchedMetric | OwnCode] | None) -> list[WatchedMetric | OwnCode]:
    """The metrics that a run watches: those asked for, or the task's."""
    return [WatchedMetric(name=name) for name in DEFAULT_METRICS[task]] if metrics is None else list(metrics)


def short_names(task: str, metrics: Iterable[WatchedMetric | OwnCode] | None) -> list[str]:
    """The metrics of a run that go by a short name."""
    return [m.name for m in metrics_of(task, metrics) if isinstance(m, WatchedMetric) and m.is_short]


def direction(metric: WatchedMetric | OwnCode) -> Literal["min", "max", ""]:
    """In which direction a metric is better; empty where nobody knows."""
    if isinstance(metric, OwnCode):
        return ""
    if metric.is_short:
        return _DIRECTIONS.get(metric.name, "max")
    found: Literal["min", "max", ""] = entry("metrics", metric.name)["direction"]
    return found
