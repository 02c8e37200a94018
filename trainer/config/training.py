"""The model, and how it is trained."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from trainer.config.values import Auto, DurationOrNever, Fraction, Rate, Strict, Uri, member


def _entrypoint(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is not package.module:function")
    return value


class Builtin(Strict):
    """A model that comes with the trainer."""

    builtin: Literal["linear", "mlp", "dcn"]
    hidden: list[PositiveInt] = Field([256, 256, 256], description="mlp, dcn: units of each hidden layer.")
    activation: str = Field("silu", description="mlp, dcn: activation of the hidden layers, by Keras name.")
    dropout: Rate = Field(0.0, description="mlp, dcn: share of units dropped after each hidden layer.")
    residual: bool = Field(False, description="mlp, dcn: add each hidden layer's input to its output.")
    l2: float = Field(0.0, ge=0.0, description="L2 penalty on the kernels.")
    numbers: Literal["periodic", "piecewise", "none"] = Field(
        "periodic",
        description="mlp, dcn: what numeric columns become beside their scaled value. periodic: learnt sines of it; "
        "piecewise: where it lies between the quantiles of training; none: nothing.",
    )
    number_size: PositiveInt = Field(8, description="mlp, dcn: columns that a number becomes, or its quantile bins.")
    frequencies: PositiveInt = Field(16, description="periodic: sines of each number.")
    frequency_scale: PositiveFloat = Field(
        0.2, description="periodic: standard deviation of the first frequencies; larger bends more."
    )
    cross_layers: PositiveInt = Field(3, description="dcn: layers that multiply the features with each other.")


class Entrypoint(Strict):
    """A model of your own."""

    entrypoint: Annotated[str, AfterValidator(_entrypoint)] = Field(
        description="package.module:function; receives the features, returns an uncompiled Keras model."
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments handed to the function.")


def _model_member(value: object) -> str:
    own = "entrypoint" in value if isinstance(value, dict) else isinstance(value, Entrypoint)
    return member("Entrypoint" if own else "Builtin")


Model = Annotated[
    Annotated[Builtin, Tag(member("Builtin"))] | Annotated[Entrypoint, Tag(member("Entrypoint"))],
    Discriminator(_model_member),
]


class Schedule(Strict):
    """A learning rate that changes by step."""

    name: Literal["cosine", "exponential", "piecewise"]
    initial: PositiveFloat = Field(description="Learning rate at the first step after the warm-up.")
    decay_steps: PositiveInt | None = Field(
        None, description="cosine, exponential: steps of one decay. Default: all steps of the run."
    )
    decay_rate: PositiveFloat = Field(0.96, description="exponential: factor for each decay_steps.")
    alpha: Rate = Field(0.0, description="cosine: the last rate as a share of the initial one.")
    warmup_steps: int = Field(0, ge=0, description="cosine: steps that rise linearly from 0.")
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


class Optimizer(Strict):
    """How weights move."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "lion"] = "adamw"
    learning_rate: (
        Annotated[PositiveFloat, Tag(member("rate"))] | Annotated[Schedule, Tag(member("Schedule"))] | Auto
    ) = Field("auto", description="A rate, or a schedule. auto: a warm-up and a cosine down to 0 over the whole run.")
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


class EarlyStopping(Strict):
    """Stop when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to watch.")
    patience: int = Field(3, ge=0, description="Epochs without improvement before the run stops.")
    min_delta: float = Field(0.0, ge=0.0, description="A smaller change is no improvement.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")
    restore_best_weights: bool = Field(True, description="End with the weights of the best epoch.")


class ReduceOnPlateau(Strict):
    """Lower the learning rate when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to watch.")
    factor: Fraction = Field(0.5, description="The rate is multiplied by this.")
    patience: int = Field(2, ge=0, description="Epochs without improvement before the rate falls.")
    min_delta: float = Field(0.0001, ge=0.0, description="A smaller change is no improvement.")
    cooldown: int = Field(0, ge=0, description="Epochs to wait after the rate fell.")
    min_learning_rate: float = Field(0.0, ge=0.0, description="The rate falls no further.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")


class Fit(Strict):
    """How the model is fitted."""

    epochs: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto", description="Passes over the training rows at the most. auto: 60, and fewer of many rows, at least 12."
    )
    batch_size: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto",
        description="Rows of a step, over all replicas and workers. auto: by the number of training rows, 48 to 6144.",
    )
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer(), description="How weights move.")
    loss: Literal["auto", "mse", "mae", "huber"] = Field(
        "auto", description="auto: cross-entropy; for regression mse. The others are for regression."
    )
    metrics: list[Literal["auc", "pr_auc", "accuracy", "precision", "recall", "mae", "rmse", "r2", "top5"]] | None = (
        Field(None, description="Default by task: auc, pr_auc, accuracy; accuracy; mae, rmse, r2.")
    )
    class_weight: (
        Annotated[Literal["balanced"], Tag(member("balanced"))]
        | Annotated[
            dict[Annotated[int, Tag(member("int"))] | Annotated[str, Tag(member("str"))], float],
            Tag(member("weights")),
        ]
        | None
    ) = Field(
        None,
        description="balanced: rows / (classes * rows of the class); or class -> weight. Never touches validation.",
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
    mixed_precision: bool = Field(False, description="Compute in float16 (bfloat16 on CPU), keep weights in float32.")
    jit_compile: bool = Field(False, description="Compile the step with XLA.")
    steps_per_execution: PositiveInt = Field(1, description="Steps of one call into TensorFlow.")
    extend: Uri | None = Field(
        None,
        description="Go on from the end of another run of the same job (its id below output.uri, or its URI) with "
        "more epochs, as if it had never ended.",
    )
    warm_start: Uri | None = Field(
        None,
        description="Begin with the weights and vocabularies of a published model: a run's URI, its model/, or an "
        "output.uri (then: what is in production). Values that its vocabularies lack count as unseen.",
    )
    stall: DurationOrNever = Field(
        "10m",
        description="A run in which no step is finished for so long shows the stacks of all threads and ends with exit "
        "71, which a cluster tries again: 10m, 2h, never.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seeds weights, dropout and the order of rows.")
    deterministic: bool | None = Field(
        None, description="Bit-equal results for the same seed. Default: on CPU yes, on GPU no (it costs speed)."
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
