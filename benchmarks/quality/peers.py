"""Models of scikit-learn with default settings, on the columns and the parts of dates that the job file uses."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

#: What pandas calls our parts.
_PANDAS = {"weekday": "day_of_week"}


def linear(numbers: list[str], categories: list[str], task: str) -> Pipeline:
    """One-hot categories, standardised numbers; a missing number becomes the mean, with an indicator."""
    number = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = make_column_transformer((number, numbers), (OneHotEncoder(handle_unknown="ignore"), categories))
    return make_pipeline(columns, LinearRegression() if task == "regression" else LogisticRegression(max_iter=1000))


def boosting(numbers: list[str], categories: list[str], task: str) -> Pipeline:
    """HistGradientBoosting with native categories and missing numbers."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=250)
    columns = make_column_transformer((codes, categories), ("passthrough", numbers))
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return make_pipeline(columns, kind(categorical_features=list(range(len(categories))), random_state=0))


def as_columns(
    rows: pd.DataFrame, numbers: list[str], categories: list[str], dates: dict[str, list[str]]
) -> pd.DataFrame:
    """Returns the columns as scikit-learn takes them: parts of dates as numbers, categories as text."""
    out = {name: rows[name].astype(float) for name in numbers}
    for name, parts in dates.items():
        accessor = rows[name].dt
        out |= {f"{name} {part}": getattr(accessor, _PANDAS.get(part, part)).astype(float) for part in parts}
    return pd.DataFrame(out | {name: rows[name].astype(str) for name in categories})
