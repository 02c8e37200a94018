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


class Entrypoint(Strict):
    """Your own model."""

    entrypoint: Annotated[str, AfterValidator(_entrypoint)] = Field(
        description="package.module:function; takes the features and returns an uncompiled Keras model."
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments of the function.")


def _model_member(value: object) -> str:
    own = "entrypoint" in value if isinstance(value, dict) else isinstance(value, Entrypoint)
    return member("Entrypoint" if own else "Builtin")


Model = Annotated[
    Annotated[Builtin, Tag(member("Builtin"))] | Annotated[Entrypoint, Tag(member("Entrypoint"))],
    Discriminator(_model_member),
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
    warmup_steps: int = Field(0, ge=0, description="cosine: steps of a linear warm-up from 0.")
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
    """The optimizer."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "lion"] = "adamw"
    learning_rate: (
        Annotated[PositiveFloat, Tag(member("rate"))] | Annotated[Schedule, Tag(member("Schedule"))] | Auto
    ) = Field("auto", description="A rate or a schedule. auto: a warm-up, then a cosine decay to 0 over the whole run.")
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
    """Stops when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to monitor.")
    patience: int = Field(3, ge=0, description="Epochs without improvement before the run stops.")
    min_delta: float = Field(0.0, ge=0.0, description="Smaller changes do not count as an improvement.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")
    restore_best_weights: bool = Field(True, description="End with the weights of the best epoch.")


class ReduceOnPlateau(Strict):
    """Lowers the learning rate when a metric no longer improves."""

    monitor: str = Field("val_loss", description="Metric to monitor.")
    factor: Fraction = Field(0.5, description="Factor by which the rate is multiplied.")
    patience: int = Field(2, ge=0, description="Epochs without improvement before the rate is lowered.")
    min_delta: float = Field(0.0001, ge=0.0, description="Smaller changes do not count as an improvement.")
    cooldown: int = Field(0, ge=0, description="Epochs to wait after the rate was lowered.")
    min_learning_rate: float = Field(0.0, ge=0.0, description="Lower bound of the rate.")
    mode: Literal["auto", "min", "max"] = Field("auto", description="Whether less or more is better.")


class Fit(Strict):
    """How the model is fitted."""

    epochs: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto", description="Most passes over the training rows. auto: 60, fewer for many rows, at least 12."
    )
    batch_size: Annotated[PositiveInt, Tag(member("number"))] | Auto = Field(
        "auto",
        description="Rows per step, over all replicas and workers. auto: by the number of training rows, 48 to 6144.",
    )
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer(), description="The optimizer.")
    loss: Literal["auto", "mse", "mae", "huber"] = Field(
        "auto", description="auto: cross-entropy, or mse for regression. The others are for regression."
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
    stall: DurationOrNever = Field(
        "10m",
        description="A run that finishes no step for so long writes the stacks of all threads and ends with exit 71, "
        "which a cluster retries: 10m, 2h, never.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, dropout and the order of rows.")
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
