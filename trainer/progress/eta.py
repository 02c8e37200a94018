"""How fast a fit goes and when it will be done: arithmetic on step counts and clock readings.

Apart from the drawing, so that it can be tested against a clock of its own.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 30.0
_SHORTEST_S = 0.5


class Pace:
    """Steps a second over the last half minute, and seconds until the end of the run.

    What lies between two epochs (validation, checkpoints) is measured apart from the steps, so that
    neither the speed shown nor the time to go jumps when an epoch ends.

    Args:
        epochs: Epochs of the whole run.
        steps: Steps of an epoch.
        first_epoch: Epochs that an earlier attempt finished.
        first_step: Steps of that epoch which an earlier attempt finished.
    """

    def __init__(self, epochs: int, steps: int, first_epoch: int = 0, first_step: int = 0) -> None:
        self.epochs = epochs
        self.steps = steps
        self.done = first_epoch * steps + first_step
        self._epochs_ended = first_epoch
        self._readings: deque[tuple[float, int]] = deque()
        self._rate = 0.0
        self._last_at: float | None = None
        self._ended_at: float | None = None
        self._pause_from: float | None = None
        self._pauses: list[float] = []

    def step(self, now_s: float, done: int) -> None:
        """Takes note that `done` steps of the run are finished at `now_s`."""
        if self._pause_from is not None and self._rate:
            self._pauses.append(max(0.0, now_s - self._pause_from - 1 / self._rate))
        self._pause_from = None
        self.done = done
        self._last_at = now_s
        self._readings.append((now_s, done))
        while len(self._readings) > 2 and now_s - self._readings[0][0] > _WINDOW_S:
            self._readings.popleft()
        self._measure()

    def epoch_end(self, now_s: float, epoch: int) -> None:
        """Takes note that `epoch` (from 0) is finished, its validation included."""
        if not self._rate and self._ended_at is not None and now_s > self._ended_at:
            # An epoch of one step leaves nothing between two readings.
            self._rate = self.steps / (now_s - self._ended_at)
        self._ended_at = now_s
        self._epochs_ended = epoch + 1
        self.done = self._epochs_ended * self.steps
        self._pause_from = self._last_at if self._last_at is not None else now_s
        self._readings.clear()

    def _measure(self) -> None:
        (first_at, first_done), (last_at, last_done) = self._readings[0], self._readings[-1]
        long_enough = last_at - first_at >= _SHORTEST_S or not self._rate
        if last_at > first_at and long_enough:
            self._rate = (last_done - first_done) / (last_at - first_at)

    @property
    def steps_per_s(self) -> float:
        """Steps a second, 0 until two steps were seen: the first one holds the compilation."""
        return self._rate

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last epoch ends, or None while the speed is not known."""
        if not self._rate:
            return None
        pause_s = sum(self._pauses) / len(self._pauses) if self._pauses else 0.0
        steps_to_go = max(0, self.epochs * self.steps - self.done)
        return steps_to_go / self._rate + pause_s * max(0, self.epochs - self._epochs_ended)
