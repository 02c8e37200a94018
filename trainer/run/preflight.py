"""What `trainer check` and `trainer statistics` report, before a GPU is used."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from trainer import storage
from trainer.config import Config, SavedModel, resolve_automatic
from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared, inspect
from trainer.nightly import windows
from trainer.progress import terminal
from trainer.progress.formatting import metric
from trainer.run import fetched_code
from trainer.schema import ColumnStatistics
from trainer.serving import saved_model

_MIB = 1024**2


def check(config: Config) -> dict[str, Any]:
    """Reads footers and schema, proves that the output is writable, and summarizes both.

    Args:
        config: The job file's `run:` key.

    Returns:
        `{"shards", "rows", "size_bytes", "steps", "columns", "warnings"}`.

    Raises:
        ConfigError: The configuration does not fit the data.
        DataError: A shard is unreadable or has another schema.
        StorageError: Data or output cannot be reached.
    """
    windows.check_fresh(config)
    if isinstance(config.model, SavedModel):
        saved_model.published_at(config.model)
    with fetched_code.on_path(config.code):  # raises where the code cannot be fetched
        inspection = inspect(config)
    rows = inspection.rows
    train = rows["train"]
    resolved = resolve_automatic(config, train, rows.get("validation", 0)).fit
    batch = resolved.known_batch_size
    if train < batch:
        raise ConfigError(
            f"batch_size {batch} is more than the {train} training rows",
            where="run.fit.batch_size",
            remedy=f"use at most {train}",
        )
    _prove_writable(config.output.uri)
    return {
        "shards": len(inspection.shards),
        "rows": dict(rows),
        "size_bytes": sum(s.size_bytes for s in inspection.shards),
        "steps": -(-train // batch),
        "columns": [
            {"name": c.name, "kind": c.kind, "type": c.arrow, "partition": c.partition} for c in inspection.columns
        ],
        "warnings": list(inspection.warnings),
    }


def _prove_writable(uri: str) -> None:
    probe = storage.join(uri, ".kfit-check")
    storage.write(probe, b"")
    storage.delete(probe)


def check_table(findings: dict[str, Any]) -> Table:
    """Returns the summary as a table."""
    rows = ", ".join(f"{n:,} {split}" for split, n in findings["rows"].items())
    return values_table(
        "check: all good",
        {
            "shards": f"{findings['shards']:,} ({findings['size_bytes'] / _MIB:,.1f} MiB)",
            "rows": rows,
            "steps an epoch": f"{findings['steps']:,}",
            "features": ", ".join(f"{c['name']} ({c['kind']}, {c['type']})" for c in findings["columns"]),
            **{f"warning {i}": w for i, w in enumerate(findings["warnings"], 1)},
        },
    )


def values_table(title: str, values: dict[str, Any]) -> Table:
    """Returns a table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("value")
    for name, value in values.items():
        table.add_row(name, metric(value) if isinstance(value, float) else terminal.cell(value))
    return table


def statistics_json(prepared: Prepared) -> dict[str, Any]:
    """Returns the statistics of every column as plain JSON, by split."""
    return {
        split: {
            "rows": statistics.rows,
            "columns": {name: asdict(column) for name, column in statistics.columns.items()},
        }
        for split, statistics in prepared.statistics.items()
    }


def statistics_table(prepared: Prepared) -> Table:
    """Returns a table of the training split, a row for each column."""
    statistics = prepared.statistics["train"]
    table = Table(title=f"{statistics.rows:,} training rows", title_justify="left")
    for name in ("column", "kind"):
        table.add_column(name, no_wrap=True)
    for name in ("nulls", "mean", "std", "min", "median", "max", "distinct"):
        table.add_column(name, justify="right")
    table.add_column("most frequent")
    kinds = {c.name: c.kind for c in prepared.layout.columns}
    for name, column in statistics.columns.items():
        table.add_row(
            terminal.visible(name),
            kinds.get(name, "label" if name in prepared.config.data.label_columns else "weight"),
            *map(terminal.visible, _cells(column)),
        )
    return table


def _cells(column: ColumnStatistics) -> list[str]:
    share = column.nulls / column.rows if column.rows else 0.0
    numeric = bool(column.quantiles)
    numbers = (
        [column.mean, column.variance**0.5, column.minimum, column.quantiles[0.5], column.maximum] if numeric else []
    )
    top = ", ".join(f"{value} ({count / column.rows:.0%})" for value, count in column.values[:3])
    return [f"{share:.1%}", *(f"{n:.4g}" for n in numbers), *([""] * (5 - len(numbers))), f"{column.distinct:,}", top]
