"""`trainer evaluate`: a published model on labelled data, by the metrics of `trainer.metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.errors import DataError
from trainer.feed.packing.raw_columns import raw_batches
from trainer.metrics import NAMES, RunningMetrics
from trainer.serving import published_model
from trainer.serving.labels import label_values

_ROWS = 8192


def evaluate(
    where: str, data: str | list[str], *, rows: int = _ROWS, seen: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Scores a published model on labelled data, through the exported graph.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        data: Parquet, as `run.data.train` takes it.
        rows: Rows of a batch.
        seen: Told the number of rows done.

    Returns:
        `{"run", "rows", "metrics": {name: value}, "undefined": {name: why}}`. Metrics that are not defined on these
        rows are NaN and stand in `undefined`. `loss` is the log loss; see `trainer.metrics.value`.

    Raises:
        ConfigError: No model there.
        DataError: No rows, a column is missing, or a label is null or none of the model's classes.
        ModelCodeError: The model does not load.
        StorageError: The store is out of reach.
    """
    model = published_model.load(where)
    label = model.layout.label
    # The Brier score is the gate's; here are the metrics that training shows.
    running = RunningMetrics(
        label.task, [name for name in NAMES[label.task] if name not in ("brier", "top5")], label.quantiles
    )
    for table, columns in raw_batches(model.layout, data, rows=rows, extra=[label.name]):
        predictions, logits = model.predict_with_logits(columns)
        running.update(label_values(label, table, str(data)), predictions, logits)
        seen(running.rows)
    if not running.rows:
        raise DataError("no rows to evaluate", where=str(data), remedy="name Parquet files that hold rows")
    values = running.result()
    return {"run": model.run, "rows": running.rows, "metrics": values, "undefined": running.undefined(values)}
