"""Shows a run that is followed: one bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from k8s.follow.log_stream import EVENT
from k8s.follow.loop import LogOptions, View
from trainer.progress import terminal


def choose(show_logs: bool, logs: LogOptions) -> View:
    """Returns a progress bar on a terminal; plain lines elsewhere, and where the options ask for every line."""
    # The bar is drawn from the beginning of a log.
    plain = logs.raw or logs.timestamps or logs.since or logs.pod is not None or logs.tail is not None
    if show_logs and not plain and sys.stdout.isatty() and sys.stderr.isatty():
        from k8s.follow.progress_bar import ProgressBar

        return ProgressBar(terminal.console(stderr=True))
    return Plain(sys.stdout, sys.stderr, raw=logs.raw)


class Plain:
    """Lines: the log on stdout, messages about the Job on stderr.

    On a terminal control characters are shown; a file or a pipe gets the log as it is.

    Args:
        out: Gets the log.
        err: Gets the rest.
        raw: Print the trainer's JSON events too.
        several: Begin every line with its worker's index, from the first line on.
    """

    def __init__(self, out: TextIO, err: TextIO, *, raw: bool = False, several: bool = False) -> None:
        self._out, self._err, self._raw, self._several = out, err, raw, several

    def say(self, text: str, remedy: str = "", *, waits: bool = False) -> None:
        """Prints a line, and below it the remedy."""
        self._err.write(terminal.lines(f"{text}\n" + (f"  {remedy}\n" if remedy else "")))
        self._err.flush()

    def opened(self, pod: str, index: int) -> None:
        """Prints which pod's lines follow."""
        self._several = self._several or index > 0
        self.say(f"running: pod {pod}")

    def line(self, index: int, text: str) -> None:
        """Prints a line; every event of the trainer is also a plain line."""
        if self._raw or not text.startswith(EVENT):
            shown = terminal.visible(text, keep="\t") if self._out.isatty() else text
            self._out.write(f"[{index}] {shown}\n" if self._several else f"{shown}\n")
            self._out.flush()

    def close(self) -> None:
        """Does nothing; plain lines stay."""
