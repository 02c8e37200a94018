"""The job file's `run:` key: the trainer's whole configuration, checked once, here.

The job file is also a Helm values file; its other keys belong to the chart. From these models come
`values.schema.json`, the editor schema and the option reference in docs/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.config.automatic import resolve_automatic
from trainer.config.data import (
    Checks,
    Condition,
    Data,
    DataUris,
    FractionSplit,
    Label,
    Limits,
    NewestSplit,
    Validation,
    Window,
    resolved_uris,
)
from trainer.config.features import Augment, Categorical, Constant, Feature, Image, Numeric, Sequence, Text, Vector
from trainer.config.objective import (
    AnyOptimizer,
    KerasOptimizer,
    KerasSchedule,
    Loss,
    Named,
    Optimizer,
    Schedule,
    WatchedMetric,
    check_task,
    direction,
    metrics_of,
    short_names,
)
from trainer.config.output import LESS_IS_BETTER, METRICS_OF_TASK, Checkpoint, KeepRuns, Metric, Notify, Output, Promote
from trainer.config.own_code import OwnCallback, OwnCode
from trainer.config.training import Builtin, EarlyStopping, Entrypoint, Fit, Model, Profile, ReduceOnPlateau
from trainer.config.values import (
    Days,
    Duration,
    Every,
    Fraction,
    Rate,
    Scalar,
    SizeBytes,
    Strict,
    duration_s,
    parse_days,
    parse_size,
)

__all__ = [
    "LESS_IS_BETTER",
    "METRICS_OF_TASK",
    "AnyOptimizer",
    "Augment",
    "Builtin",
    "Categorical",
    "Checkpoint",
    "Checks",
    "Condition",
    "Config",
    "Constant",
    "Data",
    "DataUris",
    "Days",
    "Duration",
    "EarlyStopping",
    "Entrypoint",
    "Every",
    "Feature",
    "Fit",
    "Fraction",
    "FractionSplit",
    "Image",
    "KeepRuns",
    "KerasOptimizer",
    "KerasSchedule",
    "Label",
    "Limits",
    "Loss",
    "Metric",
    "Model",
    "Named",
    "NewestSplit",
    "Notify",
    "Numeric",
    "Optimizer",
    "Output",
    "OwnCallback",
    "OwnCode",
    "Profile",
    "Promote",
    "Rate",
    "ReduceOnPlateau",
    "Scalar",
    "Schedule",
    "Sequence",
    "SizeBytes",
    "Strict",
    "Text",
    "Validation",
    "Vector",
    "WatchedMetric",
    "Window",
    "direction",
    "duration_s",
    "metrics_of",
    "parse_days",
    "parse_size",
    "resolve_automatic",
    "resolved_uris",
    "short_names",
]


class Config(Strict):
    """The trainer's configuration: the job file's `run:` key."""

    data: Data
    task: Literal["binary", "multiclass", "regression"]
    model: Model
    fit: Fit = Field(default_factory=lambda: Fit())
    output: Output
    promote: Promote | None = Field(None, description="When production takes the new model. Default: by hand alone.")
    notify: Notify | None = Field(None, description="Posts the result to a URL. Default: nowhere.")

    @model_validator(mode="after")
    def _promotion_fits(self) -> Config:
        if self.promote is None:
            return self
        if self.data.holdout is None:
            raise ValueError("promote needs data.holdout, rows that neither model was fitted on")
        allowed = METRICS_OF_TASK[self.task]
        for name in filter(None, [self.promote.metric, *self.promote.limits]):
            if name not in allowed:
                raise ValueError(f"promote: {name} is no metric of {self.task}; use one of {', '.join(allowed)}")
        return self

    @model_validator(mode="after")
    def _parts_match(self) -> Config:
        if self.task == "regression" and self.fit.class_weight is not None:
            raise ValueError("fit.class_weight goes with binary and multiclass, not with regression")
        check_task(self.task, self.fit.loss, metrics_of(self.task, self.fit.metrics))
        self._check_averages()
        if self.data.validation is None:
            for name in ("early_stopping", "reduce_on_plateau"):
                part = getattr(self.fit, name)
                if isinstance(part, EarlyStopping | ReduceOnPlateau) and part.monitor.startswith("val_"):
                    raise ValueError(
                        f"fit.{name} watches {part.monitor} but data.validation is not set; "
                        f"set it, or watch a training metric"
                    )
        return self

    @property
    def entrypoints(self) -> list[str]:
        """Every `package.module:name` of the job, each once, in order."""
        fit = self.fit
        parts = [self.model, fit.loss, *(fit.metrics or ()), fit.optimizer, *fit.callbacks]
        named = [part.entrypoint for part in parts if isinstance(part, Entrypoint | OwnCode | OwnCallback)]
        return list(dict.fromkeys(named))

    @model_validator(mode="after")
    def _profile_has_a_place(self) -> Config:
        if self.fit.profile is not None and not self.output.tensorboard:
            raise ValueError("fit.profile needs output.tensorboard: true, where its result is")
        return self

    def _check_averages(self) -> None:
        optimizer, stop = self.fit.optimizer, self.fit.early_stopping
        restores = stop == "auto" or (stop is not None and stop.restore_best_weights)
        if isinstance(optimizer, KerasOptimizer) and optimizer.averages and restores:
            raise ValueError(
                "use_ema ends a run with averaged weights, and early_stopping with those of the best epoch; "
                "set fit.early_stopping: null, or its restore_best_weights: false"
            )

    @classmethod
    def load(
        cls, path: str | Path, overrides: list[str] | None = None, *, warn: Callable[[str], None] = lambda _: None
    ) -> Config:
        """Reads the `run:` key of a job file.

        Args:
            path: The job file.
            overrides: `--set` expressions, applied as helm does: `run.fit.epochs=3`.
            warn: Called for each key beside `run:` that is none of the chart's: a mistyped one has no effect.

        Returns:
            The configuration.

        Raises:
            ConfigError: Not there, not YAML, or wrong; all faults in one message, each with its line.
        """
        from trainer.config.loader import load_run

        return load_run(cls, Path(path), overrides or [], warn)
