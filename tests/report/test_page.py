"""The report: each task renders, numbers are right, and nothing from the data can become markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from trainer.report.page import ReportData, render
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


def result_document(task, hostile=""):
    """`result.json` of the run of `sample`."""
    ledger = {"start": 6.2, "statistics": 1.4, "compile": 4.8, "fit": 96.3, "feed_wait": 1.9, "checkpoint_stall": 0.8}
    return {
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
    carriers = tuple(
        (name, 9000 // (i + 1)) for i, name in enumerate(["UA", "B6", "EV", "DL", "AA", "MQ", "US" + hostile])
    )
    days = tuple((f"2013-01-{day:02}", 900 - 7 * day) for day in range(1, 25))
    start_us = 1_356_998_400_000_000
    columns = {
        scheduled.name: numeric(rng, center=start_us, width=4e12),
        "distance": numeric(rng, center=80, width=420),
        "wind_speed": replace(numeric(rng, nulls=231, width=4), nans=12),
        "profile": ColumnStatistics(
            ROWS, 0, element_means=tuple(rng.normal(size=16)), variance=1.4, minimum=-3, maximum=4
        ),
        "carrier": categorical(*carriers, nulls=41),
        "dt": categorical(*days),
    }
    classes = CLASSES if task == "multiclass" else ()
    columns[label] = numeric(rng) if task == "regression" else categorical((0, 3100), (1, 900))
    return ReportData(
        result=result_document(task, hostile),
        history=history(task, rng),
        statistics=Statistics(302_514, columns),
        layout=Layout(
            numbers=(
                NumberField(scheduled, 0),
                NumberField(distance, 1),
                NumberField(wind, 2),
                NumberField(profile, 3),
            ),
            codes=(CodeField(carrier, 0), CodeField(day, 1)),
            label=LabelField(label, "int64", task, classes),
        ),
        config={"task": task, "data": {"label": label, "train": "s3://lake/flights" + hostile}, "fit": {"epochs": 20}},
        labels=labels,
        predictions=predictions,
        warnings=["column wind_speed: 6.1 % of the rows are missing" + hostile, "column tailnum is constant"],
    )


HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(1)>"'&</style></title>"""


