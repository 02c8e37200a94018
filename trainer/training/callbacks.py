"""Keras callbacks of a run, and the state they must not forget when the run is stopped and goes on.

`EarlyStopping` and `ReduceLROnPlateau` reset themselves in `on_train_begin` and Keras saves neither
(keras#14862), so their few attributes are part of a checkpoint and put back after that reset.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.config import Config, EarlyStopping, ReduceOnPlateau
from trainer.errors import ConfigError, Preempted
from trainer.progress.progress import Progress
from trainer.training import model_state
from trainer.training.preemption import StopRequest
from trainer.training.time_ledger import Ledger
from trainer.training.training_state import Memory, number, plain, take_snapshot
from trainer.workers.coordinator import Coordinator, SingleWorker

Logs = Mapping[str, Any]

#: Metrics of which less is better; of the others more is.
_LESS_IS_BETTER = {"loss", "mae", "rmse", "mse"}
#: What each callback remembers between epochs.
_REMEMBERED = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


def mode_of(monitor: str, mode: str) -> str:
    """`min` or `max` for a metric of that name."""
    if mode != "auto":
        return mode
    return "min" if monitor.removeprefix("val_") in _LESS_IS_BETTER else "max"


def check_monitors(config: Config, metrics: list[str], *, validation: bool) -> None:
    """Checks that watched metrics are there to be watched.

    Raises:
        ConfigError: A monitor names no metric of the run.
    """
    names = ["loss", *metrics]
    available = names + ([f"val_{n}" for n in names] if validation else [])
    for key in ("early_stopping", "reduce_on_plateau"):
        part: EarlyStopping | ReduceOnPlateau | None = getattr(config.fit, key)
        if part is not None and part.monitor not in available:
            raise ConfigError(
                f"there is no metric {part.monitor!r}",
                where=f"run.fit.{key}.monitor",
                remedy=f"choose one of {', '.join(available)}",
            )


def keras_callbacks(config: Config, tensorboard_folder: str | None) -> list[keras.callbacks.Callback]:
    """The stock callbacks that the configuration asks for."""
    made: list[keras.callbacks.Callback] = []
    if stop := config.fit.known_early_stopping:
        made.append(
            keras.callbacks.EarlyStopping(
                monitor=stop.monitor,
                patience=stop.patience,
                min_delta=stop.min_delta,
                mode=mode_of(stop.monitor, stop.mode),
            )
        )
    if plateau := config.fit.reduce_on_plateau:
        made.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=plateau.monitor,
                factor=plateau.factor,
                patience=plateau.patience,
                min_delta=plateau.min_delta,
                cooldown=plateau.cooldown,
                min_lr=plateau.min_learning_rate,
                mode=mode_of(plateau.monitor, plateau.mode),
            )
        )
    if tensorboard_folder is not None:
        made.append(keras.callbacks.TensorBoard(tensorboard_folder, write_graph=False, update_freq="epoch"))
    return made


class Remember(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps `Memory` up to date, and puts it back into callbacks that forget. Stands after them in the list.

    Args:
        memory: What is kept.
        watched: The stock callbacks.
        monitor: Metric that decides which epoch is best. mode: `min` or `max`.
        line_every: Steps between two lines of metrics.jsonl; fixed by the data, so that a run that was
            stopped writes the same lines as one that was not.
        restore_metrics: Puts metric accumulators back after Keras resets them, in the midst of an epoch.
    """

    def __init__(
        self,
        memory: Memory,
        watched: list[keras.callbacks.Callback],
        *,
        monitor: str,
        mode: str,
        line_every: int,
        restore_metrics: Callable[[], None] | None,
    ) -> None:
        super().__init__()
        self._memory = memory
        self._watched = [(c, names) for c in watched for kind, names in _REMEMBERED.items() if isinstance(c, kind)]
        self._monitor, self._sign = monitor, 1.0 if mode == "max" else -1.0
        self._line_every = line_every
        self._restore_metrics = restore_metrics
        self._first_step = memory.cursor.step

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Puts back what stock callbacks have just forgotten."""
        for callback, _ in self._watched:
            for name, value in self._memory.callbacks.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Puts back the accumulators of an epoch that was cut."""
        self._first_step = self._memory.cursor.step
        if self._restore_metrics is not None:
            self._restore_metrics()
            self._restore_metrics = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the cursor; now and then a line of metrics."""
        cursor = self._memory.cursor
        done = self._first_step + batch + 1
        before = cursor.step
        cursor.total += done - before
        cursor.step = done
        if done // self._line_every > before // self._line_every:
            self._line({"epoch": cursor.epoch, "step": cursor.total, **plain(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Closes the epoch: history, best, cursor."""
        memory = self._memory
        values = plain(logs or {})
        for name, value in values.items():
            memory.history.setdefault(name, []).append(value)
        self._line({"epoch": epoch, "step": memory.cursor.total, "end": True, **values})
        watched = values.get(self._monitor)
        if watched is not None and (memory.best_value is None or self._sign * (watched - memory.best_value) > 0):
            memory.best_value, memory.best_epoch = watched, epoch
            memory.best_weights = model_state.weights(self.model)
        memory.cursor.epoch, memory.cursor.step, memory.epoch_logs = epoch + 1, 0, None
        memory.stopped_early = bool(self.model.stop_training)
        for callback, names in self._watched:
            memory.callbacks[type(callback).__name__] = {n: number(getattr(callback, n)) for n in names}

    def _line(self, values: dict[str, Any]) -> None:
        self._memory.lines.append({"time": round(time.time(), 3), **values})


