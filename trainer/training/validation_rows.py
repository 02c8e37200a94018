"""The validation split of a run that has trained: what the model answers for its rows, and a sample of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.feed.pipeline.dataset import Feed
from trainer.model.objective.label_scale import all_predicted
from trainer.schema import Layout
from trainer.serving.calibration import Calibration, apply_temperature, fit_temperature
from trainer.serving.published_model import logits_under

#: Rows of the validation set that the report draws from.
REPORT_ROWS = 2_000_000
#: Rows that are asked together.
_ROWS_AT_ONCE = 4096


class ValidationRows:
    """Asks a trained model about validation rows. Rows of weight 0 are left out, as they are of Keras's metrics.

    Args:
        open_feed: Opens the split from its first row, in file order.
        layout: What is predicted.
        built: The model on packed inputs.
        batch_size: Rows of a batch of the feed.
        rows: Rows of the split.
    """

    def __init__(self, open_feed: Callable[[], Feed], layout: Layout, built: Any, batch_size: int, rows: int) -> None:
        self._open, self._layout, self._built = open_feed, layout, built
        self._batch_size, self._rows = batch_size, rows

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels [rows] or [rows, W], predictions [rows] or [rows, outputs] of the split (its first 2 million rows)."""
        return self._over(lambda x: all_predicted(self._layout.targets, self._built(x, training=False)))

    def calibrate(self) -> Calibration | None:
        """Fits a temperature, and divides the model's logits by it where that helps.

        Returns:
            What it came to; None where the rows do not define it.
        """
        labels, logits = self._over(lambda x: logits_under(self._built(x, training=False)))
        calibration = fit_temperature(self._layout.label.task, labels, logits)
        if calibration is not None and calibration.applied:
            apply_temperature(self._built, calibration.temperature)
        return calibration

    def sample(self, most_rows: int, most_bytes: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Evenly spaced rows: `x` of `trainer.schema`, and labels [rows] or [rows, W]."""
        every, seen = 1, 0
        parts: list[dict[str, np.ndarray]] = []
        labels = []
        for x, y, counted in self._batches():
            real = {key: np.asarray(values)[counted] for key, values in x.items()}
            if not parts and len(y):
                size = max(1, sum(values.nbytes for values in real.values()) // len(y))
                every = -(-self._rows // max(1, min(most_rows, most_bytes // size)))
            at = np.arange(-seen % every, len(y), every)
            seen += len(y)
            parts.append({key: values[at] for key, values in real.items()})
            labels.append(y[at])
        return {key: _stacked([part[key] for part in parts]) for key in parts[0]}, np.concatenate(labels)

    def answers(self, x: Any) -> np.ndarray:
        """Predictions [rows, outputs] of packed rows, in the label's own units."""
        starts = range(0, len(next(iter(x.values()))), _ROWS_AT_ONCE)
        batches = ({key: tf.constant(v[s : s + _ROWS_AT_ONCE]) for key, v in x.items()} for s in starts)
        return np.concatenate([np.asarray(self._answer(batch)) for batch in batches])

    @cached_property
    def _answer(self) -> Any:
        places = self._layout.targets
        return tf.function(lambda x: all_predicted(places, self._built(x, training=False)), reduce_retracing=True)

    def _over(self, answer: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
        ask = tf.function(answer, reduce_retracing=True)
        labels, answers = [], []
        for x, y, counted in self._batches():
            labels.append(y)
            answers.append(np.asarray(ask(x))[counted])
        stacked = np.concatenate(answers)
        return np.concatenate(labels), stacked[:, 0] if stacked.shape[1] == 1 else stacked

    def _batches(self) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Packed batches, the labels of their rows that count, and which those are: padding weighs 0."""
        offset, seen = self._layout.label_offset, 0
        with self._open() as feed:
            for x, y, w in feed.dataset().take(feed.steps):
                counted = np.asarray(w)[:, 0] > 0
                yield x, np.asarray(y, np.float64 if offset else None)[counted] + offset, counted
                seen += self._batch_size
                if seen >= min(self._rows, REPORT_ROWS):
                    break


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several batches; a ragged sequence is as wide as the longest."""
    if parts[0].ndim != 2:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
