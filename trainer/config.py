"""The job file's `run:` key: the trainer's whole configuration, checked once, here.

The job file is also a Helm values file; its other keys belong to the chart. From these models come
`values.schema.json`, the editor schema and the option reference in docs/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    WithJsonSchema,
    model_validator,
)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?|)B?")
_SIZE_FACTORS = {"": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("", 1000), ("i", 1024))
}
_EVERY = re.compile(r"(\d+)\s*(s|m|h|steps?|epochs?)")
_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_size(value: object) -> object:
    """`256MiB`, `8Gi`, `1.5G` or a number of bytes -> bytes. Anything else is handed on to pydantic."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size; write it like 256MiB, 8Gi or 1500000")
    return int(float(match[1]) * _SIZE_FACTORS[match[2].replace("k", "K")])


def _check_every(value: str) -> str:
    if not (match := _EVERY.fullmatch(value)) or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not an interval; write it like 5m, 500 steps or 1 epoch")
    return value


def duration_s(value: str) -> int:
    """`90s`, `30m`, `2h`, `7d` -> seconds.

    Raises:
        ValueError: It is none of them.
    """
    if not (match := _DURATION.fullmatch(value)) or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not a duration; write it like 90s, 30m or 2h")
    return int(match[1]) * _SECONDS[match[2]]


def _check_duration(value: str) -> str:
    duration_s(value)
    return value


def _by_name(features: dict[str, Any]) -> dict[str, Any]:
    # helm sorts the keys of a values file, and the order of inputs decides which random weight each one gets:
    # so a laptop and a pod train the same model only if the file's order counts nowhere.
    return dict(sorted(features.items()))


def _entrypoint(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is not package.module:function")
    return value


SizeBytes = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}
    ),
]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Every = Annotated[str, AfterValidator(_check_every)]
Duration = Annotated[str, AfterValidator(_check_duration)]
Scalar = bool | int | float | str


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


# --- data -----------------------------------------------------------------------------------------


class Constant(Strict):
    """A fixed stand-in for null."""

    constant: Scalar = Field(description="The value that stands in for null.")


class Numeric(Strict):
    """A number: any int, float, bool, decimal, date or timestamp column."""

    kind: Literal["numeric"]
    scale: Literal["standard", "min_max", "robust", "none"] = Field(
        "standard",
        description="standard: (x - mean) / std; min_max: to [0, 1]; robust: (x - median) / interquartile range.",
    )
    impute: Literal["mean", "median"] | Constant | None = Field(
        None, description="What stands in for null and NaN. Without it a null is an error (exit 65)."
    )
    indicator: bool = Field(False, description="Add a 0/1 input that says the value was null.")


class Categorical(Strict):
    """One of a set of values: a string, int, bool or dictionary column. Null has a category of its own."""

    kind: Literal["categorical"]
    encode: Literal["one_hot", "embedding", "hash"] = Field(
        "one_hot",
        description="hash: into `buckets` without a vocabulary, then an embedding where `size` is given, else one-hot.",
    )
    size: PositiveInt | None = Field(
        None, description="Width of the embedding. Default: min(50, 1.6 * cardinality ** 0.56), rounded up."
    )
    buckets: PositiveInt | None = Field(None, description="Hash buckets; hash only, and needed there.")
    max_vocabulary: PositiveInt = Field(10_000, description="The most frequent values kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Values with fewer training rows count as unseen.")
    impute: Constant | None = Field(
        None, description="The value that stands in for null. Default: null is a category of its own."
    )
    indicator: bool = Field(False, description="Add a 0/1 input that says the value was null.")

    @model_validator(mode="after")
    def _hash_has_buckets(self) -> Categorical:
        if (self.encode == "hash") != (self.buckets is not None):
            raise ValueError("buckets goes with encode: hash, and encode: hash needs buckets")
        return self


class Vector(Strict):
    """A fixed number of numbers: a list column of one length."""

    kind: Literal["vector"]
    size: PositiveInt = Field(description="Elements of every row's vector.")
    scale: Literal["standard", "none"] = Field("none", description="standard: each element by its own mean and std.")
    impute: Constant | None = Field(
        None, description="Every element of a null row. Without it a null is an error (exit 65)."
    )
    indicator: bool = Field(False, description="Add a 0/1 input that says the vector was null.")


