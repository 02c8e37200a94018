"""The model, and how it is trained."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    Tag,
    model_validator,
)

from trainer.config.data import ClassWeight
from trainer.config.objective import AnyLoss, AnyMetric, AnyOptimizer, Optimizer
from trainer.config.own_code import EntrypointName, OwnCallback
from trainer.config.values import Auto, DurationOrNever, Fraction, PositiveInt, Rate, Strict, Uri, WholeNumber, member


class Builtin(Strict):
    """A built-in model."""

    builtin: Literal["linear", "mlp", "dcn"]
    hidden: list[PositiveInt] = Field([256, 256, 256], description="mlp, dcn: units of each hidden layer.")
    activation: str = Field("silu", description="mlp, dcn: activation of the hidden layers, by Keras name.")
    dropout: Rate = Field(0.0, description="mlp, dcn: fraction of units dropped after each hidden layer.")
    residual: bool = Field(False, description="mlp, dcn: add each hidden layer's input to its output.")
    l2: float = Field(0.0, ge=0.0, description="L2 penalty on the kernels.")
    numbers: Literal["periodic", "piecewise", "none"] = Field(
        "periodic",
        description="mlp, dcn: encoding of numeric columns beside their scaled value. periodic: learnt sines; "
        "piecewise: position between the quantiles of the training rows; none: no encoding.",
    )
    number_size: PositiveInt = Field(8, description="mlp, dcn: outputs for each number, or its quantile bins.")
    frequencies: PositiveInt = Field(16, description="periodic: frequencies for each number.")
    frequency_scale: PositiveFloat = Field(
        0.2, description="periodic: standard deviation of the initial frequencies; larger fits finer detail."
    )
    cross_layers: PositiveInt = Field(3, description="dcn: number of cross layers, which multiply features.")
    freeze: list[str] = Field([], description="Layers whose weights stay as they are, by name: after a warm start.")


class Entrypoint(Strict):
    """Your own model."""

    entrypoint: EntrypointName = Field(
        description="package.module:name of a function, or of a class, that returns a Keras model. With inputs: packed "
        "it takes the features; else it does where it has an argument `features`."
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments of the function.")
    inputs: Literal["packed", "encoded", "raw"] = Field(
        "packed",
        description="What the model takes. packed: what features.inputs() gives. encoded: columns by name, numbers "
        "scaled and imputed, categories as codes; all in one tensor for a model that takes one. raw: columns by name "
        "as the data has them.",
    )
    freeze: list[str] = Field([], description="Layers whose weights stay as they are, by name: after a warm start.")


class SavedModel(Strict):
    """A saved model that is trained on: fine-tuning."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, serialize_by_alias=True)

    uri: Uri = Field(
        alias="from",
        description="A .keras file; or a published model with its vocabularies: the URI of a run, of its model/, or an "
        "output.uri (then: the run in production).",
    )
    inputs: Literal["packed", "encoded", "raw"] | None = Field(
        None, description="What the model of a .keras file takes, as of an entrypoint. Default: raw."
    )
    freeze: list[str] = Field([], description="Layers whose weights stay as they are, by name.")


def _model_member(value: object) -> str:
    for kind, key in ((Entrypoint, "entrypoint"), (SavedModel, "from")):
        if key in value if isinstance(value, dict) else isinstance(value, kind):
            return member(kind.__name__)
    return member("Builtin")


Model = Annotated[
    Annotated[Builtin, Tag(member("Builtin"))]
    | Annotated[Entrypoint, Tag(member("Entrypoint"))]
    | Annotated[SavedModel, Tag(member("SavedModel"))],
    Discriminator(_model_member),
]


class EarlyStopping(Strict):
    """Stops when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to monitor.")
    patience: WholeNumber = Field(3, ge=0, description="Epochs without improvement before the run stops.")
    min_delta: float = Field(0.0, ge=0.0, description="Smaller changes do not count as an improvement.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")
    restore_best_weights: bool = Field(True, description="End with the weights of the best epoch.")


class ReduceOnPlateau(Strict):
    """Lowers the learning rate when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to monitor.")
    factor: Fraction = Field(0.5, description="Factor by which the rate is multiplied.")
    patience: WholeNumber = Field(2, ge=0, description="Epochs without improvement before the rate is lowered.")
    min_delta: float = Field(0.0001, ge=0.0, description="Smaller changes do not count as an improvement.")
    cooldown: WholeNumber = Field(0, ge=0, description="Epochs to wait after the rate was lowered.")
    min_learning_rate: float = Field(0.0, ge=0.0, description="Lower bound of the rate.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")


class Profile(Strict):
    """Which steps TensorFlow's profiler sees; TensorBoard shows them."""

    steps: tuple[PositiveInt, PositiveInt] = Field(
        strict=False,  # YAML has lists and no tuples
        description="First and last step, counted from 1 since the run began: [100, 120]. These steps are slower.",
    )

    @model_validator(mode="after")
    def _is_a_span(self) -> Profile:
        if self.steps[0] > self.steps[1]:
            raise ValueError(f"steps {list(self.steps)} end before they begin")
        return self


