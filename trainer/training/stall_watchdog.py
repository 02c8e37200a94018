"""Ends a run in which no step is finished any more, and shows where every thread stands.

A model's code that waits for ever, a deadlock or a hung device holds the GPUs until the Job's deadline otherwise.
The main thread cannot be interrupted there, so a thread watches it and ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from trainer.errors import Stalled
from trainer.user_code import is_users

#: A check that comes later than this after the one before means that the whole process was suspended.
_CHECK_EVERY_S = 5.0
_SUSPENDED_S = 4 * _CHECK_EVERY_S
#: Where the interpreter's lock is held for ever no thread of Python can end the process; this much later C does.
_MARGIN_S = 60.0
_HEARTBEAT_EVERY_S = 1.0


class StallWatchdog:
    """Watches that steps are finished.

    Between `start` and `stop` something calls `beat` after every step; `paused` is for waits with limits of their own.

    Args:
        limit_s: Seconds without a beat after which the run is stalled; None: never.
        stalled: Ends the process because of an error; called once, from the watching thread.
        stream: Where the stacks go. Default: stderr.
        heartbeat: A file that is there while steps are expected, with the time of the last beat: what a liveness probe
            reads. A process whose threads all hang no longer renews it.
    """

    def __init__(
        self,
        limit_s: float | None,
        stalled: Callable[[Stalled], None],
        *,
        stream: TextIO | None = None,
        heartbeat: str | None = None,
    ) -> None:
        self._limit_s, self._stalled, self._stream = limit_s, stalled, stream
        self._heartbeat = Path(heartbeat) if heartbeat else None
        self._stopped = threading.Event()
        self._beat_s = time.monotonic()
        self._pauses = 0

    def start(self) -> None:
        """Begins to watch the thread that calls this."""
        self.beat()
        watched = threading.current_thread()
        if self._limit_s is not None:
            threading.Thread(target=self._watch, args=(watched,), name="kfit-stall-watchdog", daemon=True).start()
        if self._heartbeat is not None:
            threading.Thread(target=self._renew, args=(self._heartbeat,), name="kfit-heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Notes that a step was finished."""
        self._beat_s = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context in which no step is expected, such as a wait for storage."""
        self._pauses += 1
        try:
            yield
        finally:
            self.beat()
            self._pauses -= 1

    def stop(self) -> None:
        """Ends the watch. May be called twice, or without `start`."""
        self._stopped.set()

    def _renew(self, heartbeat: Path) -> None:
        while True:
            if self._pauses:
                self.beat()
            beat_s = time.time() - (time.monotonic() - self._beat_s)
            with contextlib.suppress(OSError):  # a full disk must not end a run
                heartbeat.touch()
                os.utime(heartbeat, (beat_s, beat_s))
            if self._stopped.wait(_HEARTBEAT_EVERY_S):
                heartbeat.unlink(missing_ok=True)
                return

    def _watch(self, watched: threading.Thread) -> None:
        assert self._limit_s is not None
        stream = self._stream or sys.stderr
        checked_s = time.monotonic()
        try:
            while not self._stopped.wait(min(_CHECK_EVERY_S, self._limit_s / 4)):
                now_s = time.monotonic()
                if self._pauses or now_s - checked_s > _SUSPENDED_S:
                    self.beat()
                checked_s = now_s
                with contextlib.suppress(OSError, ValueError):  # a stream without a file
                    faulthandler.dump_traceback_later(self._limit_s + _MARGIN_S, exit=True, file=stream)
                if now_s - self._beat_s > self._limit_s:
                    self._end(watched, stream)
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _end(self, watched: threading.Thread, stream: TextIO) -> None:
        from trainer.tensorflow_import import release_stderr

        release_stderr()
        place = place_in_user_code(watched)
        print(f"no step for {self._limit_s:.0f} s; the stacks of all threads follow", file=stream, flush=True)
        with contextlib.suppress(OSError, ValueError):
            faulthandler.dump_traceback(stream, all_threads=True)
        print(native_threads(), file=stream, flush=True)
        self._stalled(
            Stalled(
                f"no step was finished for {self._limit_s:.0f} s" + (f"; training waits in {place}" if place else ""),
                where="model.fit",
                remedy="the log has the stacks of all threads; where a step may take that long, raise run.fit.stall",
            )
        )


def place_in_user_code(first: threading.Thread) -> str:
    """Returns where a thread stands in code that belongs neither to a library nor to kfit.

    Args:
        first: The thread to look at first; then come all others, since TensorFlow calls Python from its own.

    Returns:
        The innermost such frame, `model.py:12 in call`; empty where there is none.
    """
    frames = sys._current_frames()
    for thread in [first.ident or 0, *(thread for thread in frames if thread != first.ident)]:
        for summary in reversed(traceback.extract_stack(frames.get(thread))):
            if is_users(summary.filename):
                return f"{summary.filename}:{summary.lineno} in {summary.name}"
    return ""


def native_threads() -> str:
    """Counts TensorFlow's and other native threads by name, state and the kernel function they wait in."""
    threads: Counter[str] = Counter()
    for task in Path("/proc/self/task").glob("*"):
        try:
            name = (task / "comm").read_text().strip()
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            waits_in = (task / "wchan").read_text().strip()
        except (OSError, IndexError):  # it has ended, or the system does not tell
            continue
        threads[f"{name} {state} {waits_in if waits_in not in ('', '0') else '-'}"] += 1
    lines = [f"  {count:4d} {kind}" for kind, count in threads.most_common()]
    return "\n".join(["native threads (count, name, state, waits in):", *lines])
