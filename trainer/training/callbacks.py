"""This project's callbacks of `model.fit`: they keep the training state, save it, show it and watch the loss.

`EarlyStopping` and `ReduceLROnPlateau` reset themselves in `on_train_begin` and Keras saves neither
(keras#14862), so their few attributes are part of a checkpoint and put back after that reset.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.config import Profile
from trainer.errors import Preempted
from trainer.training import model_state
from trainer.training.context import TrainingContext
from trainer.training.own_callbacks import OwnCallbacks, stock_attributes
from trainer.training.training_state import TrainingState, number, plain, take_snapshot
from trainer.workers.coordinator import Coordinator, SingleWorker

Logs = Mapping[str, Any]


class TrainingStateCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the training state up to date, and gives stock callbacks back what they forget. Stands after them.

    Args:
        state: What the run carries from step to step.
        stock: Keras's own callbacks.
        monitor: Metric that decides which epoch is best.
        mode: `min` or `max`: which value of it is better.
        line_every: Steps between two lines of metrics.jsonl; fixed by the data, so that a run that was
            stopped writes the same lines as one that was not.
        restore_metrics: Puts metric accumulators back after Keras resets them, in the midst of an epoch.
    """

    def __init__(
        self,
        state: TrainingState,
        stock: list[keras.callbacks.Callback],
        *,
        monitor: str,
        mode: str,
        line_every: int,
        restore_metrics: Callable[[], None] | None,
    ) -> None:
        super().__init__()
        self._state = state
        self._stateful = [(callback, names) for callback in stock if (names := stock_attributes(callback))]
        self._monitor, self._sign = monitor, 1.0 if mode == "max" else -1.0
        self._line_every = line_every
        self._restore_metrics = restore_metrics
        self._first_step = state.cursor.step

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Puts back what stock callbacks have just reset."""
        for callback, _ in self._stateful:
            for name, value in self._state.callbacks.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Puts back the metric accumulators of an epoch that was interrupted."""
        self._first_step = self._state.cursor.step
        if self._restore_metrics is not None:
            self._restore_metrics()
            self._restore_metrics = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the cursor; adds a line of metrics every `line_every` steps."""
        cursor = self._state.cursor
        done = self._first_step + batch + 1
        before = cursor.step
        cursor.total += done - before
        cursor.step = done
        if done // self._line_every > before // self._line_every:
            self._add_line({"epoch": cursor.epoch, "step": cursor.total, **plain(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Closes the epoch: history, best weights, cursor, stock callbacks' attributes."""
        state = self._state
        values = plain(logs or {})
        for name, value in values.items():
            state.history.setdefault(name, []).append(value)
        self._add_line({"epoch": epoch, "step": state.cursor.total, "end": True, **values})
        watched = values.get(self._monitor)
        if watched is not None and (state.best_value is None or self._sign * (watched - state.best_value) > 0):
            state.best_value, state.best_epoch = watched, epoch
            state.best_weights = model_state.weights(self.model)
        state.cursor.epoch, state.cursor.step, state.epoch_logs = epoch + 1, 0, None
        state.stopped_early = bool(self.model.stop_training)
        for callback, names in self._stateful:
            state.callbacks[type(callback).__name__] = {name: number(getattr(callback, name)) for name in names}

    def _add_line(self, values: dict[str, Any]) -> None:
        self._state.lines.append({"time": round(time.time(), 3), **values})


class CheckpointCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Snapshots the run when its interval is over, at every stop request, and at the end of training.

    Workers do so after the same step: worker 0 says when, and a stop asked of one is a stop of all.
    Stands last in the list, so that what it saves is whole. Tells the watchdog of every step.

    Args:
        context: The run around training.
        every: The job file's `output.checkpoint.every`.
        steps: Steps of an epoch.
        coordinator: Of the run's workers.
        own: The job's own callbacks, whose state and files belong to a checkpoint; None where there are none.
    """

    def __init__(
        self,
        context: TrainingContext,
        every: str,
        steps: int,
        coordinator: Coordinator | SingleWorker,
        own: OwnCallbacks | None = None,
    ) -> None:
        super().__init__()
        self._own = own
        self._context, self._state, self._writer = context, context.state, context.writer
        self._steps, self._coordinator = steps, coordinator
        amount, unit = parse_every(every)
        self._every_s = amount if unit == "s" else math.inf
        self._every_steps = int(amount) if unit == "step" else 0
        self._every_epochs = int(amount) if unit == "epoch" else 0
        self._saved_s = time.monotonic()
        self._saved_at = self._position()

    def _position(self) -> tuple[int, int]:
        return self._state.cursor.epoch, self._state.cursor.total

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves when it is time; leaves when asked to."""
        self._context.watchdog.beat()
        self._writer.check()
        # All workers count steps alike; time and the writer are worker 0's.
        by_steps = bool(self._every_steps) and self._state.cursor.total - self._saved_at[1] >= self._every_steps
        due = by_steps or time.monotonic() - self._saved_s >= self._every_s
        if self._decide(save=due and not self._writer.busy, force=by_steps):
            self.save()

    def _decide(self, *, save: bool = False, force: bool = False) -> bool:
        """Returns whether to save now; leaves where a worker was asked to stop."""
        stop = self._context.stop
        reason = stop.signal_name if stop.requested else ""
        with self._context.watchdog.paused():  # each worker watches its own steps
            decision = self._coordinator.decide_step(stop=reason, save=save, force=force)
        if decision.stop:
            self._leave(decision.stop)
        return decision.save

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Keeps the epoch's training metrics: a stop during validation must not lose them."""
        self._keep_epoch_logs()

    def _keep_epoch_logs(self) -> None:
        if self._state.epoch_logs is None:
            self._state.epoch_logs = plain(self.model.get_metrics_result())

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Leaves when asked to; a validation may take longer than the grace period."""
        self._context.watchdog.beat()
        self._decide()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves when it is time; leaves when asked to."""
        if not self.model.stop_training:
            self._decide(force=True)
        if self._every_epochs and (epoch + 1) % self._every_epochs == 0:
            self.save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Saves the last state whatever the interval: a stop while publishing then costs no step."""
        if self._saved_at != self._position() and self._state.cursor.step == 0:
            self.save()

    def save(self) -> None:
        """Copies the state (the only part that blocks) and hands it to the writer."""
        if self._state.cursor.step == self._steps:  # the epoch's last step is done, its end is not
            self._keep_epoch_logs()
        with self._context.ledger.phase("checkpoint_stall"), self._context.watchdog.paused():
            self._writer.join()
            if self._own is not None:
                self._own.keep()
            for upload in self._context.uploads:
                upload()
            snapshot = take_snapshot(self.model, self._state, self._context.identity, self._coordinator)
            if snapshot is not None:
                self._writer.submit(snapshot)
        self._saved_s, self._saved_at = time.monotonic(), self._position()

    def _leave(self, reason: str) -> None:
        self.save()
        with self._context.watchdog.paused():
            self._writer.wait()
            self._coordinator.broadcast_json()  # the others leave only once it is committed
        self._coordinator.begin_shutdown()
        cursor = self._state.cursor
        raise Preempted(
            f"stopped by {reason} at epoch {cursor.epoch + 1}, step {cursor.step}; a checkpoint is committed",
            remedy="start the same run again and it goes on from there",
        )


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Hands steps and epochs to the progress display."""

    def __init__(self, context: TrainingContext) -> None:
        super().__init__()
        self._state, self._progress = context.state, context.progress

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Shows the step; logs are copied from the device only when they are shown."""
        cursor = self._state.cursor
        self._progress.step(cursor.epoch, cursor.step, lambda: plain(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Shows one line for the epoch, which stays."""
        self._progress.epoch_end(epoch, plain(logs or {}), best=self._state.best_epoch == epoch)


class FiniteLossCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Stops the run at the first loss that is not finite.

    The running mean of an epoch stays NaN once one step's loss was, so looking every `every` steps misses
    none; on a GPU each look waits for the device.

    Args:
        state: Where the run stands.
        explain: Makes the error from epoch and step, for a person.
        every: Steps between two looks.
    """

    def __init__(self, state: TrainingState, explain: Callable[[int, int], Exception], *, every: int) -> None:
        super().__init__()
        self._state, self._explain, self._every = state, explain, every

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Checks the loss every `every` steps."""
        if (batch + 1) % self._every == 0:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Checks the loss, the validation's too."""
        self._check(logs)

    def _check(self, logs: Logs | None) -> None:
        for name in ("loss", "val_loss"):
            if logs and name in logs and not math.isfinite(float(logs[name])):
                raise self._explain(self._state.cursor.epoch, self._state.cursor.step)


def parse_every(every: str) -> tuple[float, str]:
    """Parses an interval: `5m` -> (300.0, "s"), `500 steps` -> (500.0, "step"), `1 epoch` -> (1.0, "epoch")."""
    digits = "".join(c for c in every if c.isdigit())
    unit = every[len(digits) :].strip().rstrip("s") or "s"
    factor = {"s": 1, "m": 60, "h": 3600}.get(unit)
    return (float(digits) * factor, "s") if factor else (float(digits), unit)


class ProfileCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """TensorFlow's profiler from a step to another, counted from 1 since the run began, into TensorBoard's folder.

    Stands after the training state's.
    """

    def __init__(self, profile: Profile, folder: str, state: TrainingState) -> None:
        super().__init__()
        self._first, self._last = profile.steps
        self._folder, self._state, self._running = folder, state, False

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begins before the first of the steps."""
        if not self._running and self._first - 1 <= self._state.cursor.total < self._last:
            tf.profiler.experimental.start(self._folder)
            self._running = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Ends after the last of the steps."""
        if self._state.cursor.total >= self._last:
            self._stop()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Ends with the run."""
        self._stop()

    def _stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
