"""What a run leaves, when it takes over production, and who is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_serializer,
    model_validator,
)

from trainer.config.values import Days, Duration, Every, Strict, Uri


class Checkpoint(Strict):
    """When the state of the run is kept."""

    every: Every = Field("1 epoch", description="5m, 500 steps or 1 epoch.")
    keep: PositiveInt = Field(3, description="Newest checkpoints kept; each holds the best epoch's weights too.")
    patience: Duration = Field(
        "30m", description="A run whose checkpoints cannot be committed for so long ends with exit 69: 90s, 30m, 2h."
    )


class KeepRuns(Strict):
    """Which runs stay. Older ones are deleted after a run that succeeds, and by `kfit prune`.

    The run in production, the one before it and runs that have not finished always stay.
    """

    count: PositiveInt | None = Field(None, description="The newest so many stay.")
    age: Annotated[Days, Field(gt=0)] | None = Field(None, description="Those younger than this stay, 90d.")

    @model_validator(mode="after")
    def _says_something(self) -> KeepRuns:
        if self.count is None and self.age is None:
            raise ValueError("give count, age or both; with both a run goes when neither keeps it")
        return self


class Output(Strict):
    """Where a run leaves what it makes."""

    uri: Uri = Field(description="A folder or a URI; a run writes below runs/<run id>/.")
    checkpoint: Checkpoint = Field(default_factory=lambda: Checkpoint(), description="When the state is kept.")
    tensorboard: bool = Field(True, description="Write TensorBoard's event files.")
    keep_runs: KeepRuns | None = Field(None, description="Which runs stay. Default: all.")


Metric = Literal["auc", "pr_auc", "accuracy", "loss", "brier", "mae", "rmse", "r2"]
#: Metrics of which less is better.
LESS_IS_BETTER = frozenset({"loss", "brier", "mae", "rmse"})
METRICS_OF_TASK: dict[str, tuple[Metric, ...]] = {
    "binary": ("auc", "pr_auc", "accuracy", "loss", "brier"),
    "multiclass": ("accuracy", "loss"),
    "regression": ("rmse", "mae", "r2", "loss"),
}


class Promote(Strict):
    """When the new model takes production over from the champion: both are scored on `data.holdout`.

    Gains are signed so that more is better for every metric.
    """

    metric: Metric | None = Field(
        None, description="Metric that decides. Default by task: auc; accuracy; rmse. loss: log loss; regression mse."
    )
    min_delta: float = Field(
        0.0,
        ge=0.0,
        description="Promote when the gain is more than this with confidence: "
        "the lower end of its interval lies above it.",
    )
    max_loss: PositiveFloat | None = Field(
        None,
        description="In place of min_delta, to keep a model fresh: promote unless it may be worse by more than this; "
        "the lower end of the gain's interval lies above -max_loss.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(0.95, description="Of the two-sided interval.")
    resamples: Annotated[int, Field(ge=100, le=100_000)] = Field(1000, description="Bootstrap resamples.")
    by: str | None = Field(
        None,
        description="Column of the holdout whose values are drawn as a whole, such as its day: "
        "rows of a day that share their fate tell less than as many independent ones. It takes 7 values. "
        "Default: each row by itself.",
    )
    slices: list[str] = Field(
        [],
        description="Columns of the holdout; no value of them may be surely worse. Adjusted for the number "
        "of values (Holm), so that many slices refuse no more equally good models than one does.",
    )
    slice_max_loss: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="A slice counts as worse when it surely loses more than this."
    )
    min_slice_rows: PositiveInt = Field(200, description="Slices with fewer rows are shown, but do not decide.")
    limits: dict[Metric, float] = Field(
        {},
        description="Metric -> worst value on the holdout that is ever promoted; all that decides the first run.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Of the resamples.")

    @model_validator(mode="after")
    def _one_rule(self) -> Promote:
        if self.max_loss is not None and self.min_delta:
            raise ValueError("give min_delta (only a better model) or max_loss (a fresh one that is not worse)")
        return self


class Notify(Strict):
    """Posts `result.json` to a URL when a run ends. It never fails the run."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        None, repr=False, description="Where to; http or https. config.json and the report show its host alone."
    )
    url_env: str | None = Field(
        None, description="Environment variable with the URL, where the URL itself is a secret."
    )
    secret_env: str = Field(
        "KFIT_NOTIFY_SECRET",
        description="Environment variable with the key that signs, by Standard Webhooks: whsec_ and base64, or text. "
        "Unset: not signed.",
    )
    on: list[Literal["succeeded", "skipped", "failed", "preempted", "promoted"]] = Field(
        ["succeeded", "skipped", "failed"], min_length=1, description="Which ends are posted."
    )

    @field_serializer("url")
    def _hide_url(self, url: str | None) -> str | None:
        """A webhook's path or query often is its secret: what is written of a configuration keeps the host alone."""
        return redacted_url(url)

    @model_validator(mode="after")
    def _one_url(self) -> Notify:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give url or url_env")
        return self


def redacted_url(url: str | None) -> str | None:
    """Scheme and host of a URL, `…` in place of the rest; None stays None."""
    if url is None:
        return None
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{scheme}://{host}/…"
