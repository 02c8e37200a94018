"""The job file's `run:` key: the trainer's whole configuration, checked once, here.

The job file is also a Helm values file; its other keys belong to the chart. From these models come
`values.schema.json`, the editor schema and the option reference in docs/.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Sequence_

from pydantic import Field, model_validator

from trainer.config.automatic import resolve_automatic
from trainer.config.data import (
    Checks,
    Condition,
    Data,
    FractionSplit,
    Label,
    Limits,
    NewestSplit,
    Target,
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
from trainer.config.objective import (
    KerasOptimizer,
    KerasSchedule,
    Loss,
    Named,
    Optimizer,
    Schedule,
    WatchedMetric,
    direction,
    metrics_of,
    short_names,
)
from trainer.config.output import METRICS_OF_TASK, KeepRuns, Metrics, Notify, Output, Promote, less_is_better
from trainer.config.overrides import Override
from trainer.config.own_code import Code, OwnCallback, OwnCode
from trainer.config.training import (
    Builtin,
    EarlyStopping,
    Entrypoint,
    Fit,
    Model,
    MonitorFault,
    Profile,
    ReduceOnPlateau,
    SavedModel,
    choice,
    monitor_fault,
)
from trainer.config.values import Strict, duration_s, fault_at
from trainer.schema import Task

__all__ = [
    "METRICS_OF_TASK",
    "Augment",
    "Builtin",
    "Categorical",
    "Checks",
    "Code",
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
    "KerasOptimizer",
    "KerasSchedule",
    "Limits",
    "Loss",
    "Metrics",
    "Named",
    "NewestSplit",
    "Notify",
    "Numeric",
    "Optimizer",
    "OwnCallback",
    "OwnCode",
    "Profile",
    "Promote",
    "ReduceOnPlateau",
    "SavedModel",
    "Schedule",
    "Sequence",
    "Strict",
    "Target",
    "Text",
    "Vector",
    "WatchedMetric",
    "Window",
    "direction",
    "duration_s",
    "less_is_better",
    "load_document",
    "metrics_of",
    "resolve_automatic",
    "resolved_uris",
    "short_names",
]


class Config(Strict):
    """The trainer's configuration: the job file's `run:` key."""

    data: Data
    task: Task | None = Field(
        None,
        description="What the label is. binary: 0 or 1. multiclass: one of several classes. multilabel: any number of "
        "them, a list column. regression: a number, of which the mean is predicted. "
        "count: a number of events >= 0, by the Poisson distribution. quantile: a number, of which the "
        "quantiles of `data.label` are predicted. Required with `data.label`.",
    )
    model: Model
    code: Code | None = Field(None, description="Code to fetch. Default: that of the image and of the working folder.")
    fit: Fit = Field(default_factory=lambda: Fit())
    output: Output
    promote: Promote | None = Field(None, description="When production takes the new model. Default: by hand alone.")
    notify: Notify | None = Field(None, description="Posts the result to a URL. Default: nowhere.")
    metrics: Metrics | None = Field(None, description="Pushes metrics to a Pushgateway. Default: nowhere.")

    @property
    def targets(self) -> tuple[Target, ...]:
        """The labels with all that is asked of each."""
        data, fit = self.data, self.fit
        if data.label is not None:
            assert self.task is not None, "checked"
            return (Target(data.label, self.task, fit.loss, fit.metrics, fit.class_weight),)
        return tuple(
            Target(
                Label(column=name, quantiles=one.quantiles, transform=one.transform),
                one.task,
                one.loss,
                one.metrics,
                one.class_weight,
                one.weight,
                f"data.labels.{name}",
                f"data.labels.{name}",
                f"{name}_",
            )
            for name, one in data.labels.items()
        )

    @model_validator(mode="after")
    def _labels_match(self) -> Config:
        if (self.task is None) != bool(self.data.labels):
            where = "data.labels has a task for each label" if self.data.labels else "data.label needs it"
            raise ValueError(f"task: {where}")
        for key in ("metrics", "class_weight"):
            if self.data.labels and getattr(self.fit, key) is not None:
                raise ValueError(f"fit.{key} is of one label; with several give it in data.labels, for each")
        if self.data.labels and not (isinstance(self.fit.loss, Loss) and self.fit.loss.name == "auto"):
            raise ValueError("fit.loss is of one label; with several give it in data.labels, for each")
        for one in self.targets:
            one.check()
        return self

    @model_validator(mode="after")
    def _promotion_fits(self) -> Config:
        if self.promote is None:
            return self
        if self.data.holdout is None:
            raise ValueError("promote needs data.holdout, rows that neither model was fitted on")
        allowed = [one.prefix + name for one in self.targets for name in METRICS_OF_TASK[one.task]]
        for key, names in (("metric", [self.promote.metric]), ("limits", self.promote.limits)):
            for name in filter(None, names):
                if name not in allowed:
                    what = f"{name} is not a metric of {self.task or 'these labels'}; {choice(name, allowed)}"
                    raise fault_at(("promote", key, *([name] if key == "limits" else [])), what)
        if self.promote.metric is None and self.data.labels:
            raise ValueError(f"promote.metric: several labels need one metric that decides: {', '.join(allowed)}")
        return self

    @model_validator(mode="after")
    def _parts_match(self) -> Config:
        self._check_averages()
        if self.fit.calibrate is not None:
            self._check_calibration()
        if self.data.validation is None:
            for name in ("early_stopping", "reduce_on_plateau"):
                part = getattr(self.fit, name)
                if isinstance(part, EarlyStopping | ReduceOnPlateau) and part.monitor.startswith("val_"):
                    raise ValueError(
                        f"fit.{name} watches {part.monitor} but data.validation is not set; "
                        f"set it, or watch a training metric"
                    )
        if fault := self._monitor_fault():
            raise fault_at(fault.key.split("."), f"{fault.what}; {fault.remedy}")
        return self

    def _monitor_fault(self) -> MonitorFault | None:
        """What is wrong with the metrics that callbacks monitor, as far as the job file alone tells."""
        known, unknown = {"loss": "min"}, []
        for target in self.targets:
            metrics = metrics_of(target.task, target.metrics)
            compiled = isinstance(self.model, Entrypoint) and self.data.label is not None and target.metrics is None
            if compiled or any(isinstance(metric, OwnCode) for metric in metrics):
                unknown.append(target.prefix)
            known[f"{target.prefix}loss"] = "min"
            watched = [metric for metric in metrics if isinstance(metric, WatchedMetric)]
            known |= {target.prefix + metric.log_name: direction(metric) for metric in watched}
        return monitor_fault(self.fit, known, validation=self.data.validation is not None, unknown=unknown)

    @model_validator(mode="after")
    def _begins_once(self) -> Config:
        if isinstance(self.model, SavedModel) and self.fit.warm_start is not None:
            raise ValueError("model.from and fit.warm_start both say where the weights begin; leave one of them out")
        return self

    @property
    def entrypoints(self) -> list[str]:
        """Every `package.module:name` of the job, each once, in order."""
        fit = self.fit
        parts = [self.model, fit.loss, *(fit.metrics or ()), fit.optimizer, *fit.callbacks]
        parts += [part for one in self.data.labels.values() for part in (one.loss, *(one.metrics or ()))]
        named = [part.entrypoint for part in parts if isinstance(part, Entrypoint | OwnCode | OwnCallback)]
        return list(dict.fromkeys(named))

    @model_validator(mode="after")
    def _profile_has_a_place(self) -> Config:
        if self.fit.profile is not None and not self.output.tensorboard:
            raise ValueError("fit.profile needs output.tensorboard: true, where its result is")
        return self

    def _check_calibration(self) -> None:
        """A temperature is fitted by the log loss, and the run's `loss` after it is that."""
        loss = self.fit.loss
        if self.task not in ("binary", "multiclass"):
            raise ValueError(f"fit.calibrate goes with binary and multiclass, not with {self.task or 'several labels'}")
        if self.data.validation is None:
            raise ValueError("fit.calibrate needs data.validation, rows that the model was not fitted on")
        if not (isinstance(loss, Loss) and loss.name == "auto"):
            shown = loss.name if isinstance(loss, Loss) else loss.entrypoint
            raise ValueError(
                f"fit.calibrate goes with the cross-entropy of loss: auto, not with {shown}; leave one of them out"
            )

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
