"""TensorFlow's profiler over a few steps of a run, for TensorBoard's "Profile" page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.config import Profile
from trainer.training.training_state import TrainingState


class ProfileCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Profiles from a step of the run to another; a run that goes on counts on. Stands after the training state's.

    Args:
        wanted: Which steps, counted from 1 since the run began.
        folder: TensorBoard's folder.
        state: Where the run stands.
    """

    def __init__(self, wanted: Profile, folder: str, state: TrainingState) -> None:
        super().__init__()
        self._first, self._last = wanted.steps
        self._folder, self._state, self._running = folder, state, False

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begins before the first of the steps."""
        if not self._running and self._first - 1 <= self._state.cursor.total < self._last:
            tf.profiler.experimental.start(self._folder)
            self._running = True

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Ends after the last of the steps."""
        if self._state.cursor.total >= self._last:
            self._stop()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Ends with the run."""
        self._stop()

    def _stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
