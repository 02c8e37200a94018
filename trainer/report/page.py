"""`report.html`: one page that shows a person what a run did, without a network, a script or a server."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.progress.formatting import count, metric, seconds
from trainer.report import pages
from trainer.report.cards import Card
from trainer.report.charts import Series, epochs_frame, line, rule
from trainer.report.columns import columns_table
from trainer.report.gate import gate
from trainer.report.influence import Influence, importance_chart
from trainer.report.quality import quality
from trainer.schema import Layout, Statistics

_TILES = {
    "binary": ("auc", "pr_auc", "accuracy", "precision", "recall"),
    "multiclass": ("accuracy", "top5"),
    "multilabel": ("auc", "accuracy", "exact_match"),
    "regression": ("rmse", "mae", "r2"),
    "count": ("deviance", "rmse", "mae"),
    "quantile": ("pinball", "coverage"),
}
_METRIC_NAMES = {
    "auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "all classes right",
    "top5": "top-5 accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "deviance": "Poisson deviance",
    "pinball": "pinball loss",
    "coverage": "coverage",
    "loss": "loss",
    "learning_rate": "learning rate",
}
#: The ledger's phases in the order of a run; `fit` holds the waiting and the stalls.
_LEDGER = {
    "start": "start",
    "statistics": "statistics",
    "compile": "compile",
    "steps": "steps, validation",
    "feed_wait": "waiting for data",
    "checkpoint_stall": "checkpoint stalls",
    "export": "export",
    "gate": "gate",
}


@dataclass(frozen=True)
class ReportData:
    """All that the page shows.

    Attributes:
        result: result.json. `best_epoch` counts from 1. `started` and `finished` (ISO 8601) are shown where given.
        history: Keras `History.history`; validation as `val_*`.
        statistics: Of the training split.
        layout: Columns and label.
        config: The resolved configuration.
        labels: [rows] validation labels (class index or value), None without validation.
        predictions: [rows] or [rows, K] for them.
        warnings: One line each.
        influence: What the model goes by, and where it errs most, of each label; empty without validation.
    """

    result: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    statistics: Statistics
    layout: Layout
    config: Mapping[str, Any]
    labels: NDArray[Any] | None
    predictions: NDArray[Any] | None
    warnings: Sequence[str]
    influence: Sequence[Influence] = ()


def render(data: ReportData) -> str:
    """Draws the page.

    Returns:
        A whole HTML document. Every text from the run, the job file or the data is escaped.
    """
    result, layout = data.result, data.layout
    status = str(result.get("status", "unknown"))
    shown = None
    if data.labels is not None and data.predictions is not None and len(data.labels):
        shown = [
            replace(card, title=f"{at.label.name}: {card.title}") if at.prefix else card
            for at in layout.targets
            for card in quality(at.label, at.labels(data.labels), at.predictions(data.predictions))
        ]
    ledger = _numbers(result.get("ledger_s") or {})
    return pages.render(
        "report.html.j2",
        run=str(result.get("run", "run")),
        status=status,
        task=", ".join(dict.fromkeys(label.task for label in layout.labels)),
        reason=str(result.get("reason") or "") if status != "succeeded" else "",
        facts=_facts(data),
        tiles=_tiles(data),
        warnings=data.warnings,
        gate=gate(result.get("decision")),
        curves=_curves(data),
        quality=shown,
        influence=[one for one in data.influence if one.importance or one.slices],
        metric_names=_METRIC_NAMES,
        importance_chart=importance_chart,
        validation_rows=0 if data.labels is None else len(data.labels),
        columns=columns_table(layout, data.statistics),
        training_rows=data.statistics.rows,
        time=_time(ledger),
        upload_s=ledger.get("checkpoint_upload", 0.0),
        configuration=_json(data.config),
        versions=result.get("versions") or {},
        result=_json(result),
        fingerprint=str(result.get("fingerprint") or ""),
    )


# --- header ---------------------------------------------------------------------------------------


def _facts(data: ReportData) -> list[str]:
    result = data.result
    facts = [f"predicts {', '.join(label.name for label in data.layout.labels)}"]
    if window := (result.get("windows") or {}).get("train"):
        facts.append(f"days {window['first']} to {window['last']}")
    if when := result.get("started") or result.get("finished"):
        facts.append(str(when).replace("T", " ")[:16] + " UTC")
    if ledger := _numbers(result.get("ledger_s") or {}):
        facts.append(f"took {seconds(sum(_parts(ledger).values()))}")
    rows = result.get("rows") or {}
    facts += [f"{count(rows[split])} {split} rows" for split in ("train", "validation") if rows.get(split)]
    if (epochs := result.get("epochs")) is not None:
        facts.append(
            f"{epochs} epoch{'' if epochs == 1 else 's'}" + (", stopped early" if result.get("stopped_early") else "")
        )
    if (calibrated := result.get("calibration") or {}).get("applied"):
        facts.append(f"calibrated by temperature {calibrated['temperature']:.3g}")
    if result.get("best_epoch"):
        facts.append(f"best epoch {result['best_epoch']}")
    return facts


@dataclass(frozen=True)
class Tile:
    """A metric in large letters, and beside it its value on the training rows and that of the trivial baseline."""

    name: str
    value: str
    beside: str


def _tiles(data: ReportData) -> list[Tile]:
    metrics = data.result.get("metrics") or {}
    train, validation = metrics.get("train") or {}, metrics.get("validation") or {}
    main, baseline = validation or train, data.result.get("baseline") or {}
    places = data.layout.targets
    most = 5 if len(places) == 1 else 2  # of each of several labels
    names = [at.prefix + name for at in places for name in _TILES[at.label.task][:most] if at.prefix + name in main]
    names += ["loss"] if "loss" in main else []
    return [
        Tile(
            _metric_name(data.layout, name),
            metric(main[name]) if _is_finite(main[name]) else "not defined",
            " · ".join(
                [f"train {metric(train[name])}" if validation and name in train else "train"]
                + ([f"baseline {metric(baseline[name])}"] if name in baseline else [])
            ),
        )
        for name in (names[:5] if len(places) == 1 else names)
    ]


# --- curves ---------------------------------------------------------------------------------------


def _curves(data: ReportData) -> list[Card]:
    names = [name for name in data.history if not name.startswith("val_") and len(data.history[name])]
    names.sort(key=lambda name: (name == "learning_rate", name != "loss"))
    shown = {name: values for name, values in data.history.items() if not _is_undefined(data.result, name)}
    return [_curve(name, _metric_name(data.layout, name), shown, data.result.get("best_epoch")) for name in names]


def _is_undefined(result: Mapping[str, Any], name: str) -> bool:
    """Whether `val_*` is a metric that the validation rows do not define: Keras gives 0.0 for the AUC of one class."""
    known = (result.get("metrics") or {}).get("validation") or {}
    metric = name.removeprefix("val_")
    return name.startswith("val_") and metric in known and not _is_finite(known[metric])


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _metric_name(layout: Layout, name: str) -> str:
    """A metric's name for a person; of several labels with the label's before it."""
    for at in layout.targets:
        own = name.removeprefix(at.prefix)
        if at.prefix and own != name and own in _METRIC_NAMES:
            return f"{at.label.name}: {_METRIC_NAMES[own]}"
    return _METRIC_NAMES.get(name, name)


def _curve(name: str, label: str, history: Mapping[str, Sequence[float]], best: int | None) -> Card:
    splits = (("train", "second", history[name]), ("validation", "first", history.get(f"val_{name}", ())))
    lines = [
        (split, style, [(float(epoch), float(value)) for epoch, value in enumerate(values, start=1)])
        for split, style, values in splits
        if len(values)
    ]
    epochs = max(len(points) for _, _, points in lines)
    frame = epochs_frame(label, [point for _, _, points in lines for point in points])
    drawn = [rule(frame, float(best), f"best: {best}")] if best and epochs > 1 else []
    for split, style, points in lines:
        titles = [f"epoch {epoch:.0f}: {split} {label} {metric(value)}" for epoch, value in points]
        drawn.append(line(frame, Series(points, style, titles, marks=epochs <= 60)))
    legend = [(split, style) for split, style, _ in lines] if len(lines) > 1 else []
    return Card(label[0].upper() + label[1:], frame.draw(f"{label} by epoch", *drawn), legend)


# --- time, configuration --------------------------------------------------------------------------


def _numbers(ledger: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in ledger.items() if value is not None and math.isfinite(value)}


def _parts(ledger: Mapping[str, float]) -> dict[str, float]:
    """Seconds by disjoint part: what the steps took is `fit` without the waiting inside it."""
    inside = ledger.get("feed_wait", 0.0) + ledger.get("checkpoint_stall", 0.0)
    parts = {**ledger, "steps": max(0.0, ledger.get("fit", 0.0) - inside)}
    return {name: parts[name] for name in _LEDGER if parts.get(name)}


@dataclass(frozen=True)
class Part:
    """A phase of the run: its share of the time, and the CSS class of its colour."""

    name: str
    took: float
    share: float
    style: str


def _time(ledger: Mapping[str, float]) -> list[Part]:
    parts = _parts(ledger)
    total = sum(parts.values())
    return [
        Part(_LEDGER[name], took, took / total, f"part-{list(_LEDGER).index(name)}") for name, took in parts.items()
    ]


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)
