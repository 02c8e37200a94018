"""`log.txt` in the run's folder: the lines that the chief wrote to stderr about the run, which outlive its pods.

It is a convenience and never the reason why a run fails: what storage does not take now is written the next time, or
not at all. Only the chief keeps one, since one process alone writes into a run's folder (docs/decisions/0006); its log
also says how other workers ended. A run that goes on appends.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from trainer import storage, termination
from trainer.checkpoint.fencing import Fence, Superseded
from trainer.checkpoint.run_folder import LOG, RunFolder
from trainer.errors import KfitError
from trainer.progress import terminal
from trainer.progress.progress import Progress
from trainer.progress.views import Lines

#: Seconds between two lines on the progress of an epoch, and between two writes.
_LINE_S, _WRITE_S = 30.0, 30.0
#: How much is kept: the beginning, and of the rest the newest.
_HEAD_BYTES, _MOST_BYTES = 64 * 1024, 1024 * 1024
_LONGEST_LINE = 8_000
_LEFT_OUT = re.compile(r"\S+ … (\d+) lines left out …")


class KeptLog:
    """Keeps the lines of a run, and writes them from a thread of its own.

    Args:
        folder: The run's folder.
        fence: Lets only the youngest process of a run write.
        clock: The time that stands before each line.
        every_s: Seconds between two writes.
    """

    def __init__(
        self,
        folder: RunFolder,
        fence: Fence,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        every_s: float = _WRITE_S,
    ) -> None:
        self._uri, self._fence, self._clock, self._every_s = folder.path(LOG), fence, clock, every_s
        self._lines = BoundedLines()
        self._rest = ""
        self._started = self._changed = self._loaded = self._closed = False
        self._keeping, self._writing = threading.Lock(), threading.Lock()
        self._stop = threading.Event()

    def attach(self, progress: Progress) -> None:
        """Keeps from now on what this progress shows as plain lines."""
        console = terminal.console(file=self, force_terminal=False, color_system=None, width=200)
        progress.add(Lines(console, _LINE_S))

    def start(self) -> None:
        """Begins to write; this process has claimed the run."""
        self._started = True
        threading.Thread(target=self._keep_writing, name="kfit-log", daemon=True).start()

    def write(self, text: str) -> int:
        """Keeps text, with the time before each whole line. From any thread."""
        with self._keeping:
            *whole, self._rest = (self._rest + text).split("\n")
            at = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            for line in whole:
                self._lines.append(f"{at} {line[:_LONGEST_LINE]}{'…' if len(line) > _LONGEST_LINE else ''}")
            self._changed = self._changed or bool(whole)
        return len(text)

    def flush(self) -> None:
        """Nothing: lines are written in their own time."""

    def close(self, seconds: float) -> None:
        """Writes what is left, for no longer than so many seconds, and nothing afterwards. May be called twice."""
        self._stop.set()
        if self._started and not self._closed:
            termination.within(seconds, self._save)
            self._closed = True

    def _keep_writing(self) -> None:
        while not self._stop.wait(self._every_s):
            self._save()

    def _save(self) -> None:
        with self._writing:
            if self._closed or not self._changed:
                return
            try:
                if not self._loaded:
                    self._load()
                self._fence.check()
                with self._keeping:
                    text, self._changed = self._lines.text(), False
                storage.write(self._uri, text.encode())
            except Superseded:
                self._closed = True  # the process that took over writes it
            except KfitError:
                self._changed = True  # again the next time

    def _load(self) -> None:
        """Puts what earlier processes of the run wrote before what this one has to say."""
        try:
            earlier = storage.read(self._uri).decode(errors="replace")
        except storage.NotFound:
            earlier = ""
        with self._keeping:
            lines = BoundedLines()
            for line in [*earlier.splitlines(), *self._lines.text().splitlines()]:
                lines.append(line)
            self._lines, self._loaded = lines, True


class BoundedLines:
    """Lines of a log: the beginning, the newest, and how many between them were left out.

    Args:
        head_bytes: How much of the beginning is kept.
        most_bytes: How much is kept altogether.
    """

    def __init__(self, head_bytes: int = _HEAD_BYTES, most_bytes: int = _MOST_BYTES) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_left, self._tail_left = head_bytes, most_bytes - head_bytes
        self._left_out, self._left_out_at = 0, ""

    def append(self, line: str) -> None:
        """Adds a line, which begins with its time; one that tells what was left out counts as those."""
        if earlier := _LEFT_OUT.fullmatch(line):
            self._left_out += int(earlier[1])
            self._left_out_at = line.partition(" ")[0]
            self._head_left = 0
            return
        size = len(line.encode()) + 1
        if not self._tail and size <= self._head_left:
            self._head.append(line)
            self._head_left -= size
            return
        self._tail.append(line)
        self._tail_left -= size
        while self._tail_left < 0:
            oldest = self._tail.popleft()
            self._tail_left += len(oldest.encode()) + 1
            self._left_out, self._left_out_at = self._left_out + 1, oldest.partition(" ")[0]

    def text(self) -> str:
        """Returns all that is kept."""
        between = [f"{self._left_out_at} … {self._left_out} lines left out …"] if self._left_out else []
        return "".join(f"{line}\n" for line in [*self._head, *between, *self._tail])
