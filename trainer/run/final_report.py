"""The end of a run that has trained: exact validation metrics in its result, and the page for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.config import Config
from trainer.feed.statistics.prepare import Prepared
from trainer.report.page import ReportData, render
from trainer.run.result import exact_metrics


def with_exact_metrics(
    document: Mapping[str, Any], task: str, labels: Any, predictions: Any, note: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Puts exact validation metrics in place of Keras's running estimates.

    Args:
        document: `result.json`.
        task: binary, multiclass or regression.
        labels: [rows] of the whole validation split.
        predictions: [rows] or [rows, classes].
        note: Told of each metric that the rows do not define.

    Returns:
        The document with them, and the warnings.
    """
    watched = document["metrics"]["validation"]
    exact, undefined = exact_metrics(watched, task, labels, predictions)
    for line in undefined:
        note(f"warning: {line}")
    metrics = {**document["metrics"], "validation": {**watched, **exact}}
    return {**document, "metrics": metrics}, undefined


def page(
    document: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    prepared: Prepared,
    config: Config,
    labels: Any,
    predictions: Any,
    warnings: Sequence[str],
) -> bytes:
    """Renders `report.html`.

    Args:
        document: `result.json`.
        history: Keras `History.history`.
        prepared: What is known of the data.
        config: The configuration; what is secret in it is written without its value.
        labels: [rows] validation labels, None without validation.
        predictions: [rows] or [rows, classes] for them.
        warnings: One line each.
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
            warnings=warnings,
        )
    ).encode()
