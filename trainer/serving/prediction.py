"""`trainer predict`: Parquet in, Parquet out, by a published model. Memory stays flat for any size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer import storage
from trainer.errors import DataError
from trainer.feed.packing.raw_columns import raw_batches
from trainer.feed.shards.discovery import scan
from trainer.metrics import THRESHOLD
from trainer.schema import LabelField, Layout
from trainer.serving import published_model
from trainer.serving.output_paths import plan_outputs

_ROWS = 8192
PREDICTION, PROBABILITY = "prediction", "probability"


def predict(
    where: str,
    data: str | list[str],
    output: str,
    *,
    column: str = PREDICTION,
    rows: int = _ROWS,
    seen: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Writes the rows of the data with the model's predictions: a file for each shard that has rows.

    Binary: the probability of class 1. Multiclass: `prediction` is the class, `probability` its
    probability. Multilabel: `prediction` lists the classes whose probability is above 0.5, `probability` maps
    every class to its own. Regression: the value. Counts: the expected count. Quantiles: a column each,
    `prediction_q10`. Of several labels each column has the label's name in front: `late_prediction`.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        data: Parquet, as `run.data.train` takes it.
        output: A folder or URI. Shards keep their names, hive folders included; where several would have the same,
            they keep their paths from the folder that holds them all.
        column: Name of the column of predictions; the probability's is then `<column>_probability`, a quantile's
            `<column>_q10`.
        rows: Rows of a batch.
        seen: Told the number of rows done.

    Returns:
        `{"run", "rows", "shards", "output", "unanswered"}`: rows and files written, and rows among them whose answer
        is null: they lack a value of a column without `impute`.

    Raises:
        ConfigError: No model there, or the output is an input or would be found among the inputs; nothing is written.
        DataError: A column is missing, or the data has a column of the predictions' name; nothing is written.
        ModelCodeError: The model does not load.
        StorageError: The store is out of reach or refuses.
    """
    targets = plan_outputs(data, storage.expand(data), output)
    model = published_model.load(where)
    names = column_names(model.layout, column)
    _refuse_taken_names(list(targets), names)
    total = written = unanswered = 0
    for uri, target in targets.items():
        before = total
        total, without = _predict_shard(model, uri, target, rows, names, total, seen)
        written, unanswered = written + (total > before), unanswered + without
    return {"run": model.run, "rows": total, "shards": written, "output": output, "unanswered": unanswered}


def column_names(layout: Layout, column: str) -> list[str]:
    """The columns that `predict` adds; of several labels each with the label's name in front."""
    return [place.prefix + name for place in layout.targets for name in _names_of(place.label, column)]


def _names_of(label: LabelField, column: str) -> list[str]:
    if label.quantiles:
        return [f"{column}_q{100 * level:.12g}" for level in label.quantiles]
    if label.classes:
        return [column, PROBABILITY if column == PREDICTION else f"{column}_{PROBABILITY}"]
    return [column]


def _refuse_taken_names(uris: Sequence[str], names: Sequence[str]) -> None:
    for shard in scan(uris, []).shards:
        stored = {*shard.metadata.schema.to_arrow_schema().names, *shard.partitions}
        if taken := [name for name in names if name in stored]:
            raise DataError(
                f"the data has a column {taken[0]!r} already",
                where=shard.uri,
                remedy="give the predictions another name with --column",
            )


def _predict_shard(
    model: published_model.Published,
    uri: str,
    target: str,
    rows: int,
    names: Sequence[str],
    total: int,
    seen: Callable[[int], None],
) -> tuple[int, int]:
    """Returns `total` plus the rows written, and how many have no answer; a local file makes an object whole."""
    unanswered = 0
    with tempfile.TemporaryDirectory(prefix="kfit-predict-") as scratch:
        spool = Path(scratch, "part.parquet")
        writer: pq.ParquetWriter | None = None
        try:
            for table, columns in raw_batches(model.layout, uri, rows=rows):
                predictions = model.predict(columns)
                unanswered += int(np.isnan(predictions).any(axis=1).sum())
                answered = _with_predictions(table, model.layout, predictions, names)
                writer = writer or pq.ParquetWriter(spool, answered.schema)
                writer.write_table(answered)
                total += len(answered)
                seen(total)
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            storage.write_file(target, spool)
    return total, unanswered


def _or_null(values: np.ndarray) -> pa.Array:
    return pa.array(values, from_pandas=True)  # NaN is null


def _with_predictions(table: pa.Table, layout: Layout, predictions: np.ndarray, names: Sequence[str]) -> pa.Table:
    """A table with the columns `names` at its end, from predictions [rows, outputs]."""
    columns = [values for at in layout.targets for values in _columns(at.label, at.predictions(predictions))]
    for name, values in zip(names, columns, strict=True):
        table = table.append_column(name, values)
    return table


def _columns(label: LabelField, predictions: np.ndarray) -> Sequence[pa.Array]:
    if label.task == "multilabel":
        return _by_class(label, predictions)
    if label.task == "multiclass":
        best = predictions.argmax(axis=1)
        chosen = predictions[np.arange(len(best)), best].astype(np.float32)
        unanswered = np.isnan(predictions).any(axis=1)  # argmax takes NaN for the greatest
        classes = [None if lost else label.classes[i] for i, lost in zip(best, unanswered, strict=True)]
        return [pa.array(classes, pa.array(label.classes).type), _or_null(chosen)]
    return [_or_null(values) for values in predictions.T]


def _by_class(label: LabelField, predictions: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Classes above the threshold, a list a row, and maps of every class to its probability; null without answer."""
    rows, classes = predictions.shape
    names = pa.array(label.classes)
    lost = np.isnan(predictions).any(axis=1)
    likely = (predictions > THRESHOLD) & ~lost[:, None]
    starts = np.concatenate([[0], np.cumsum(likely.sum(axis=1))]).astype(np.int32)
    nulls = pa.array(lost)
    chosen = pa.ListArray.from_arrays(starts, names.take(pa.array(np.nonzero(likely)[1])), mask=nulls)
    edges = pa.array(np.arange(rows + 1, dtype=np.int32) * classes)
    keys, values = pa.array(list(label.classes) * rows, names.type), pa.array(predictions.astype(np.float32).ravel())
    return chosen, pa.MapArray.from_arrays(edges, keys, values, mask=nulls)
