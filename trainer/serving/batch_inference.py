"""A published model on other data: `trainer evaluate` and `trainer predict`. Memory stays flat for any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.raw_columns import raw_batches
from trainer.schema import LabelField
from trainer.serving import published_model

_ROWS = 8192
Note = Callable[[int], None]


def evaluate(where: str, data: str | list[str], *, rows: int = _ROWS, seen: Note = lambda _: None) -> dict[str, Any]:
    """Scores a published model on labelled data, through the exported graph.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        data: Parquet, as `run.data.train` takes it.
        rows: Rows of a batch.
        seen: Told the number of rows done.

    Returns:
        `{"run", "rows", "metrics": {name: value}}` with Keras's names.

    Raises:
        ConfigError: No model there.
        DataError: A column is missing or a label is null or none of the model's classes.
    """
    model = published_model.load(where)
    label = model.layout.label
    metrics = _metrics(label)
    total = 0
    for table, columns in raw_batches(model.layout, data, rows=rows, extra=[label.name]):
        y = label_indices(label, table)
        predictions = model.predict(columns)
        if label.offset:  # metrics of a regression are the same of shifted values, and float32 holds those
            y, predictions = y - label.offset, predictions - label.offset
        for metric in metrics:
            metric.update_state(y if label.task == "multiclass" else y[:, None], predictions)
        total += len(y)
        seen(total)
    if total == 0:
        raise DataError("no rows to evaluate", where=str(data), remedy="name Parquet files that hold rows")
    return {"run": model.run, "rows": total, "metrics": {m.name: float(m.result()) for m in metrics}}


def _metrics(label: LabelField) -> list[Any]:
    from keras import losses, metrics

    if label.task == "binary":
        return [
            metrics.MeanMetricWrapper(losses.binary_crossentropy, name="loss"),
            metrics.AUC(name="auc"),
            metrics.AUC(curve="PR", name="pr_auc"),
            metrics.BinaryAccuracy(name="accuracy"),
            metrics.Precision(name="precision"),
            metrics.Recall(name="recall"),
        ]
    if label.task == "multiclass":
        return [
            metrics.MeanMetricWrapper(losses.sparse_categorical_crossentropy, name="loss"),
            metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
    return [
        metrics.MeanSquaredError(name="loss"),
        metrics.MeanAbsoluteError(name="mae"),
        metrics.RootMeanSquaredError(name="rmse"),
        metrics.R2Score(name="r2"),
    ]


def label_indices(label: LabelField, table: pa.Table) -> np.ndarray:
    """The label: float32 [rows], of a regression float64 and in its own units; multiclass: class index, int32 [rows].

    Raises:
        DataError: Missing, null, or no class of the model.
    """
    if label.name not in table.column_names:
        raise DataError("the label column is missing", where=label.name, remedy="evaluate needs labelled data")
    column = table.column(label.name)
    if column.null_count:
        raise DataError(f"{column.null_count} labels are null", where=label.name, remedy="leave those rows out")
    if label.task == "regression":
        return np.asarray(column.cast(pa.float64()), np.float64)
    if label.task != "multiclass":
        return np.asarray(column.cast(pa.float32()), np.float32)
    index = {value: i for i, value in enumerate(label.classes)}
    values = column.to_pylist()
    unknown = sorted({str(v) for v in values if v not in index})
    if unknown:
        raise DataError(
            f"labels that the model does not know: {', '.join(unknown[:5])}",
            where=label.name,
            remedy="evaluate on the classes the model was trained on",
        )
    return np.array([index[v] for v in values], np.int32)


def predict(
    where: str, data: str | list[str], output: str, *, rows: int = _ROWS, seen: Note = lambda _: None
) -> dict[str, Any]:
    """Parquet in, Parquet out: the source's columns and `prediction`, a file a shard.

    Binary: the probability of class 1. Multiclass: `prediction` is the class, `probability` its
    probability. Regression: the value.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        data: Parquet, as `run.data.train` takes it.
        output: A folder or URI; shards keep their names, hive folders included.
        rows: Rows of a batch.
        seen: Told the number of rows done.

    Returns:
        `{"run", "rows", "shards", "output"}`.

    Raises:
        ConfigError: No model there, or output and input are one.
        DataError: A column is missing.
        StorageError: The store is out of reach or refuses.
    """
    model = published_model.load(where)
    shards = storage.expand(data)
    total = 0
    for shard in shards:
        target = storage.join(output, shard.name)
        if target == shard.uri:
            raise ConfigError("the output is the input", where=output, remedy="write to another folder")
        total = _predict_shard(model, shard.uri, target, rows, total, seen)
    return {"run": model.run, "rows": total, "shards": len(shards), "output": output}


def _predict_shard(model: published_model.Published, uri: str, target: str, rows: int, total: int, seen: Note) -> int:
    """One shard through a local spool: an object is written whole or not at all."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kfit-predict-") as scratch:
        spool = Path(scratch, "part.parquet")
        writer: pq.ParquetWriter | None = None
        try:
            for table, columns in raw_batches(model.layout, uri, rows=rows):
                answered = _with_predictions(table, model.layout.label, model.predict(columns))
                writer = writer or pq.ParquetWriter(spool, answered.schema)
                writer.write_table(answered)
                total += len(table)
                seen(total)
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            storage.write_file(target, spool)
    return total


def _with_predictions(table: pa.Table, label: LabelField, predictions: np.ndarray) -> pa.Table:
    answers: Mapping[str, Any]
    if label.task == "multiclass":
        best = predictions.argmax(axis=1)
        answers = {
            "prediction": pa.array([label.classes[i] for i in best]),
            "probability": pa.array(predictions[np.arange(len(best)), best].astype(np.float32)),
        }
    else:
        answers = {"prediction": pa.array(predictions[:, 0])}
    for name, values in answers.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, values)
    return table
