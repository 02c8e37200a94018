"""The end of a run that has trained: exact validation metrics in its result, and the page for a person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from trainer import metrics
from trainer.config import METRICS_OF_TASK, short_names
from trainer.feed.statistics.prepare import Prepared
from trainer.progress.formatting import metric
from trainer.report.influence import Influence
from trainer.report.page import ReportData, render
from trainer.run import findings
from trainer.run.importance import permutation_importance
from trainer.run.slices import worst_slices
from trainer.schema import LabelPlace

if TYPE_CHECKING:
    from trainer.training.validation_rows import ValidationRows

#: Validation rows that importance and slices are measured on, at the most.
_SAMPLE_ROWS, _SAMPLE_BYTES = 5_000, 64 * 1024**2
#: Seconds that the importance of all labels may take.
_LIMIT_S = 20.0


def judge(
    document: Mapping[str, Any],
    prepared: Prepared,
    labels: NDArray[Any],
    predictions: NDArray[Any],
    *,
    whole: bool,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Completes a result by its validation rows: exact metrics, the trivial baseline, and warnings.

    Args:
        document: `result.json`, with Keras's running estimates.
        prepared: What is known of the data.
        labels: [rows] of the validation split, or of as many of its rows as the report shows.
        predictions: [rows] or [rows, classes] for them.
        whole: Whether these are all rows of the split that count; then the metrics become exact.
        note: Told of the baseline and of each warning.

    Returns:
        The document with `baseline` and `warnings`.
    """
    validation = dict(document["metrics"]["validation"])
    trivial: dict[str, float] = {}
    lines: list[str] = []
    for target, place in zip(prepared.config.targets, prepared.layout.targets, strict=True):
        label, of_label = place.label, place.labels(labels)
        # A metric of Keras may have the name of one of ours, and another threshold or curve.
        own = {"loss", *short_names(label.task, target.metrics)}
        shown = {name for name in own if place.prefix + name in validation}
        if whole:
            exact, undefined = _exact_metrics(shown, place, of_label, place.predictions(predictions))
            validation |= exact
            lines += undefined
        if (calibrated := document.get("calibration")) is not None and calibrated["applied"] and "loss" in validation:
            validation["loss"] = calibrated["log_loss_after"]
        baseline = findings.baseline(label, prepared.statistics["train"], of_label)
        trivial |= {place.prefix + name: value for name, value in baseline.items()}
        result = {**document, "metrics": {**document["metrics"], "validation": validation}}
        told = findings.warnings(_only(own, place.prefix, result), label.task, baseline, of_label)
        lines += [f"{label.name}: {line}" if place.prefix else line for line in told]
        values = [f"{name} {metric(baseline[name])}" for name in METRICS_OF_TASK[label.task] if name in baseline]
        if values:
            note(f"trivial baseline on validation: {f'{label.name}: ' if place.prefix else ''}{', '.join(values)}")
    lines += findings.warnings_of_run(document)
    for line in lines:
        note(f"warning: {line}")
    result = {**document, "metrics": {**document["metrics"], "validation": validation}, "baseline": trivial}
    return {**result, "warnings": [*prepared.warnings, *lines]}


def _exact_metrics(
    names: Iterable[str], place: LabelPlace, labels: Any, predictions: Any
) -> tuple[dict[str, float], list[str]]:
    """A label's metrics by name, NaN where one is not defined, and a line for each of these.

    They stand in place of Keras's running estimates, but for `loss`, which includes penalties.
    """
    label = place.label
    known = [name for name in sorted(names) if name != "loss" and name in metrics.NAMES[label.task]]
    if not known:
        return {}, []
    running = metrics.RunningMetrics(label.task, known, label.quantiles)
    running.update(labels, predictions)
    values = running.result()
    undefined = running.undefined(values).items()
    return {place.prefix + name: value for name, value in values.items()}, [
        f"validation {place.prefix}{name} is not defined: {why}" for name, why in undefined
    ]


def _only(names: Collection[str], prefix: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with some metrics of one label alone, by their names without the label's."""
    splits = result["metrics"].items()
    only = {s: {n: values[prefix + n] for n in names if prefix + n in values} for s, values in splits}
    return {**result, "metrics": only}


def influence(rows: ValidationRows, prepared: Prepared) -> list[Influence]:
    """Measures importance of columns and the worst slices on a sample of the validation rows, for each label."""
    x, labels = rows.sample(_SAMPLE_ROWS, _SAMPLE_BYTES)
    targets, seed = prepared.layout.targets, prepared.config.fit.seed
    answered = rows.answers(x)
    influences = []
    for place in targets:
        layout, own = prepared.layout.only(place.label), place.labels(labels)
        importance = permutation_importance(
            partial(_answers, rows, place), x, own, layout, seed=seed, limit_s=_LIMIT_S / len(targets)
        )
        first = [column.name for column in importance.columns] if importance else []
        slices = worst_slices(x, own, place.predictions(answered), layout, first, seed=seed)
        influences.append(Influence(place.label.name if place.prefix else "", importance, slices))
    return influences


def _answers(rows: ValidationRows, place: LabelPlace, packed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    answers: NDArray[Any] = place.predictions(rows.answers(packed))
    return answers


def page(
    document: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    prepared: Prepared,
    labels: Any,
    predictions: Any,
    influence: Sequence[Influence] = (),
) -> bytes:
    """Renders `report.html`.

    Args:
        document: `result.json`.
        history: Keras `History.history`.
        prepared: What is known of the data, and the configuration; its secrets are written without their values.
        labels: [rows] validation labels, None without validation.
        predictions: [rows] or [rows, classes] for them.
        influence: From the function of that name.
    """
    return render(
        ReportData(
            result=document,
            history=history,
            statistics=prepared.statistics["train"],
            layout=prepared.layout,
            config=prepared.config.model_dump(mode="json"),
            labels=labels,
            predictions=predictions,
            warnings=document["warnings"],
            influence=influence,
        )
    ).encode()
