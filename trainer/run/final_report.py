"""The end of a run that has trained: exact validation metrics in its result, and the page for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from trainer.config import METRICS_OF_TASK, Config
from trainer.feed.statistics.prepare import Prepared
from trainer.progress.formatting import metric
from trainer.report.page import ReportData, render
from trainer.run import findings
from trainer.run.result import exact_metrics


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
    label = prepared.layout.label
    validation = dict(document["metrics"]["validation"])
    lines: list[str] = []
    if whole:
        exact, lines = exact_metrics(validation, label.task, labels, predictions)
        validation |= exact
    trivial = findings.baseline(label, prepared.statistics["train"], labels.reshape(-1))
    result = {**document, "metrics": {**document["metrics"], "validation": validation}, "baseline": trivial}
    lines += findings.warnings(result, label.task, trivial, labels.reshape(-1))
    shown = [f"{name} {metric(trivial[name])}" for name in METRICS_OF_TASK[label.task] if name in trivial]
    if shown:
        note(f"trivial baseline on validation: {', '.join(shown)}")
    for line in lines:
        note(f"warning: {line}")
    return {**result, "warnings": [*prepared.warnings, *lines]}


def page(
    document: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    prepared: Prepared,
    config: Config,
    labels: Any,
    predictions: Any,
) -> bytes:
    """Renders `report.html`.

    Args:
        document: `result.json`.
        history: Keras `History.history`.
        prepared: What is known of the data.
        config: The configuration; what is secret in it is written without its value.
        labels: [rows] validation labels, None without validation.
        predictions: [rows] or [rows, classes] for them.
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
        )
    ).encode()
