"""Predictions of several published models on the same fresh rows: what the gate decides on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config import Condition
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.raw_columns import raw_batches, raw_columns
from trainer.metrics import Floats
from trainer.schema import LabelField
from trainer.serving import published_model
from trainer.serving.labels import label_values

_ROWS = 8192


@dataclass(frozen=True)
class HoldoutPredictions:
    """What models predict of the same rows.

    Attributes:
        labels: [rows] as the first model's classes count them; multilabel [rows, classes].
        predictions: Of each model: [rows], [rows, classes of the first model], or [rows, quantiles].
        slices: Column -> its value of every row.
        quantiles: What is predicted of task quantile.
    """

    labels: Floats
    predictions: tuple[Floats, ...]
    slices: dict[str, list[Any]]
    quantiles: tuple[float, ...] = ()


def predict_holdout(
    models: Sequence[str],
    holdout: str | Sequence[str],
    slices: Sequence[str] = (),
    row_filter: Mapping[str, Condition] | None = None,
) -> HoldoutPredictions:
    """Streams the holdout once and asks every model.

    Args:
        models: Runs' URIs, the challenger first.
        holdout: What `trainer.storage.expand` takes.
        slices: Columns whose values are returned beside the predictions.
        row_filter: The job's `data.filter`: only rows that belong to the set are scored.

    Returns:
        The predictions; memory is that of labels, predictions and slices alone.

    Raises:
        ConfigError: A model or a column is not there.
        DataError: The holdout has no rows, or breaks a model's contract.
        ModelCodeError: A model does not load.
        StorageError: The store is out of reach.
    """
    loaded = [published_model.load(uri) for uri in models]
    first = loaded[0].layout
    for other in loaded[1:]:
        _check_comparable(first.label, other)
    names = [column.name for model in loaded for column in model.layout.columns]
    extra = list(dict.fromkeys([first.label.name, *slices, *names]))
    uris = holdout if isinstance(holdout, str) else list(holdout)
    labels: list[Floats] = []
    predictions: list[list[np.ndarray]] = [[] for _ in loaded]
    slice_values: dict[str, list[Any]] = {name: [] for name in slices}
    for table, columns in raw_batches(first, uris, rows=_ROWS, extra=extra, row_filter=row_filter):
        labels.append(label_values(first.label, table, "run.data.holdout"))
        for model, batches in zip(loaded, predictions, strict=True):
            inputs = columns if model is loaded[0] else raw_columns(model.layout.columns, table)
            batches.append(_by_classes_of_first(model, first.label.classes, model.predict(inputs)))
        for name in slices:
            slice_values[name] += table.column(name).to_pylist()
    if not labels:
        raise DataError(
            "the holdout has no rows" + (" that fit run.data.filter" if row_filter else ""),
            where="run.data.holdout",
            remedy="choose days that hold rows",
        )
    return HoldoutPredictions(
        np.concatenate(labels),
        tuple(np.concatenate(batches).astype(np.float64) for batches in predictions),
        slice_values,
        first.label.quantiles,
    )


def _check_comparable(label: LabelField, other: published_model.Published) -> None:
    theirs = other.layout.label
    if (theirs.task, theirs.quantiles) != (label.task, label.quantiles):
        ours, its = (f"{of.task} {', '.join(map(str, of.quantiles))}".strip() for of in (label, theirs))
        raise ConfigError(
            f"run {other.run} predicts {its}, this one {ours}; the two cannot be compared",
            where="run.task",
            remedy="promote the new kind of model by hand with kfit promote, or give it an output.uri of its own",
        )


def _by_classes_of_first(
    model: published_model.Published, classes: Sequence[Any], predictions: np.ndarray
) -> np.ndarray:
    """[rows, outputs] -> [rows]; quantiles as they are; classes in the first model's order, 0 for one that it lacks."""
    if not model.layout.label.classes:
        return predictions if model.layout.label.quantiles else predictions[:, 0]
    own = list(model.layout.label.classes)
    if own == list(classes):
        return predictions
    out = np.zeros((len(predictions), len(classes)), predictions.dtype)
    for place, name in enumerate(classes):
        if name in own:
            out[:, place] = predictions[:, own.index(name)]
    return out
