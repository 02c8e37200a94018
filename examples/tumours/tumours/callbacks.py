"""A callback with a state and a file, both of which outlive a restart."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras


class SlowestStep(keras.callbacks.Callback):
    """Writes the slowest step of the run so far, after each epoch.

    Args:
        path: A file; in the job file `{folder}/…` is a folder that the run uploads.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.slowest_s, self.began_s = Path(path), 0.0, 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self.began_s = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops the clock."""
        self.slowest_s = max(self.slowest_s, time.monotonic() - self.began_s)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a line, and adds a number to the report's curves."""
        with self.path.open("a") as file:
            print(epoch, f"{self.slowest_s:.4f}", file=file)
        if logs is not None:
            logs["slowest_step_s"] = self.slowest_s

    def state_dict(self) -> dict[str, float]:
        """Returns what a checkpoint keeps."""
        return {"slowest_s": self.slowest_s}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Takes it back after a restart."""
        self.slowest_s = state["slowest_s"]
