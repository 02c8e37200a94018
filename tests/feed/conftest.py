"""Small real Parquet sets, and configurations for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import Config


def table_of(rows: int, start: int = 0, seed: int = 0) -> pa.Table:
    """Rows of every plain kind; `id` counts through the set."""
    random = np.random.default_rng([seed, start])
    return pa.table(
        {
            "id": pa.array(np.arange(start, start + rows), pa.int64()),
            "number": pa.array(random.normal(3, 2, rows).astype("f4")),
            "gaps": pa.array([None if i % 7 == 0 else float(i % 11) for i in range(rows)], pa.float64()),
            "word": pa.array([None if i % 5 == 0 else "abc"[i % 3] for i in range(rows)], pa.string()),
            "digit": pa.array(random.integers(0, 4, rows), pa.int32()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=3 * rows)), 3),
            "weight": pa.array(random.integers(0, 3, rows).astype("f8")),
            "label": pa.array((np.arange(start, start + rows) % 2).astype("i4")),
        }
    )


@pytest.fixture
def write_set(tmp_path):
    """Writes shards of the given rows; returns their folder."""

    def write(rows=(60, 0, 1, 39), *, folder="set", group=20, hive=False, seed=0) -> Path:
        root, start = tmp_path / folder, 0
        for n, count in enumerate(rows):
            where = root / f"dt=2013-01-{n + 1:02d}" if hive else root
            where.mkdir(parents=True, exist_ok=True)
            pq.write_table(table_of(count, start, seed), where / f"part-{n}.parquet", row_group_size=group)
            start += count
        return root

    return write


FEATURES = {
    "number": {"kind": "numeric"},
    "gaps": {"kind": "numeric", "impute": "mean"},
    "word": {"kind": "categorical"},
    "digit": {"kind": "categorical"},
    "vector": {"kind": "vector", "size": 3},
}


@pytest.fixture
def configure(tmp_path):
    """Builds a configuration over a folder; keywords replace keys of `data`."""

    def build(where, *, task="binary", batch_size=16, fit=None, **data) -> Config:
        return Config.model_validate(
            {
                "data": {"train": str(where), "label": "label", "features": FEATURES} | data,
                "task": task,
                "model": {"builtin": "mlp"},
                "fit": {"batch_size": batch_size} | (fit or {}),
                "output": {"uri": str(tmp_path / "out")},
            }
        )

    return build
