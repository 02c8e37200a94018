"""Prints the AUC on held-out newest days beside scikit-learn's models.

December of the flights of 2013 is held out. All three models see the same columns of the same rows of
January to November; ours stops early on the newest of those days, scikit-learn's boosting on a tenth of
them drawn at random, its own way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import trainer
from trainer.config import Config

JOB = "examples/flights/job.yaml"
HELD_OUT = "2013-12"


def table_of(config: Config, folder: str, *, held_out: bool) -> pd.DataFrame:
    """The feature columns and the label of the rows before, or from, the held-out month on."""
    day = ds.field("dt")
    rows = ds.dataset(folder, partitioning=ds.partitioning(flavor="hive")).to_table(
        columns=[*config.data.features, config.data.label],
        filter=(day >= f"{HELD_OUT}-01") if held_out else (day < f"{HELD_OUT}-01"),
    )
    return rows.to_pandas()


def ours(config: Config, folder: str, scratch: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels [rows] and predictions [rows] of the held-out rows, through `fit` and the exported model."""
    from trainer.serving.prediction import predict

    months = [f"{folder}/dt=2013-0*/*.parquet", f"{folder}/dt=2013-1[01]-*/*.parquet"]
    data = config.data.model_copy(update={"train": months})
    output = config.output.model_copy(update={"uri": f"{scratch}/models"})
    result = trainer.fit(config.model_copy(update={"data": data, "output": output}))
    predict(result.uri, f"{folder}/dt={HELD_OUT}-*/*.parquet", f"{scratch}/answers")
    answers = ds.dataset(f"{scratch}/answers").to_table(columns=[config.data.label, "prediction"])
    return answers[config.data.label].to_numpy(), answers["prediction"].to_numpy()


def logistic_regression(config: Config) -> Pipeline:
    """One-hot and standardised, missing numbers as their mean with an indicator."""
    numbers, words = by_kind(config)
    number = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    word = OneHotEncoder(handle_unknown="ignore", min_frequency=20)
    return make_pipeline(make_column_transformer((number, numbers), (word, words)), LogisticRegression(max_iter=500))


def boosting(config: Config) -> Pipeline:
    """HistGradientBoosting, categories as such, missing numbers as they are."""
    numbers, words = by_kind(config)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=250)
    columns = make_column_transformer((codes, words), ("passthrough", numbers))
    categorical = list(range(len(words)))
    model = HistGradientBoostingClassifier(
        categorical_features=categorical, early_stopping=True, max_iter=500, random_state=0
    )
    return make_pipeline(columns, model)


def by_kind(config: Config) -> tuple[list[str], list[str]]:
    """The numeric and the categorical columns."""
    kinds = {name: feature.kind for name, feature in config.data.features.items()}
    return [n for n, k in kinds.items() if k == "numeric"], [n for n, k in kinds.items() if k == "categorical"]


def peer(build: Callable[[Config], Pipeline], config: Config, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of the held-out rows by a model of scikit-learn."""
    train, test = (table_of(config, folder, held_out=h) for h in (False, True))
    label = config.data.label
    model = build(config).fit(train.drop(columns=label), train[label])
    return test[label].to_numpy(), model.predict_proba(test.drop(columns=label))[:, 1]


def main() -> None:
    """Measures, prints one table, and says whether ours holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=".demo/flights")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    config = Config.load(JOB)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sides: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
            "LogisticRegression": lambda: peer(logistic_regression, config, chosen.data),
            "HistGradientBoosting": lambda: peer(boosting, config, chosen.data),
            "kfit": lambda: ours(config, chosen.data, scratch),
        }
        for name, side in sides.items():
            started = time.monotonic()
            labels, predictions = side()
            found[name] = {"auc": float(roc_auc_score(labels, predictions)), "seconds": time.monotonic() - started}
    auc = {name: values["auc"] for name, values in found.items()}
    holds = auc["kfit"] >= auc["LogisticRegression"] and auc["kfit"] >= auc["HistGradientBoosting"] - 0.01
    table = Table("model", "AUC, December held out", "seconds")
    for name, values in found.items():
        table.add_row(name, f"{values['auc']:.4f}", f"{values['seconds']:.0f}")
    Console().print(table)
    print(f"at least logistic regression, and within 0.01 of boosting: {'yes' if holds else 'NO'}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"models": found, "holds": holds}, indent=2) + "\n")
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
