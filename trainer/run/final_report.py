"""The end of a run that has trained: exact validation metrics in its result, and the page for a person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from trainer.config import METRICS_OF_TASK, Config, short_names
from trainer.feed.statistics.prepare import Prepared
from trainer.progress.formatting import metric
from trainer.report.influence import Importance, Slices
from trainer.report.page import ReportData, render
from trainer.run import findings
from trainer.run.importance import permutation_importance
from trainer.run.result import exact_metrics
from trainer.run.slices import worst_slices

if TYPE_CHECKING:
    from trainer.training.validation_rows import ValidationRows

#: Validation rows that importance and slices are measured on, at the most.
_SAMPLE_ROWS, _SAMPLE_BYTES = 5_000, 64 * 1024**2


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
    label, config = prepared.layout.label, prepared.config
    # A metric of Keras may have the name of one of ours, and another threshold or curve.
    own = {"loss", *short_names(config.task, config.fit.metrics)}
    validation = dict(document["metrics"]["validation"])
    lines: list[str] = []
    if whole:
        exact, lines = exact_metrics([name for name in validation if name in own], label, labels, predictions)
        validation |= exact
    if (calibrated := document.get("calibration")) is not None and calibrated["applied"] and "loss" in validation:
        validation["loss"] = calibrated["log_loss_after"]
    trivial = findings.baseline(label, prepared.statistics["train"], labels)
    result = {**document, "metrics": {**document["metrics"], "validation": validation}, "baseline": trivial}
    lines += findings.warnings(_only(own, result), label.task, trivial, labels)
    shown = [f"{name} {metric(trivial[name])}" for name in METRICS_OF_TASK[label.task] if name in trivial]
    if shown:
        note(f"trivial baseline on validation: {', '.join(shown)}")
    for line in lines:
        note(f"warning: {line}")
    return {**result, "warnings": [*prepared.warnings, *lines]}


def _only(names: Collection[str], result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with some metrics alone."""
    splits = result["metrics"].items()
    return {**result, "metrics": {s: {n: v for n, v in found.items() if n in names} for s, found in splits}}


@dataclass(frozen=True)
class Influence:
    """What the model goes by, and where it errs most."""

    importance: Importance | None
    slices: Slices | None


def influence(rows: ValidationRows, prepared: Prepared) -> Influence:
    """Measures importance of columns and the worst slices on a sample of the validation rows."""
    x, labels = rows.sample(_SAMPLE_ROWS, _SAMPLE_BYTES)
    layout, seed = prepared.layout, prepared.config.fit.seed
    importance = permutation_importance(rows.answers, x, labels, layout, seed=seed)
    first = [column.name for column in importance.columns] if importance else []
    return Influence(importance, worst_slices(x, labels, rows.answers(x), layout, first, seed=seed))


def page(
    document: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    prepared: Prepared,
    config: Config,
    labels: Any,
    predictions: Any,
    found: Influence | None = None,
) -> bytes:
    """Renders `report.html`.

    Args:
        document: `result.json`.
        history: Keras `History.history`.
        prepared: What is known of the data.
        config: The configuration; what is secret in it is written without its value.
        labels: [rows] validation labels, None without validation.
        predictions: [rows] or [rows, classes] for them.
        found: From `influence`.
    """
    return render(
        ReportData(
            result=document,
            history=history,
            statistics=prepared.statistics["train"],
            layout=prepared.layout,
            config=config.model_dump(mode="json"),
            labels=labels,
            predictions=predictions,
            warnings=document["warnings"],
            importance=found.importance if found else None,
            slices=found.slices if found else None,
        )
    ).encode()
