"""The job file's `run:` key: the trainer's whole configuration, checked once, here.

The job file is also a Helm values file; its other keys belong to the chart. From these models come
`values.schema.json`, the editor schema and the option reference in docs/.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Sequence_
from typing import Literal

from pydantic import Field, model_validator

from trainer.config.automatic import resolve_automatic
from trainer.config.data import (
    Checks,
    Condition,
    Data,
    FractionSplit,
    Limits,
    NewestSplit,
    Window,
    resolved_uris,
)
from trainer.config.features import (
    Augment,
    Categorical,
    Constant,
    Date,
    Feature,
    Image,
    Numeric,
    Sequence,
    Text,
    Vector,
)
from trainer.config.job_document import Files, JobDocument, load_document
from trainer.config.output import LESS_IS_BETTER, METRICS_OF_TASK, KeepRuns, Notify, Output, Promote
from trainer.config.overrides import Override
from trainer.config.training import Builtin, EarlyStopping, Entrypoint, Fit, Model, ReduceOnPlateau, Schedule
from trainer.config.values import Strict, duration_s

__all__ = [
    "LESS_IS_BETTER",
    "METRICS_OF_TASK",
    "Augment",
    "Builtin",
    "Categorical",
    "Checks",
    "Condition",
    "Config",
    "Constant",
    "Data",
    "Date",
    "EarlyStopping",
    "Entrypoint",
    "Feature",
    "Fit",
    "FractionSplit",
    "Image",
    "JobDocument",
    "KeepRuns",
    "Limits",
    "NewestSplit",
    "Notify",
    "Numeric",
    "Promote",
    "ReduceOnPlateau",
    "Schedule",
    "Sequence",
    "Strict",
    "Text",
    "Vector",
    "Window",
    "duration_s",
    "load_document",
    "resolve_automatic",
    "resolved_uris",
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
                raise ValueError(f"promote: {name} is not a metric of {self.task}; use one of {', '.join(allowed)}")
        return self

    @model_validator(mode="after")
    def _parts_match(self) -> Config:
        if self.task == "regression" and self.fit.class_weight is not None:
            raise ValueError("fit.class_weight goes with binary and multiclass, not with regression")
        if self.task != "regression" and self.fit.loss != "auto":
            raise ValueError(f"fit.loss {self.fit.loss!r} goes with regression; leave it out")
        if self.fit.calibrate is not None and self.task == "regression":
            raise ValueError("fit.calibrate goes with binary and multiclass, not with regression")
        if self.fit.calibrate is not None and self.data.validation is None:
            raise ValueError("fit.calibrate needs data.validation, rows that the model was not fitted on")
        if self.data.validation is None:
            for name in ("early_stopping", "reduce_on_plateau"):
                part = getattr(self.fit, name)
                if isinstance(part, EarlyStopping | ReduceOnPlateau) and part.monitor.startswith("val_"):
                    raise ValueError(
                        f"fit.{name} watches {part.monitor} but data.validation is not set; "
                        f"set it, or watch a training metric"
                    )
        return self

    @classmethod
    def load(
        cls, files: Files, overrides: Sequence_[Override] = (), *, warn: Callable[[str], None] = lambda _: None
    ) -> Config:
        """Reads the `run:` key of a job file.

        Args:
            files: The job file, or several, merged as helm merges values files: the later wins. `-` is stdin.
            overrides: `--set` expressions, applied as helm does: `run.fit.epochs=3`; or pairs of another flag and its
                expression: `("--set-string", "run.task=binary")`.
            warn: Called for each key beside `run:` that is none of the chart's: a mistyped one has no effect.

        Returns:
            The configuration.

        Raises:
            ConfigError: Not there, not YAML, or wrong; all faults in one message, each with its line.
        """
        return cls.from_document(load_document(files, overrides), warn=warn)

    @classmethod
    def from_document(cls, document: JobDocument, *, warn: Callable[[str], None] = lambda _: None) -> Config:
        """Checks the `run:` key of a job file that was read before; see `load`."""
        from trainer.config.loader import run_of

        return run_of(cls, document, warn)
