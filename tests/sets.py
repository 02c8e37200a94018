"""Small real sets for tests: what a person might have on disk, made in milliseconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml


def table(rows: int, seed: int = 0) -> pa.Table:
    """A binary task that a model can learn: numbers, a string, a vector, nulls."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows).astype(np.float32)
    n = rng.integers(0, 50, rows)
    city = rng.choice(["bonn", "köln", "ulm"], rows)
    label = (x + 0.02 * n + (city == "ulm") + rng.normal(0, 0.5, rows) > 1).astype(np.int8)
    profile = rng.normal(size=(rows, 3)).astype(np.float32)
    return pa.table(
        {
            "x": x,
            "n": pa.array([None if i % 11 == 0 else int(v) for i, v in enumerate(n)], pa.int64()),
            "city": pa.array([None if i % 13 == 0 else c for i, c in enumerate(city)], pa.string()),
            "profile": pa.FixedSizeListArray.from_arrays(pa.array(profile.ravel()), 3),
            "label": label,
            "unused": rng.normal(size=rows),
        }
    )


def write(folder: Path, shards: int = 4, rows: int = 150, row_group_size: int = 40) -> Path:
    """`shards` files of `rows` rows each."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(shards):
        pq.write_table(table(rows, seed=i), folder / f"part-{i}.parquet", row_group_size=row_group_size)
    return folder


def job(data: object, output: object, **changes: Any) -> dict[str, Any]:
    """A job file's content; `changes` replace parts of `run` by dotted key with `__` for the dot."""
    document: dict[str, Any] = {
        "name": "small",
        "run": {
            "data": {
                "train": str(data),
                "validation": {"fraction": 0.2},
                "label": "label",
                "features": {
                    "x": {"kind": "numeric"},
                    "n": {"kind": "numeric", "impute": "mean", "indicator": True},
                    "city": {"kind": "categorical"},
                    "profile": {"kind": "vector", "size": 3},
                },
            },
            "task": "binary",
            "model": {"builtin": "mlp", "hidden": [8]},
            "fit": {"epochs": 2, "batch_size": 64},
            "output": {"uri": str(output)},
        },
    }
    return change(document, changes)


def change(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets keys of a job's `run:`, in place: `fit__epochs=3`; None takes one out."""
    for key, value in changes.items():
        at = document["run"]
        *path, last = key.split("__")
        for part in path:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return document


def every_callback(**changes: Any) -> dict[str, Any]:
    """A `fit` with all that has a state of its own between steps; `changes` add and replace."""
    return {
        "batch_size": 32,
        "class_weight": "balanced",
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "early_stopping": {"monitor": "val_auc", "patience": 4},
        "reduce_on_plateau": {"monitor": "val_loss", "patience": 0},
        "seed": 7,
        **changes,
    }


class _Quoting(yaml.SafeDumper):
    """Quotes what helm, but not PyYAML, reads as a truth value: `y` and `n`."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if text in ("y", "Y", "n", "N") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoting.add_representer(str, _quoted)


def write_job(path: Path, document: dict[str, Any]) -> Path:
    """The job file on disk."""
    path.write_text(yaml.dump(document, Dumper=_Quoting, sort_keys=False))
    return path
