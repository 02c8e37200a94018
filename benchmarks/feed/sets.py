"""The datasets of the benchmark: written once, kept in a folder, the same content for the same arguments."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.config import Config

#: Distinct values of an int32 column and of a string column.
_INTS = 1000
_WORDS = 5000


@dataclass(frozen=True)
class SetShape:
    """Size and columns of a dataset.

    Attributes:
        name: Name in the table.
        rows: Number of rows.
        floats, ints, words: Number of float32, int32 and string columns.
        shards: Number of files.
        groups: Row groups of each file.
    """

    name: str
    rows: int
    floats: int = 32
    ints: int = 8
    words: int = 0
    shards: int = 16
    groups: int = 4


def shapes(rows: int) -> dict[str, SetShape]:
    """Returns the datasets, given the rows of the main one; the others hold about as many values."""
    return {
        s.name: s
        for s in (
            SetShape("main", rows),
            SetShape("fit", rows // 4),
            SetShape("one-group", 2 * rows, shards=1, groups=1),
            SetShape("wide", rows // 12, floats=500, ints=0, shards=16, groups=2),
            SetShape("words", rows, floats=0, ints=0, words=10),
            SetShape("small", rows, shards=2000, groups=1),
            SetShape("main-3x", 3 * rows, shards=48),
            SetShape("main-10x", 10 * rows, shards=160),
        )
    }


def write(shape: SetShape, folder: Path) -> Path:
    """Writes a dataset unless it exists already.

    Returns:
        Its folder.
    """
    where = folder / f"{shape.name}-{shape.rows}"
    done = where / "_COMPLETE"
    if done.exists() and json.loads(done.read_text()) == asdict(shape):
        return where
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    edges = np.linspace(0, shape.rows, shape.shards + 1).astype(int)
    for shard in range(shape.shards):
        rows = int(edges[shard + 1] - edges[shard])
        table = _table(shape, rows, np.random.default_rng([0, shard]))
        pq.write_table(table, where / f"part-{shard:05d}.parquet", row_group_size=max(1, -(-rows // shape.groups)))
    done.write_text(json.dumps(asdict(shape)))
    return where


def _table(shape: SetShape, rows: int, random: np.random.Generator) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for i in range(shape.floats):
        columns[f"f{i:03d}"] = pa.array(random.standard_normal(rows, np.float32))
    for i in range(shape.ints):
        columns[f"i{i:03d}"] = pa.array(random.integers(0, _INTS, rows, np.int32))
    words = np.array([f"value {w} of a column" for w in range(_WORDS)])
    for i in range(shape.words):
        # Frequencies fall off as those of real categories do.
        at = np.minimum(random.zipf(1.3, rows), _WORDS) - 1
        columns[f"s{i:03d}"] = pa.array(words[at])
    columns["label"] = pa.array(random.integers(0, 2, rows, np.int8))
    return pa.table(columns)


def config_of(shape: SetShape, where: Path | str, batch_size: int, **more: object) -> Config:
    """Returns the configuration of a job over a dataset: floats are numeric, ints and words are categories.

    Args:
        shape: The dataset.
        where: Its folder or URI.
        batch_size: Rows of a batch.
        more: Replaces keys of the configuration.
    """
    features: dict[str, object] = {f"f{i:03d}": {"kind": "numeric"} for i in range(shape.floats)}
    encode = {"kind": "categorical", "encode": "embedding", "size": 4}
    features |= {f"i{i:03d}": encode for i in range(shape.ints)} | {f"s{i:03d}": encode for i in range(shape.words)}
    # The window must stay smaller than the dataset, or the second epoch would come from memory.
    packed = shape.rows * 4 * (shape.floats + shape.ints + shape.words + 3)
    shuffle = min(256 * 1024**2, packed // 2)
    return Config.model_validate(
        {
            "data": {"train": str(where), "label": "label", "features": features, "shuffle": shuffle},
            "task": "binary",
            "model": {"builtin": "mlp"},
            "fit": {"batch_size": batch_size},
            "output": {"uri": "out"},
        }
        | more
    )
