"""`trainer evaluate`: a published model on labelled data, by the metrics of `trainer.metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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
        `{"run", "rows", "unanswered", "metrics": {name: value}, "undefined": {name: why}}`. Metrics are those of the
        rows that have an answer; `unanswered` of the `rows` have none. Metrics that are not defined on them are NaN
        and stand in `undefined`. `loss` is the log loss; see `trainer.metrics.value`. Of several labels each name has
        the label's in front.

    Raises:
        ConfigError: No model there.
        DataError: No rows, a column is missing, or a label is null or none of the model's classes.
        ModelCodeError: The model does not load.
        StorageError: The store is out of reach.
    """
    model = published_model.load(where)
    places = model.layout.targets
    # The Brier score is the gate's; here are the metrics that training shows.
    names = {task: [name for name in of_task if name not in ("brier", "top5")] for task, of_task in NAMES.items()}
    running = [RunningMetrics(at.label.task, names[at.label.task], at.label.quantiles) for at in places]
    total = 0
    for table, columns in raw_batches(model.layout, data, rows=rows, extra=[at.label.name for at in places]):
        predictions, logits = model.predict_with_logits(columns)
        answered = ~np.isnan(predictions).any(axis=1)
        for at, metrics in zip(places, running, strict=True):
            labels = label_values(at.label, table, str(data))[answered]
            own_logits = logits.get(at.label.name)
            own = at.predictions(predictions)[answered]
            metrics.update(labels, own, None if own_logits is None else own_logits[answered])
        total += len(answered)
        seen(total)
    if not total:
        raise DataError("no rows to evaluate", where=str(data), remedy="name Parquet files that hold rows")
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for at, metrics in zip(places, running, strict=True):
        results = metrics.result()
        values |= {at.prefix + name: value for name, value in results.items()}
        undefined |= {at.prefix + name: why for name, why in metrics.undefined(results).items()}
    return {
        "run": model.run,
        "rows": total,
        "unanswered": total - running[0].rows,
        "metrics": values,
        "undefined": undefined,
    }
