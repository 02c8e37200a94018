"""What a run writes, when it is promoted to production, and whom it notifies."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PositiveFloat,
    model_validator,
)

from trainer.config.values import WHOLE, Days, Duration, Every, PositiveInt, Strict, Uri, WholeNumber


class Checkpoint(Strict):
    """When checkpoints are written."""

    every: Every = Field("1 epoch", description="5m, 500 steps or 1 epoch.")
    keep: PositiveInt = Field(3, description="Newest checkpoints kept; each holds the best epoch's weights too.")
    patience: Duration = Field(
        "30m", description="A run that cannot commit a checkpoint for so long ends with exit 69: 90s, 30m, 2h."
    )


class KeepRuns(Strict):
    """Which runs are kept. Older ones are deleted after a run that succeeds, and by `kfit prune`.

    The run in production, the one before it and unfinished runs are always kept.
    """

    count: PositiveInt | None = Field(None, description="Number of newest runs to keep.")
    age: Annotated[Days, Field(gt=0)] | None = Field(None, description="Runs younger than this are kept, 90d.")

    @model_validator(mode="after")
    def _says_something(self) -> KeepRuns:
        if self.count is None and self.age is None:
            raise ValueError("give count, age or both; with both a run is deleted when neither keeps it")
        return self


class Output(Strict):
    """Where a run writes its results."""

    uri: Uri = Field(description="A folder or a URI; a run writes below runs/<run id>/.")
    checkpoint: Checkpoint = Field(default_factory=lambda: Checkpoint(), description="When checkpoints are written.")
    tensorboard: bool = Field(True, description="Write event files for TensorBoard.")
    keep_runs: KeepRuns | None = Field(None, description="Which runs are kept. Default: all.")


#: Metrics for which less is better.
_LESS_IS_BETTER = frozenset({"loss", "brier", "mae", "rmse", "deviance", "pinball"})


def less_is_better(metric: str) -> bool:
    """Whether less of a metric is better; before its name may stand that of one of several labels."""
    return metric.rpartition("_")[2] in _LESS_IS_BETTER


METRICS_OF_TASK: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "pr_auc", "accuracy", "loss", "brier"),
    "multiclass": ("accuracy", "loss"),
    "multilabel": ("auc", "accuracy", "exact_match", "loss", "brier"),
    "regression": ("rmse", "mae", "r2", "loss"),
    "count": ("deviance", "rmse", "mae", "loss"),
    "quantile": ("pinball", "loss"),
}


class Promote(Strict):
    """When the new model replaces the champion in production: both are scored on `data.holdout`.

    Gains are signed so that more is better for every metric.
    """

    metric: str | None = Field(
        None,
        description="Metric that decides. Default by task: auc; accuracy; auc; rmse; deviance; pinball. "
        "loss: log loss; of a regression mse, of counts Poisson's, of quantiles pinball. Of several labels one "
        "decides: late_auc.",
    )
    min_delta: float = Field(
        0.0,
        ge=0.0,
        description="Promote when the gain is more than this with confidence: "
        "the lower end of its interval lies above it.",
    )
    max_loss: PositiveFloat | None = Field(
        None,
        description="Instead of min_delta, to keep the model fresh: promote unless it may be worse by more than this; "
        "the lower end of the gain's interval lies above -max_loss.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(0.95, description="Of the two-sided interval.")
    resamples: Annotated[int, Field(ge=100, le=100_000), WHOLE] = Field(1000, description="Bootstrap resamples.")
    by: str | None = Field(
        None,
        description="Column of the holdout whose values are resampled as a whole, such as the day, where rows of one "
        "value are not independent. It needs at least 7 values. Default: each row by itself.",
    )
    slices: list[str] = Field(
        [],
        description="Columns of the holdout; the model must not be significantly worse on any of their values. "
        "Adjusted for the number of values (Holm), so that many slices refuse no more equally good models than one.",
    )
    slice_max_loss: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="A slice is worse when it loses more than this with confidence."
    )
    min_slice_rows: PositiveInt = Field(200, description="Slices with fewer rows are reported but do not decide.")
    limits: dict[str, float] = Field(
        {},
        description="Metric -> worst value on the holdout that is ever promoted. They alone decide the first run.",
    )
    seed: WholeNumber = Field(0, ge=0, lt=2**31, description="Seed of the resamples.")

    @model_validator(mode="after")
    def _one_rule(self) -> Promote:
        if self.max_loss is not None and self.min_delta:
            raise ValueError("give min_delta (only a better model) or max_loss (a fresh one that is not worse)")
        return self


def is_http_url(text: str) -> bool:
    """Whether a request can be sent there: http or https, no white space, a host, and a port that is a number."""
    if any(c.isspace() or not c.isprintable() for c in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_http_url(text: str) -> str:
    if not is_http_url(text):
        raise ValueError("no http or https URL; it is not shown, since it may hold a secret")
    return text


def redacted_url(url: str) -> str:
    """Returns scheme and host of a URL, with `…` for the rest: the path or query of a webhook often is its secret."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{scheme}://{host}/…"


#: No pattern in its schema: what helm says of a value that does not match one shows the value.
HttpUrl = Annotated[str, AfterValidator(_check_http_url), PlainSerializer(redacted_url)]


class Notify(Strict):
    """Posts `result.json` to a URL when a run ends. A failed notification never fails the run."""

    url: HttpUrl | None = Field(
        None, repr=False, description="http or https. config.json and the report show only its host."
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
        ["succeeded", "skipped", "failed"], min_length=1, description="Statuses to notify of."
    )

    @model_validator(mode="after")
    def _one_url(self) -> Notify:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give url or url_env")
        return self


class Metrics(Strict):
    """Pushes metrics to a Prometheus Pushgateway while a run trains and when it ends.

    A push that fails never fails or delays the run.
    """

    pushgateway: HttpUrl | None = Field(
        None,
        repr=False,
        description="http or https, with `user:password@` where it asks for them. config.json shows only its host.",
    )
    pushgateway_env: str | None = Field(
        None, description="Environment variable with the URL, where the URL holds a password."
    )
    every: Duration = Field(
        "15s", description="Time between two pushes: 15s, 1m. No need to push more often than Prometheus scrapes."
    )

    @model_validator(mode="after")
    def _one_url(self) -> Metrics:
        if (self.pushgateway is None) == (self.pushgateway_env is None):
            raise ValueError("give pushgateway or pushgateway_env")
        return self
