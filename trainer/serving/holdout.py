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
from trainer.schema import LabelPlace, Layout
from trainer.serving import published_model
from trainer.serving.labels import all_label_values

_ROWS = 8192


@dataclass(frozen=True)
class HoldoutPredictions:
    """What models predict of the same rows.

    Attributes:
        labels: [rows] as the first model's classes count them; multilabel [rows, classes].
        predictions: Of each model: [rows], [rows, classes of the first model], or [rows, quantiles].
        slices: Column -> its value of every row.
        targets: What the first model predicts; of several labels both arrays hold all of them side by side.
    """

    labels: Floats
    predictions: tuple[Floats, ...]
    slices: dict[str, list[Any]]
    targets: tuple[LabelPlace, ...]


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
        _check_comparable(first, other)
    names = [column.name for model in loaded for column in model.layout.columns]
    extra = list(dict.fromkeys([*(label.name for label in first.labels), *slices, *names]))
    uris = holdout if isinstance(holdout, str) else list(holdout)
    labels: list[Floats] = []
    predictions: list[list[np.ndarray]] = [[] for _ in loaded]
    slice_values: dict[str, list[Any]] = {name: [] for name in slices}
    for table, columns in raw_batches(first, uris, rows=_ROWS, extra=extra, row_filter=row_filter):
        labels.append(all_label_values(first, table, "run.data.holdout"))
        for model, batches in zip(loaded, predictions, strict=True):
            inputs = columns if model is loaded[0] else raw_columns(model.layout.columns, table)
            batches.append(_as_first(model, first, model.predict(inputs)))
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
        first.targets,
    )


def _check_comparable(first: Layout, other: published_model.Published) -> None:
    ours, theirs = ("; ".join(map(_described, layout.targets)) for layout in (first, other.layout))
    if ours != theirs:
        raise ConfigError(
            f"run {other.run} predicts {theirs}, this one {ours}; the two cannot be compared",
            where="run.data",
            remedy="promote the new kind of model by hand with kfit promote, or give it an output.uri of its own",
        )


def _described(place: LabelPlace) -> str:
    label = place.label
    named = f"{label.name} as " if place.prefix else ""
    return named + f"{label.task} {', '.join(map(str, label.quantiles))}".strip()


def _as_first(model: published_model.Published, first: Layout, predictions: np.ndarray) -> np.ndarray:
    """[rows, outputs] in the order of the first model's classes; [rows] where it is one number of one label."""
    parts = [
        _by_classes(theirs, ours.label.classes, theirs.predictions(predictions))
        for theirs, ours in zip(model.layout.targets, first.targets, strict=True)
    ]
    joined = np.concatenate(parts, axis=1)
    return joined[:, 0] if not first.further_labels and not (first.label.classes or first.label.quantiles) else joined


def _by_classes(theirs: LabelPlace, classes: Sequence[Any], predictions: np.ndarray) -> np.ndarray:
    """[rows, outputs] -> [rows, classes], 0 for a class that the model lacks."""
    own = list(theirs.label.classes)
    if own == list(classes):
        return predictions
    out = np.zeros((len(predictions), len(classes)), predictions.dtype)
    for place, name in enumerate(classes):
        if name in own:
            out[:, place] = predictions[:, own.index(name)]
    return out
