"""Models published without training: a set on disk, its layout, fresh weights, and the real export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.feed.statistics.prepare import Prepared, prepare
from trainer.model.build import build
from trainer.model.features import Features
from trainer.serving.export import publish


def write_set(folder: Path, table: pa.Table, row_group_size: int = 50) -> Path:
    """One shard."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-0.parquet", row_group_size=row_group_size)
    return folder


def configuration(data: Path, out: Path, features: Mapping[str, Any], task: str = "binary", **of_data: Any) -> Config:
    return Config.model_validate(
        {
            "data": {"train": str(data), "label": "label", "features": features, **of_data},
            "task": task,
            "model": {"builtin": "mlp", "hidden": [16]},
            "fit": {"batch_size": 16},
            "output": {"uri": str(out)},
        }
    )


def publish_untrained(
    config: Config, run: str = "r1", check: Callable[[], None] = lambda: None
) -> tuple[str, Prepared]:
    """The run's URI, and what is known of its data."""
    prepared = prepare(config)
    keras.utils.set_random_seed(5)
    model = build(Features(prepared.layout, config, prepared.statistics["train"]), config)
    folder = RunFolder(config.output.uri, run)
    publish(folder, prepared, model, check)
    return folder.uri, prepared
