"""The report: each task renders, numbers are right, and nothing from the data can become markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.run import curves
from trainer.run.charts import around, axis_number, ticks
from trainer.run.report import ReportData, render
from trainer.run.words import metric, moment, number, seconds, share
from trainer.schema import CodeField, Column, ColumnStatistics, LabelField, Layout, NumberField, Statistics

ROWS = 4000
CLASSES = ("alder", "beech", "cedar", "elm")


def numeric(rng, rows=ROWS, nulls=0, center=0.0, width=1.0):
    values = center + width * rng.gamma(2.0, size=rows)
    counts, edges = np.histogram(values, 20)
    return ColumnStatistics(
        rows=rows,
        nulls=nulls,
        mean=float(values.mean()),
        variance=float(values.var()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        histogram=(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def categorical(*values, nulls=0):
    rows = sum(count for _, count in values) + nulls
    return ColumnStatistics(rows=rows, nulls=nulls, values=values, distinct=len(values))


def labels_and_predictions(task, rng):
    if task == "binary":
        truth = rng.uniform(size=ROWS) ** 2
        return (rng.uniform(size=ROWS) < truth).astype(np.float32), np.clip(truth + rng.normal(0, 0.08, ROWS), 0, 1)
    if task == "multiclass":
        labels = rng.choice(len(CLASSES), ROWS, p=(0.5, 0.3, 0.15, 0.05))
        scores = rng.gumbel(size=(ROWS, len(CLASSES))) + 3.0 * np.eye(len(CLASSES))[labels]
        return labels, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predictions = rng.gamma(3.0, 12.0, ROWS)
    return (predictions + rng.normal(0, 9, ROWS)).astype(np.float32), predictions[:, None].astype(np.float32)


METRICS = {
    "binary": {"loss": 0.4127, "auc": 0.8214, "pr_auc": 0.5311, "accuracy": 0.8433},
    "multiclass": {"loss": 0.5127, "accuracy": 0.8433},
    "regression": {"loss": 81.04, "mae": 7.1204, "rmse": 9.0021, "r2": 0.8102},
}


def history(task, rng, epochs=12):
    curves_by_name = {}
    for name, last in METRICS[task].items():
        way = np.exp(-np.arange(epochs) / 3)
        sign = 1 if name in ("loss", "mae", "rmse") else -1
        curves_by_name[name] = (last * (0.97 - sign * 0.01 * np.arange(epochs) / 10 + sign * 0.35 * way)).tolist()
        late = np.maximum(0, np.arange(epochs) - 8) * 0.01
        noise = rng.normal(0, 0.004, epochs)
        curves_by_name[f"val_{name}"] = (last * (1 + sign * (0.3 * way + late) + noise)).tolist()
    return {**curves_by_name, "learning_rate": [0.001 * 0.5 ** (epoch // 5) for epoch in range(epochs)]}


def sample(task, *, label="late", hostile=""):
    """A whole report of a run that might have been."""
    rng = np.random.default_rng(7)
    labels, predictions = labels_and_predictions(task, rng)
    scheduled = Column("scheduled" + hostile, "numeric", "timestamp[us]", "int64")
    distance = Column("distance", "numeric", "int32", "int32")
    wind = Column("wind_speed", "numeric", "double", "float64")
    profile = Column("profile", "vector", "fixed_size_list<float>[16]", "float32", 16)
    carrier = Column("carrier", "categorical", "string", "string")
    day = Column("dt", "categorical", "string", "string", partition=True)
    carriers = tuple((name, 9000 // (i + 1)) for i, name in enumerate(["UA", "B6", "EV", "DL", "AA", "MQ", "US" + hostile]))
    days = tuple((f"2013-01-{day:02}", 900 - 7 * day) for day in range(1, 25))
    start_us = 1_356_998_400_000_000
    columns = {
        scheduled.name: numeric(rng, center=start_us, width=4e12),
        "distance": numeric(rng, center=80, width=420),
        "wind_speed": replace(numeric(rng, nulls=231, width=4), nans=12),
        "profile": ColumnStatistics(ROWS, 0, element_means=tuple(rng.normal(size=16)), variance=1.4, minimum=-3, maximum=4),
        "carrier": categorical(*carriers, nulls=41),
        "dt": categorical(*days),
    }
    classes = CLASSES if task == "multiclass" else ()
    columns[label] = numeric(rng) if task == "regression" else categorical((0, 3100), (1, 900))
    ledger = {"start": 6.2, "statistics": 1.4, "compile": 4.8, "fit": 96.3, "feed_wait": 1.9, "checkpoint_stall": 0.8}
    result = {
        "run": "flight-delays-7f3a" + hostile,
        "status": "succeeded",
        "exit_code": 0,
        "reason": None,
        "metrics": {"train": {k: v * 1.02 for k, v in METRICS[task].items()}, "validation": METRICS[task]},
        "epochs": 12,
        "best_epoch": 9,
        "stopped_early": True,
        "steps": 888,
        "rows": {"train": 302_514, "validation": ROWS},
        "fingerprint": "9f86d081884c7d659a2feaa0c55ad015",
        "ledger_s": {**ledger, "checkpoint_upload": 3.1, "export": 8.8},
        "versions": {"kfit": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1", "python": "3.11.9"},
        "started": "2026-03-01T02:00:13+00:00",
    }
    return ReportData(
        result=result,
        history=history(task, rng),
        statistics=Statistics(302_514, columns),
        layout=Layout(
            numbers=(NumberField(scheduled, 0), NumberField(distance, 1), NumberField(wind, 2), NumberField(profile, 3)),
            codes=(CodeField(carrier, 0), CodeField(day, 1)),
            label=LabelField(label, "int64", task, classes),
        ),
        config={"task": task, "data": {"label": label, "train": "s3://lake/flights" + hostile}, "fit": {"epochs": 20}},
        labels=labels,
        predictions=predictions,
        warnings=["column wind_speed: 6.1 % of the rows are missing" + hostile, "column tailnum is constant"],
    )