class Elements(HTMLParser):
    """Counts elements and attributes, and checks that they nest."""

    VOID = ("meta", "link")

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.open, self.text = {}, set(), [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.names[name] = self.names.get(name, 0) + 1
        self.attributes |= {key for key, _ in attributes}
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def page_text(page):
    return " ".join(" ".join(Elements(page).text).split()).replace("\u00a0", " ")


HEADINGS = {
    "binary": [
        "Confusion at 0.5",
        "ROC",
        "Precision–recall",
        "Choosing a threshold",
        "Calibration",
        "Predictions by class",
    ],
    "multiclass": ["Confusion", "By class"],
    "regression": ["Predicted and actual", "Residuals"],
}


@pytest.mark.parametrize("task", HEADINGS)
def test_each_task_shows_its_own_pictures(task):
    captions = re.findall(r"<figcaption>([^<]*)", render(sample(task)))
    assert captions[captions.index("Learning rate") + 1 :] == HEADINGS[task]


@pytest.mark.parametrize("task", HEADINGS)
def test_the_page_needs_nothing_from_elsewhere(task):
    page = render(sample(task))
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script|xmlns""", page)


@pytest.mark.parametrize("task", HEADINGS)
def test_hostile_names_become_text_and_never_markup(task):
    tame, hostile = (
        Elements(render(sample(task))),
        Elements(render(sample(task, label="late" + HOSTILE, hostile=HOSTILE))),
    )
    assert hostile.names == tame.names
    assert hostile.attributes == tame.attributes
    assert HOSTILE in "".join(hostile.text)


@pytest.mark.parametrize("task", HEADINGS)
def test_no_coordinate_is_nan_or_infinite(task):
    data = sample(task)
    page = render(replace(data, history={**data.history, "loss": [float("nan"), float("inf"), 0.5]}))
    assert not re.search(r'="-?(nan|inf)|[ML ]-?(nan|inf)[ "]', page)


def test_the_header_says_what_when_and_how_good():
    text = page_text(render(sample("binary")))
    assert "ROC AUC 0.8214 train 0.8378" in text
    assert "2026-03-01 02:00 UTC · took 1:58 · 302,514 train rows · 4,000 validation rows" in text
    assert "12 epochs, stopped early · best epoch 9" in text


def test_waiting_is_taken_out_of_the_time_of_the_fit():
    text = page_text(render(sample("binary")))
    assert "steps, validation 1:34 79.7 %" in text
    assert "waiting for data 1.9 s 1.6 %" in text


def test_a_column_table_gives_missing_values_dates_and_top_values():
    text = page_text(render(sample("binary")))
    assert "wind_speed numeric double 6.1 %" in text
    assert "2013-01-01 " in text
    assert "7 distinct UA 38.5 %, B6 19.3 %, EV 12.8 %, DL 9.6 %, AA 7.7 %, …" in text


def test_without_validation_the_training_metrics_stand_alone():
    data = sample("binary")
    result = {**data.result, "metrics": {"train": {"loss": 0.5, "auc": 0.75}, "validation": {}}, "best_epoch": None}
    history = {name: values for name, values in data.history.items() if not name.startswith("val_")}
    text = page_text(render(replace(data, result=result, history=history, labels=None, predictions=None)))
    assert "ROC AUC 0.7500 train" in text
    assert "validation rows" not in text.replace("4,000 validation rows", "")


def test_a_failed_run_with_next_to_nothing_still_has_a_page():
    layout = Layout((), (), LabelField("late", "int64", "binary"))
    result = {"run": "r", "status": "failed", "exit_code": 65, "reason": "the loss is NaN <at> step 3"}
    page = render(ReportData(result, {"loss": [float("nan")]}, Statistics(0, {}), layout, {}, None, None, ()))
    assert "the loss is NaN <at> step 3" in page_text(page)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_in_validation_leaves_the_curves_out(label):
    data = sample("binary")
    text = page_text(render(replace(data, labels=np.full(ROWS, label))))
    assert "no curve to draw" in text
    assert "Calibration" in text


@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_a_metric_that_validation_does_not_define_is_not_shown_as_nought(undefined):
    """One class in validation: Keras reports an AUC of 0.0 every epoch."""
    data = sample("binary")
    validation = {**METRICS["binary"], "auc": undefined}
    result = {**data.result, "metrics": {**data.result["metrics"], "validation": validation}}
    page = render(replace(data, result=result, history={**data.history, "val_auc": [0.0] * 12}))
    assert "<span>ROC AUC</span><b>not defined</b>" in page
    assert "validation ROC AUC 0" not in page
    assert "train ROC AUC" in page


def test_predictions_that_are_not_finite_are_left_out():
    data = sample("regression")
    predictions = data.predictions.copy()
    predictions[:100] = np.nan
    assert "Residuals" in render(replace(data, predictions=predictions))
    text = page_text(render(replace(data, predictions=np.full(ROWS, np.nan))))
    assert "No validation row has a finite label and prediction." in text


@pytest.mark.parametrize("value", [0.0, 3.0, -1e30])
def test_a_constant_prediction_is_drawn(value):
    data = sample("regression")
    assert "Residuals" in render(replace(data, labels=np.full(50, value), predictions=np.full(50, value)))


def test_many_classes_are_folded_to_the_most_frequent():
    data = sample("multiclass")
    labels = np.repeat(np.arange(40), np.arange(40) + 1)
    names = tuple(f"class {index}" for index in range(40))
    layout = replace(data.layout, label=replace(data.layout.label, classes=names))
    text = page_text(render(replace(data, layout=layout, labels=labels, predictions=np.eye(40)[labels])))
    assert "100 % of 820 rows are right. The 12 most frequent of 40 classes; the rest count as (other)." in text
    assert "class 28 class 29 class 30" in text
