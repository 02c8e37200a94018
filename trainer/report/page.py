"""`report.html`: one page that shows a person what a run did, without a network, a script or a server."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.progress.formatting import count, metric, seconds, share
from trainer.report.charts import Frame, Series, around, line, rule
from trainer.report.columns import columns_table
from trainer.report.gate import gate
from trainer.report.markup import Html, join, tag
from trainer.report.quality import card, legend, quality
from trainer.schema import Layout, Statistics

_TILES = {
    "binary": ("auc", "pr_auc", "accuracy", "precision", "recall"),
    "multiclass": ("accuracy", "top5"),
    "regression": ("rmse", "mae", "r2"),
}
_METRIC_NAMES = {
    "auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "top5": "top-5 accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
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
    """

    result: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    statistics: Statistics
    layout: Layout
    config: Mapping[str, Any]
    labels: NDArray[Any] | None
    predictions: NDArray[Any] | None
    warnings: Sequence[str]


def render(data: ReportData) -> str:
    """Draws the page.

    Returns:
        A whole HTML document. Every text from the run, the job file or the data is escaped.
    """
    title = f"{data.result.get('run', 'run')} · training report"
    style = files("trainer.report").joinpath("report.css").read_text("utf-8")
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'),
        # Nothing is fetched and nothing runs, whatever a column may be called.
        Html("""<meta http-equiv="Content-Security-Policy" content="default-src 'none'; """),
        Html("""style-src 'unsafe-inline'; img-src data:">"""),
        tag("title", title),
        tag("style", Html(style)),
    )
    body = tag("body", tag("main", _header(data), *_sections(data), _footer(data)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(data: ReportData) -> list[Html]:
    parts = [
        _warnings(data.warnings),
        _section("Promotion", gate(data.result.get("decision"))),
        _section("Learning curves", _curves(data)),
    ]
    if data.labels is not None and data.predictions is not None and len(data.labels):
        title = f"On {count(len(data.labels))} validation rows"
        parts.append(_section(title, quality(data.layout.label, data.labels, data.predictions)))
    rows = f"{count(data.statistics.rows)} training rows"
    parts.append(_section("Columns", columns_table(data.layout, data.statistics), note=rows))
    parts.append(_section("Where the time went", _time(data.result.get("ledger_s") or {})))
    return [*parts, _section("Configuration and versions", _configuration(data))]


def _section(title: str, content: Html, note: str = "") -> Html:
    if not content:
        return Html("")
    return tag("section", tag("h2", title, tag("span", note) if note else ""), content)


# --- header ---------------------------------------------------------------------------------------


def _header(data: ReportData) -> Html:
    result = data.result
    status = str(result.get("status", "unknown"))
    pills = [
        tag("span", status, class_=f"pill {'good' if status == 'succeeded' else 'odd'}"),
        tag("span", data.layout.label.task, class_="pill"),
    ]
    reason = result.get("reason") if status != "succeeded" else None
    return tag(
        "header",
        tag("p", *pills, class_="pills"),
        tag("h1", str(result.get("run", "run"))),
        tag("p", " · ".join(_facts(data)), class_="facts"),
        tag("p", str(reason), class_="facts") if reason else "",
        tag("div", *_tiles(data), class_="tiles"),
    )


def _facts(data: ReportData) -> list[str]:
    result = data.result
    facts = [f"predicts {data.layout.label.name}"]
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
    if result.get("best_epoch"):
        facts.append(f"best epoch {result['best_epoch']}")
    return facts


def _tiles(data: ReportData) -> list[Html]:
    metrics = data.result.get("metrics") or {}
    train, validation = metrics.get("train") or {}, metrics.get("validation") or {}
    main = validation or train
    names = [name for name in (*_TILES[data.layout.label.task], "loss") if name in main]
    tiles = []
    for index, name in enumerate(names[:5]):
        beside = f"train {metric(train[name])}" if validation and name in train else "train"
        value = tag("b", metric(main[name]))
        label = _METRIC_NAMES.get(name, name)
        tiles.append(
            tag("div", tag("span", label), value, tag("small", beside), class_="tile main" if not index else "tile")
        )
    return tiles


def _warnings(warnings: Sequence[str]) -> Html:
    if not warnings:
        return Html("")
    head = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return tag("aside", tag("b", head), tag("ul", *(tag("li", text) for text in warnings)), class_="warnings")


# --- curves ---------------------------------------------------------------------------------------


def _curves(data: ReportData) -> Html:
    names = [name for name in data.history if not name.startswith("val_") and len(data.history[name])]
    names.sort(key=lambda name: (name == "learning_rate", name != "loss"))
    best = data.result.get("best_epoch")
    return tag("div", *(_curve(name, data.history, best) for name in names), class_="cards") if names else Html("")


def _curve(name: str, history: Mapping[str, Sequence[float]], best: int | None) -> Html:
    lines = [("train", history[name], "second"), ("validation", history.get(f"val_{name}", ()), "first")]
    lines = [(split, values, style) for split, values, style in lines if len(values)]
    epochs = max(len(values) for _, values, _ in lines)
    label = _METRIC_NAMES.get(name, name)
    bounds = around(float(value) for _, values, _ in lines for value in values)
    x = (1.0, float(epochs)) if epochs > 1 else (0.5, 1.5)
    frame = Frame(x, bounds, "epoch", label, whole_x=True)
    drawn = [rule(frame, float(best), f"best: {best}")] if best and epochs > 1 else []
    for split, values, style in lines:
        points = [(index + 1.0, float(value)) for index, value in enumerate(values)]
        titles = [f"epoch {index + 1}: {split} {label} {metric(float(value))}" for index, value in enumerate(values)]
        drawn.append(line(frame, Series(split, points, style, titles, marks=epochs <= 60)))
    return card(
        label[0].upper() + label[1:],
        frame.draw(f"{label} by epoch", *drawn),
        legend(*((s, c) for s, _, c in lines)) if len(lines) > 1 else "",
    )


# --- time, configuration --------------------------------------------------------------------------


def _numbers(ledger: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in ledger.items() if value is not None and math.isfinite(value)}


def _parts(ledger: Mapping[str, float]) -> dict[str, float]:
    """Seconds by disjoint part: what the steps took is `fit` without the waiting inside it."""
    inside = ledger.get("feed_wait", 0.0) + ledger.get("checkpoint_stall", 0.0)
    parts = {**ledger, "steps": max(0.0, ledger.get("fit", 0.0) - inside)}
    return {name: parts[name] for name in _LEDGER if parts.get(name)}


def _time(ledger: Mapping[str, Any]) -> Html:
    parts = _parts(_numbers(ledger))
    total = sum(parts.values())
    if not total:
        return Html("")
    pieces, rows = [], []
    for name, took in parts.items():
        said = f"{_LEDGER[name]}: {seconds(took)}, {share(took / total)}"
        style = f"part-{list(_LEDGER).index(name)}"
        pieces.append(tag("div", class_=style, style=f"flex:{took / total:.5f}", title=said))
        key = tag("i", class_=f"key box {style}")
        rows.append(
            tag("li", key, tag("span", _LEDGER[name]), tag("b", seconds(took)), tag("small", share(took / total)))
        )
    upload = _numbers(ledger).get("checkpoint_upload", 0.0)
    beside = (
        tag("p", f"Checkpoints were uploaded beside the steps: {seconds(upload)}.", class_="empty") if upload else ""
    )
    return join(
        tag("div", *pieces, class_="stack", role="img", aria_label="share of time"),
        tag("ul", *rows, class_="parts"),
        beside,
    )


def _configuration(data: ReportData) -> Html:
    result = data.result
    versions = result.get("versions") or {}
    rows = [tag("tr", tag("th", str(name), scope="row"), tag("td", str(value))) for name, value in versions.items()]
    parts = [tag("details", tag("summary", "Configuration"), tag("pre", _json(data.config)))]
    if rows:
        table = tag("div", tag("table", *rows, class_="plain"), class_="scroll")
        parts.append(tag("details", tag("summary", "Versions"), table))
    return join(*parts, tag("details", tag("summary", "result.json"), tag("pre", _json(result))))


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def _footer(data: ReportData) -> Html:
    fingerprint = data.result.get("fingerprint")
    words = ["written by kfit"] + ([f"data {str(fingerprint)[:16]}"] if fingerprint else [])
    return tag("footer", " · ".join(words))