class Checkpointing(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Snapshots the run when its interval is over, at every stop request, and at the end of training.

    Workers do so after the same step: the chief says when, and a stop asked of one is a stop of all.
    Stands last in the list, so that what it saves is whole.
    """

    def __init__(
        self,
        memory: Memory,
        writer: AsyncWriter | NoWriter,
        every: str,
        steps: int,
        stop: StopRequest,
        ledger: Ledger,
        identity: Mapping[str, Any],
        coordinator: Coordinator | SingleWorker | None = None,
    ) -> None:
        super().__init__()
        self._coordinator = coordinator or SingleWorker()
        self._memory, self._writer, self._stop, self._ledger = memory, writer, stop, ledger
        self._steps = steps
        self._identity = identity
        amount, unit = parse_every(every)
        self._every_s = amount if unit == "s" else math.inf
        self._every_steps = int(amount) if unit == "step" else 0
        self._every_epochs = int(amount) if unit == "epoch" else 0
        self._last_s = time.monotonic()
        self._last = self._position()

    def _position(self) -> tuple[int, int]:
        return self._memory.cursor.epoch, self._memory.cursor.total

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves when it is time; leaves when asked to."""
        self._writer.check()
        # Of what all know alike; time and the writer are the chief's.
        by_steps = bool(self._every_steps) and self._memory.cursor.total - self._last[1] >= self._every_steps
        due = by_steps or time.monotonic() - self._last_s >= self._every_s
        if self._agree(save=due and not self._writer.busy, must=by_steps):
            self.save()

    def _agree(self, *, save: bool = False, must: bool = False) -> bool:
        """Whether to save now; leaves where a worker was asked to."""
        stop = self._stop.signal_name if self._stop.requested else ""
        word = self._coordinator.decide_step(stop=stop, save=save, force=must)
        if word.stop:
            self._leave(word.stop)
        return word.save

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Keeps the epoch's training metrics: a stop during validation must not lose them."""
        self._keep_epoch_logs()

    def _keep_epoch_logs(self) -> None:
        if self._memory.epoch_logs is None:
            self._memory.epoch_logs = plain(self.model.get_metrics_result())

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Leaves when asked to; a validation may well be longer than the grace period."""
        self._agree()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves when it is time; leaves when asked to."""
        if not self.model.stop_training:
            self._agree(must=True)
        if self._every_epochs and (epoch + 1) % self._every_epochs == 0:
            self.save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """The last state is kept whatever the interval: a stop while publishing costs no step."""
        if self._last != self._position() and self._memory.cursor.step == 0:
            self.save()

    def save(self) -> None:
        """Copies the state (the only part that blocks) and hands it to the writer."""
        if self._memory.cursor.step == self._steps:  # the epoch's last step is done, its end is not
            self._keep_epoch_logs()
        with self._ledger.phase("checkpoint_stall"):
            self._writer.join()
            snapshot = take_snapshot(self.model, self._memory, self._identity, self._coordinator)
            if snapshot is not None:
                self._writer.submit(snapshot)
        self._last_s, self._last = time.monotonic(), self._position()

    def _leave(self, why: str) -> None:
        self.save()
        self._writer.wait()
        self._coordinator.broadcast_json()  # that it is committed
        self._coordinator.begin_shutdown()
        cursor = self._memory.cursor
        raise Preempted(
            f"stopped by {why} at epoch {cursor.epoch + 1}, step {cursor.step}; a checkpoint is committed",
            remedy="start the same run again and it goes on from there",
        )


class Show(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Hands steps and epochs to the progress display."""

    def __init__(self, memory: Memory, progress: Progress) -> None:
        super().__init__()
        self._memory, self._progress = memory, progress

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Draws now and then; logs are brought from the device only when they are drawn."""
        cursor = self._memory.cursor
        self._progress.step(cursor.epoch, cursor.step, lambda: plain(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """One kept line for the epoch."""
        self._progress.epoch_end(epoch, plain(logs or {}), best=self._memory.best_epoch == epoch)


class WatchLoss(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Stops the run at the first loss that is not finite; `explain` makes the error for a person.

    The running mean of an epoch stays NaN once one step's loss was, so looking every `every` steps misses
    none; on a GPU each look waits for the device.
    """

    def __init__(self, memory: Memory, explain: Callable[[int, int], Exception], *, every: int) -> None:
        super().__init__()
        self._memory, self._explain, self._every = memory, explain, every

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Looks at the loss."""
        if (batch + 1) % self._every == 0:
            self._look(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Looks at the loss, the validation's too."""
        self._look(logs)

    def _look(self, logs: Logs | None) -> None:
        for name in ("loss", "val_loss"):
            if logs and name in logs and not math.isfinite(float(logs[name])):
                raise self._explain(self._memory.cursor.epoch, self._memory.cursor.step)


def parse_every(every: str) -> tuple[float, str]:
    """`5m` -> (300.0, "s"), `500 steps` -> (500.0, "step"), `1 epoch` -> (1.0, "epoch")."""
    digits = "".join(c for c in every if c.isdigit())
    unit = every[len(digits) :].strip().rstrip("s") or "s"
    factor = {"s": 1, "m": 60, "h": 3600}.get(unit)
    return (float(digits) * factor, "s") if factor else (float(digits), unit)
