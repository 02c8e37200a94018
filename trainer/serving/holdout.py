"""Asks published models the same fresh raw rows: what the gate decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import DataError
from trainer.feed.packing.raw_columns import raw_batches, raw_columns
from trainer.nightly.scores import Floats
from trainer.serving import published_model
from trainer.serving.batch_inference import label_indices

_ROWS = 8192


@dataclass(frozen=True)
class Answers:
    """What models said of the same rows.

    Attributes:
        labels: [rows] as the first model's classes count them.
        predictions: A model's answers each: [rows], multiclass [rows, classes of the first model].
        slices: Column -> its value of every row.
    """

    labels: Floats
    predictions: tuple[Floats, ...]
    slices: dict[str, list[Any]]


def ask(models: Sequence[str], holdout: str | Sequence[str], slices: Sequence[str] = ()) -> Answers:
    """Streams the holdout once and asks every model.

    Args:
        models: Runs' URIs, the challenger first.
        holdout: What `trainer.storage.expand` takes.
        slices: Columns whose values are wanted.

    Returns:
        The answers; memory is that of the labels and answers alone.

    Raises:
        ConfigError: A model or a column is not there.
        DataError: The holdout has no rows, or breaks a model's contract.
        StorageError: The store is out of reach.
    """
    loaded = [published_model.load(uri) for uri in models]
    first = loaded[0].layout
    names = [c.name for model in loaded for c in model.layout.columns]
    extra = list(dict.fromkeys([first.label.name, *slices, *names]))
    labels: list[np.ndarray] = []
    said: list[list[np.ndarray]] = [[] for _ in loaded]
    values: dict[str, list[Any]] = {name: [] for name in slices}
    for table, columns in raw_batches(
        first, list(holdout) if not isinstance(holdout, str) else holdout, rows=_ROWS, extra=extra
    ):
        labels.append(label_indices(first.label, table))
        for model, answers in zip(loaded, said, strict=True):
            inputs = columns if model is loaded[0] else raw_columns(model.layout.columns, table)
            answers.append(_same_classes(model, first.label.classes, model.predict(inputs)))
        for name in slices:
            values[name] += table.column(name).to_pylist()
    if not labels:
        raise DataError("the holdout has no rows", where="run.data.holdout", remedy="choose days that hold rows")
    return Answers(
        np.concatenate(labels).astype(np.float64),
        tuple(np.concatenate(answers).astype(np.float64) for answers in said),
        values,
    )


def _same_classes(model: published_model.Published, classes: Sequence[Any], answers: np.ndarray) -> np.ndarray:
    """[rows, outputs] -> [rows], or [rows, classes] in the first model's order; an unknown class gets 0."""
    if model.layout.label.task != "multiclass":
        return answers[:, 0]
    theirs = list(model.layout.label.classes)
    if theirs == list(classes):
        return answers
    out = np.zeros((len(answers), len(classes)), answers.dtype)
    for place, name in enumerate(classes):
        if name in theirs:
            out[:, place] = answers[:, theirs.index(name)]
    return out
