"""How following is shown: one bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from k8s.follow.log_stream import EVENT
from k8s.follow.loop import View


def choose(show_logs: bool) -> View:
    """A bar where a person watches, plain lines elsewhere."""
    if show_logs and sys.stdout.isatty() and sys.stderr.isatty():
        from rich.console import Console

        from k8s.follow.progress_bar import Watched

        return Watched(Console(stderr=True))
    return Plain(sys.stdout, sys.stderr)


def prefix(index: int) -> str:
    """What stands before a line of one of several pods."""
    return f"[{index}] "


class Plain:
    """Lines: the log on stdout, what is said about it on stderr.

    Args:
        out: Gets the log.
        err: Gets the rest.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err
        self._several = False

    def say(self, text: str, remedy: str = "", *, waits: bool = False) -> None:
        """Prints a line, and below it what mends it."""
        self._err.write(f"{text}\n" + (f"  {remedy}\n" if remedy else ""))
        self._err.flush()

    def opened(self, pod: str, index: int) -> None:
        """Says whose lines come."""
        self._several = self._several or index > 0
        self.say(f"running: pod {pod}")

    def line(self, index: int, text: str) -> None:
        """Prints a line; the trainer says all its events in words too."""
        if not text.startswith(EVENT):
            self._out.write(f"{prefix(index) if self._several else ''}{text}\n")
            self._out.flush()

    def close(self) -> None:
        """Nothing to take away."""
