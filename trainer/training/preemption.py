"""A request to stop, by SIGTERM or SIGINT: honoured after the current step, or at once outside training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.errors import Preempted


class _Interrupted(BaseException):
    """Raised by a signal's handler in the main thread; not an Exception, since Keras wraps those in its own."""


class StopRequest:
    """Handles the signals of one run; a second signal ends it at once.

    Inside `training`, a signal is remembered and the run stops after the current step, with a
    checkpoint. Outside, waiting would gain nothing, so the run ends where it is.

    Attributes:
        signal_name: The signal that came; empty before one.
        phase: Where the run stands, for a person.

    Handlers can only be set in the main thread; elsewhere (a library call in a notebook's thread) the
    request can still be made by `set`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[int, Any] = {}
        self._after_step = False
        self._interrupted = False
        self.signal_name = ""
        self.phase = "before the first step"

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self.set(signal.Signals(number).name)
        if not self._after_step:
            self._interrupted = True
            raise _Interrupted

    def meaning(self, error: BaseException) -> BaseException:
        """Returns the error that ended the run; after an interruption `Preempted`, whatever a library made of it."""
        return self._preempted() if self._interrupted and not isinstance(error, KeyboardInterrupt) else error

    @contextmanager
    def training(self) -> Iterator[None]:
        """A context inside which a request waits for the end of the current step.

        Raises:
            Preempted: The run was asked to stop before.
        """
        self.check()
        self._after_step = True
        try:
            yield
        finally:
            self._after_step = False

    def set(self, reason: str) -> None:
        """Asks the run to stop, as a signal does; a person reads the reason, such as the signal's name."""
        self.signal_name = reason
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Ends the run here if it was asked to stop.

        Raises:
            Preempted: It was asked to.
        """
        if self.requested:
            raise self._preempted()

    def _preempted(self) -> Preempted:
        return Preempted(
            f"stopped by {self.signal_name} {self.phase}; nothing is lost",
            remedy="start the same run again and it goes on from there",
        )