class Sequence(Strict):
    """Several values of a set: a list column of strings or ints. Each value has an embedding; a row is their mean."""

    kind: Literal["sequence"]
    length: PositiveInt = Field(description="Values of a row that are kept, from the front; shorter rows are padded.")
    size: PositiveInt | None = Field(
        None, description="Width of the embedding. Default: min(50, 1.6 * cardinality ** 0.56), rounded up."
    )
    max_vocabulary: PositiveInt = Field(10_000, description="The most frequent values kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Values that occur less often in training count as unseen.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


class Text(Strict):
    """Words: a string column, in lower case, without punctuation, cut at blanks. A row is the mean of its words."""

    kind: Literal["text"]
    length: PositiveInt = Field(256, description="Words of a row that are kept, from the front.")
    size: PositiveInt | None = Field(
        None, description="Width of the embedding. Default: min(50, 1.6 * cardinality ** 0.56), rounded up."
    )
    max_vocabulary: PositiveInt = Field(20_000, description="The most frequent words kept; the rest count as unseen.")
    min_count: PositiveInt = Field(1, description="Words that occur less often in training count as unseen.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


class Augment(Strict):
    """How images are varied in training, at random but the same way in every run of one seed."""

    flip: bool = Field(False, description="Mirror half of them, left to right.")
    shift: Rate = Field(0.0, description="Move them by up to this share of their height and width.")


class Image(Strict):
    """A picture: a binary column of encoded PNG, JPEG, GIF or BMP files."""

    kind: Literal["image"]
    height: PositiveInt = Field(description="Pixels; what is stored is resized.")
    width: PositiveInt = Field(description="Pixels; what is stored is resized.")
    channels: Literal[1, 3] = Field(3, description="1: grey; 3: colours.")
    augment: Augment | None = Field(None, description="Variations of the training images. Default: none.")
    impute: ClassVar[None] = None
    indicator: ClassVar[bool] = False


Feature = Annotated[Numeric | Categorical | Vector | Sequence | Text | Image, Field(discriminator="kind")]


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


def _split_tag(value: object) -> str:
    if not isinstance(value, dict | Strict):
        return "URIs"
    newest = "newest" in value if isinstance(value, dict) else isinstance(value, NewestSplit)
    return "NewestSplit" if newest else "FractionSplit"


Validation = Annotated[
    Annotated[FractionSplit, Tag("FractionSplit")]
    | Annotated[NewestSplit, Tag("NewestSplit")]
    | Annotated[str | list[str], Tag("URIs")],
    Discriminator(_split_tag),
]


class Condition(Strict):
    """What a row's value must be; everything that is given has to hold, and null fits nothing but `null: true`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )

    equals: Scalar | None = Field(None, description="This value.")
    one_of: list[Scalar] | None = Field(None, alias="in", min_length=1, description="One of these values.")
    not_in: list[Scalar] | None = Field(None, min_length=1, description="None of these values.")
    at_least: Scalar | None = Field(None, description="This value or a greater one; dates as 2013-01-31.")
    above: Scalar | None = Field(None, description="A greater value.")
    at_most: Scalar | None = Field(None, description="This value or a smaller one.")
    below: Scalar | None = Field(None, description="A smaller value.")
    null: bool | None = Field(None, description="true: only rows without a value; false: only rows with one.")


class Data(Strict):
    """Which rows and columns are read, and how."""

    train: str | list[str] = Field(
        description="A folder, a URI, a glob or a list of them: local, file://, s3://, gs://, az://."
    )
    validation: Validation | None = Field(
        None, description="A share of the training rows, or URIs of its own. Default: no validation."
    )
    label: str = Field(description="Column to predict.")
    sample_weight: str | None = Field(None, description="Column with a weight >= 0 for each row's loss.")
    features: Annotated[dict[str, Feature], AfterValidator(_by_name)] = Field(
        min_length=1, description="Columns to learn from, by name. Their order does not matter."
    )
    filter: dict[str, Condition] = Field(
        {}, description="Rows that belong to the set, by column. Row groups that cannot hold one are not read."
    )
    shuffle: SizeBytes | Literal[False] = Field(
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
        if self.label in self.features:
            raise ValueError(f"label {self.label!r} is also a feature; remove it from features")
        return self


# --- model and fit --------------------------------------------------------------------------------


class Builtin(Strict):
    """A model that comes with the trainer."""

    builtin: Literal["linear", "mlp"]
    hidden: list[PositiveInt] = Field([128, 64], description="mlp: units of each hidden layer.")
    activation: str = Field("relu", description="mlp: activation of the hidden layers, by Keras name.")
    dropout: Rate = Field(0.0, description="mlp: share of units dropped after each hidden layer.")
    residual: bool = Field(False, description="mlp: add each hidden layer's input to its output.")
    l2: float = Field(0.0, ge=0.0, description="L2 penalty on the kernels.")


class Entrypoint(Strict):
    """A model of your own."""

    entrypoint: Annotated[str, AfterValidator(_entrypoint)] = Field(
        description="package.module:function; receives the features, returns an uncompiled Keras model."
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments handed to the function.")


def _model_tag(value: object) -> str:
    own = "entrypoint" in value if isinstance(value, dict) else isinstance(value, Entrypoint)
    return "Entrypoint" if own else "Builtin"


Model = Annotated[
    Annotated[Builtin, Tag("Builtin")] | Annotated[Entrypoint, Tag("Entrypoint")],
    Discriminator(_model_tag),
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

    name: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "lion"] = "adam"
    learning_rate: PositiveFloat | Schedule = Field(0.001, description="A rate, or a schedule.")
    momentum: Rate = Field(0.0, description="sgd, rmsprop: momentum.")
    weight_decay: float | None = Field(None, ge=0.0, description="Decoupled weight decay.")
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

    epochs: PositiveInt = Field(10, description="Passes over the training rows at the most.")
    batch_size: PositiveInt = Field(1024, description="Rows of a step, over all replicas and workers.")
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer(), description="How weights move.")
    loss: Literal["auto", "mse", "mae", "huber"] = Field(
        "auto", description="auto: cross-entropy; for regression mse. The others are for regression."
    )
    metrics: list[Literal["auc", "pr_auc", "accuracy", "precision", "recall", "mae", "rmse", "r2", "top5"]] | None = (
        Field(None, description="Default by task: auc, pr_auc, accuracy; accuracy; mae, rmse, r2.")
    )
    class_weight: Literal["balanced"] | dict[int | str, float] | None = Field(
        None,
        description="balanced: rows / (classes * rows of the class); or class -> weight. Never touches validation.",
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop when a metric no longer improves.")
    reduce_on_plateau: ReduceOnPlateau | None = Field(
        None, description="Lower the learning rate when a metric no longer improves."
    )
    mixed_precision: bool = Field(False, description="Compute in float16 (bfloat16 on CPU), keep weights in float32.")
    jit_compile: bool = Field(False, description="Compile the step with XLA.")
    steps_per_execution: PositiveInt = Field(1, description="Steps of one call into TensorFlow.")
    extend: str | None = Field(
        None,
        description="Go on from the end of another run of the same job (its id below output.uri, or its URI) with "
        "more epochs, as if it had never ended.",
    )
    warm_start: str | None = Field(
        None,
        description="Begin with the weights and vocabularies of a published model: a run's URI, its model/, or an "
        "output.uri (then: what is in production). Values that its vocabularies lack count as unseen.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seeds weights, dropout and the order of rows.")
    deterministic: bool | None = Field(
        None, description="Bit-equal results for the same seed. Default: on CPU yes, on GPU no (it costs speed)."
    )


# --- output ---------------------------------------------------------------------------------------


class Checkpoint(Strict):
    """When the state of the run is kept."""

    every: Every = Field("1 epoch", description="5m, 500 steps or 1 epoch.")
    keep: PositiveInt = Field(3, description="Newest checkpoints kept; each holds the best epoch's weights too.")
    patience: Duration = Field(
        "30m", description="A run whose checkpoints cannot be committed for so long ends with exit 69: 90s, 30m, 2h."
    )


class Output(Strict):
    """Where a run leaves what it makes."""

    uri: str = Field(description="A folder or a URI; a run writes below runs/<run id>/.")
    checkpoint: Checkpoint = Field(default_factory=lambda: Checkpoint(), description="When the state is kept.")
    tensorboard: bool = Field(True, description="Write TensorBoard's event files.")


class Config(Strict):
    """The trainer's configuration: the job file's `run:` key."""

    data: Data
    task: Literal["binary", "multiclass", "regression"]
    model: Model
    fit: Fit = Field(default_factory=lambda: Fit())
    output: Output

    @model_validator(mode="after")
    def _parts_match(self) -> Config:
        if self.task == "regression" and self.fit.class_weight is not None:
            raise ValueError("fit.class_weight goes with binary and multiclass, not with regression")
        if self.task != "regression" and self.fit.loss != "auto":
            raise ValueError(f"fit.loss {self.fit.loss!r} goes with regression; leave it out")
        if self.data.validation is None:
            for name in ("early_stopping", "reduce_on_plateau"):
                part = getattr(self.fit, name)
                if part is not None and part.monitor.startswith("val_"):
                    raise ValueError(
                        f"fit.{name} watches {part.monitor} but data.validation is not set; "
                        f"set it, or watch a training metric"
                    )
        return self

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Config:
        """Reads the `run:` key of a job file.

        Args:
            path: The job file.
            overrides: `--set` expressions, applied as helm does: `run.fit.epochs=3`.

        Returns:
            The configuration.

        Raises:
            ConfigError: Not there, not YAML, or wrong; all faults in one message, each with its line.
        """
        from trainer.jobfile import load_run

        return load_run(cls, Path(path), overrides or [])
