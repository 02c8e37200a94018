"""Logs of a pod, line by line, none lost and none twice, however often the stream breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from k8s.api.client import Cluster, Cut
from k8s.errors import NotFound, RefusedError
from k8s.status.pods import has_ended, trainer_status
from trainer.errors import KfitError

#: Begins a line that the trainer writes for the launcher.
EVENT = '{"kfit"'


class Line(NamedTuple):
    """A line of a log, and when it was written, RFC 3339."""

    at: str
    text: str


@dataclass
class Cursor:
    """Where a log was read up to.

    The API server takes whole seconds for a beginning, so a log that is asked for again begins with lines
    that were read. Each line has its time to the nanosecond before it: older ones are left out, and of
    those with the very time of the last one as many as were read.

    Attributes:
        at: Time of the last line, as it stood before it.
        same: Lines read with that time.
    """

    at: str = ""
    same: int = 0

    @property
    def since(self) -> str:
        """The second to ask for, empty for the beginning."""
        return f"{self.at[:19]}Z" if self.at else ""

    def reread(self) -> Reading:
        """A reading that begins at `since`."""
        return Reading(self)


class Reading:
    """One answer to a request for a log.

    Args:
        cursor: Where the log was read up to; moved on with every line.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._known_at, self._known = cursor.at, cursor.same
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Line]:
        """The new whole lines of a piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[Line]:
        """The last line, which may lack its end. Only for a log that came to its end: a cut one is read again."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest)

    def _line(self, line: bytes) -> Iterator[Line]:
        at, _, text = line.decode(errors="replace").rstrip("\r").partition(" ")
        cursor = self._cursor
        # Nanoseconds are written without their last zeros, so times of one log compare padded.
        if self._known_at and _padded(at) < _padded(self._known_at):
            return
        if at == self._known_at and self._known > 0:
            self._known -= 1
            return
        cursor.at, cursor.same = at, cursor.same + 1 if at == cursor.at else 1
        yield Line(at, text)


def read(cluster: Cluster, pod: str, *, tail: int | None = None) -> list[Line]:
    """The log as far as it is there; empty where the pod is gone or has not started."""
    reading = Reading(Cursor())
    try:
        lines = [line for piece in cluster.log(pod, follow=False, tail=tail) for line in reading.feed(piece)]
    except (NotFound, RefusedError, Cut):
        return []
    return [*lines, *reading.end()]


class Stream:
    """Follows the log of one pod in a thread of its own.

    Args:
        cluster: Where the pod is.
        pod: Its name.
        line: Told every line.
        over: Told when the container has ended, with what stopped the reading, or None.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        line: Callable[[str], None],
        over: Callable[[KfitError | None], None],
        pause_s: float = 1.0,
    ) -> None:
        self._cluster, self._pod, self._line, self._over, self._pause_s = cluster, pod, line, over, pause_s
        self._cursor = Cursor()
        self._stop = threading.Event()
        threading.Thread(target=self._run, name=f"log of {pod}", daemon=True).start()

    def stop(self) -> None:
        """Reads no further."""
        self._stop.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._read_once():
                self._stop.wait(self._pause_s)
        except NotFound:
            self._over(None)
        except KfitError as fault:
            self._over(fault)
        else:
            self._over(None)

    def _read_once(self) -> bool:
        """Reads until the stream ends; says whether that was the end of the log."""
        reading = self._cursor.reread()
        try:
            for piece in self._cluster.log(self._pod, follow=True, since=self._cursor.since):
                for line in reading.feed(piece):
                    self._line(line.text)
        except Cut:
            return False
        except RefusedError:
            # The container is about to start, or its node does not answer.
            return self._ended()
        if not self._ended():
            return False
        for line in reading.end():
            self._line(line.text)
        return True

    def _ended(self) -> bool:
        pod = self._cluster.get("Pod", self._pod)
        return has_ended(pod) or "terminated" in (trainer_status(pod).get("state") or {})


def _padded(at: str) -> str:
    return at.removesuffix("Z").ljust(29, "0") if "." in at else f"{at.removesuffix('Z')}.".ljust(29, "0")
