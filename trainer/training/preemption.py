"""A request to stop, by SIGTERM or SIGINT: polite between two steps, at once before the first and after the last."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.errors import Preempted


class _Interrupted(BaseException):
    """Thrown by a signal, wherever the main thread is; no Exception, since Keras wraps those in its own."""


class StopRequest:
    """Handles the signals of one run; a second signal leaves at once.

    While `training` is entered, a signal is remembered and the run stops after the step under way, with a
    checkpoint. Outside it nothing would be gained by waiting, so the run ends where it is.

    Handlers can only be set in the main thread; elsewhere (a library call in a notebook's thread) the
    request can still be made by `set`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[int, Any] = {}
        self._polite = False
        self._interrupted = False
        self.signal_name = ""
        #: What was going on, for a person.
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
        if not self._polite:
            self._interrupted = True
            raise _Interrupted

    def meaning(self, error: BaseException) -> BaseException:
        """What an error that ended the run means: after an interruption, whatever came of it, `Preempted`."""
        return self._preempted() if self._interrupted and not isinstance(error, KeyboardInterrupt) else error

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside, a request waits for the end of the step under way."""
        self.check()
        self._polite = True
        try:
            yield
        finally:
            self._polite = False

    def set(self, reason: str) -> None:
        """Asks the run to stop."""
        self.signal_name = reason
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether the run shall stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Ends the run here where that was asked for.

        Raises:
            Preempted: It was.
        """
        if self.requested:
            raise self._preempted()

    def _preempted(self) -> Preempted:
        return Preempted(
            f"stopped by {self.signal_name} {self.phase}; nothing is lost",
            remedy="start the same run again and it goes on from there",
        )
