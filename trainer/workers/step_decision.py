"""When training workers decide together whether to stop or to save, and what they decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Wished time between two decisions.
_EVERY_S = 0.2
_MOST_STEPS = 1000


@dataclass(frozen=True)
class StepDecision:
    """What all workers do after the current step.

    Attributes:
        stop: Why the run stops after this step; empty: it goes on.
        save: Whether a checkpoint is taken after this step.
    """

    stop: str
    save: bool


class StepPace:
    """Counts steps between two decisions, so that most steps cost no message.

    All workers count the same steps and use the same number, which worker 0 chooses by the pace so far.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._decided_s = clock()
        self._steps, self._until_next = 0, 1

    def due(self, *, force: bool) -> bool:
        """Counts one step; returns whether the workers decide after it."""
        self._steps += 1
        return force or self._steps >= self._until_next

    def propose(self, *, force: bool) -> int:
        """Returns the number of steps until the next decision, about `_EVERY_S` of training. For worker 0.

        Args:
            force: Whether this decision was forced: validation and checkpoints stand before it, so the pace
                says little and the number stays.
        """
        now_s = self._clock()
        took_s, self._decided_s = max(now_s - self._decided_s, 1e-6), now_s
        wished = int(self._steps * _EVERY_S / took_s)
        return self._until_next if force else max(1, min(wished, 4 * self._until_next, _MOST_STEPS))

    def decided(self, until_next: int) -> None:
        """Begins counting towards the next decision."""
        self._steps, self._until_next = 0, until_next
