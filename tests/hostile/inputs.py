"""Small sound inputs, which the cases then damage."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests import sets

CONTROL = "x\x1b[2J\x9b31m\u202e[/b]"


def job_document() -> dict[str, Any]:
    """A job file that passes, on the data of `write_data`."""
    document = sets.job("data", "out")
    document["run"]["fit"] = {"epochs": 1, "batch_size": 32, "optimizer": {"name": "adam", "learning_rate": 0.01}}
    document["run"]["fit"]["early_stopping"] = {"monitor": "val_loss", "patience": 1}
    document["run"]["data"]["filter"] = {"n": {"at_least": 0}}
    document["run"]["output"]["checkpoint"] = {"every": "1 epoch", "keep": 2}
    return document


def write_data(work: Path) -> None:
    """Two shards of 60 rows in `work/data`."""
    sets.write(work / "data", shards=2, rows=60, row_group_size=30)


def write_job(work: Path, document: Any) -> str:
    """Writes `work/job.yaml`."""
    (work / "job.yaml").write_text(json.dumps(document))  # as YAML: quoted, `n` is a text
    return "job.yaml"


def table_job(work: Path, table: pa.Table, features: dict[str, Any], label: str = "label") -> str:
    """Writes a table with a label and the job file that learns from it."""
    (work / "data").mkdir()
    pq.write_table(table, work / "data" / "part-0.parquet")
    document = sets.job("data", "out")
    document["run"]["data"] = {"train": "data", "label": label, "features": features}
    document["run"]["fit"] = {"epochs": 1, "batch_size": 16}
    return write_job(work, document)


def replaced(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with one value replaced."""
    copied = copy.deepcopy(document)
    at: Any = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copied


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every key of a document, inner ones included."""
    paths = [at] if at else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return paths + [path for key, below in pairs for path in leaves(below, (*at, key))]