class Fit(Strict):
    """How the model is fitted."""

    epochs: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto", description="Most passes over the training rows. auto: 60, fewer for many rows, at least 12."
    )
    batch_size: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto",
        description="Rows per step, over all replicas and workers. auto: by the number of training rows, 48 to 6144.",
    )
    optimizer: AnyOptimizer = Field(default_factory=lambda: Optimizer(), description="The optimizer.")
    loss: AnyLoss = Field(
        "auto",
        validate_default=True,
        description="auto: cross-entropy; for regression mse, for count Poisson, for quantile pinball. mse, mae, "
        "huber: of a regression, on the scale on which it is learnt. Else a loss of Keras, which sees labels and "
        "predictions in their own units.",
    )
    metrics: list[AnyMetric] | None = Field(
        None,
        description="auc, pr_auc, accuracy, precision, recall, top5, mae, rmse, r2, deviance, pinball, coverage, "
        "exact_match, or metrics of Keras. Default by task: auc, pr_auc, accuracy; accuracy; auc, accuracy, "
        "exact_match; mae, rmse, r2; deviance, mae, rmse; pinball, coverage.",
    )
    callbacks: list[OwnCallback] = Field([], description="Callbacks of your own, called in this order.")
    class_weight: ClassWeight | None = Field(
        None,
        description="balanced: rows / (classes * rows of the class); or class -> weight. Not applied to validation.",
    )
    early_stopping: Annotated[EarlyStopping, Tag(member("EarlyStopping"))] | Auto | None = Field(
        "auto",
        description="Stop when a metric no longer improves. auto: where there is validation, by val_loss, with a "
        "patience of a third of the epochs. null: never.",
    )
    reduce_on_plateau: ReduceOnPlateau | None = Field(
        None, description="Lower the learning rate when a metric no longer improves."
    )
    calibrate: Literal["temperature"] | None = Field(
        None,
        description="binary, multiclass: temperature: after training fit one number on the validation split by which "
        "the logits are divided, and keep it in the exported model where it lowers the Brier score there.",
    )
    mixed_precision: bool = Field(False, description="Compute in float16 (bfloat16 on CPU) with weights in float32.")
    jit_compile: bool = Field(False, description="Compile the training step with XLA.")
    steps_per_execution: PositiveInt = Field(1, description="Steps per call into TensorFlow.")
    extend: Uri | None = Field(
        None,
        description="Continue from the end of another run of the same job (its id below output.uri, or its URI) with "
        "more epochs, as if it had not ended.",
    )
    warm_start: Uri | None = Field(
        None,
        description="Start from the weights and vocabularies of a published model: the URI of a run, of its model/, or "
        "an output.uri (then: the run in production). Values that are not in its vocabularies count as unseen.",
    )
    profile: Profile | None = Field(None, description="Steps to profile; output.tensorboard has the result.")
    stall: DurationOrNever = Field(
        "10m",
        description="A run that finishes no step for so long writes the stacks of all threads and ends with exit 71, "
        "which a cluster retries: 10m, 2h, never.",
    )
    seed: WholeNumber = Field(0, ge=0, lt=2**31, description="Seed of weights, dropout and the order of rows.")
    deterministic: bool | None = Field(
        None, description="Bit-equal results for the same seed. Default: true on CPU, false on GPU (it is slower)."
    )

    @property
    def known_epochs(self) -> int:
        """The number of epochs, once `resolve_automatic` has replaced `auto`."""
        assert isinstance(self.epochs, int), "resolve_automatic comes first"
        return self.epochs

    @property
    def known_batch_size(self) -> int:
        """The number of rows of a step, once `resolve_automatic` has replaced `auto`."""
        assert isinstance(self.batch_size, int), "resolve_automatic comes first"
        return self.batch_size

    @property
    def known_early_stopping(self) -> EarlyStopping | None:
        """When to stop, once `resolve_automatic` has replaced `auto`."""
        assert self.early_stopping != "auto", "resolve_automatic comes first"
        return self.early_stopping


@dataclass(frozen=True)
class MonitorFault:
    """What is wrong with a `monitor`.

    Attributes:
        key: Where it stands: `fit.early_stopping.monitor`, or `.mode`.
        what: What is wrong.
        remedy: What to do.
    """

    key: str
    what: str
    remedy: str


def mode_of(directions: Mapping[str, str], monitor: str, mode: str) -> str:
    """Returns `min` or `max`: the direction in which a metric of that name is better; `auto` where nobody knows."""
    return mode if mode != "auto" else directions.get(monitor.removeprefix("val_")) or "auto"


def monitor_fault(
    fit: Fit, directions: Mapping[str, str], *, validation: bool, unknown: Iterable[str] = ()
) -> MonitorFault | None:
    """Looks for a `monitor` that names no metric of the run, or one without a direction.

    Args:
        fit: The configuration's `fit`.
        directions: The run's metrics and in which direction each is better.
        validation: Whether there is a validation split.
        unknown: Beginnings of names of which more may be there than `directions` has.
    """
    names = [*directions, *(f"val_{name}" for name in directions if validation)]
    for key in ("early_stopping", "reduce_on_plateau"):
        part = getattr(fit, key)
        if not isinstance(part, EarlyStopping | ReduceOnPlateau):
            continue
        if part.monitor not in names:
            if part.monitor.removeprefix("val_").startswith(tuple(unknown)):
                continue
            what = f"there is no metric {part.monitor!r}"
            return MonitorFault(f"fit.{key}.monitor", what, choice(part.monitor, names))
        if mode_of(directions, part.monitor, part.mode) == "auto":
            what = f"nobody knows whether less or more of {part.monitor} is better"
            return MonitorFault(f"fit.{key}.mode", what, "set mode: min or mode: max")
    return None


def choice(name: str, names: Iterable[str]) -> str:
    """Returns `did you mean …?` with the nearest name, or all names where none is near.

    Of several labels a metric's name with the label's in front is near, too.
    """
    known = list(names)
    front = "val_" if name.startswith("val_") else ""
    stems = [one.removeprefix(front) for one in known if one.startswith(front)]
    stem = name.removeprefix(front)
    near = difflib.get_close_matches(stem, stems, n=1) or [one for one in stems if one.endswith(f"_{stem}")]
    return f"did you mean {front + near[0]!r}?" if near else f"use one of {', '.join(known)}"
