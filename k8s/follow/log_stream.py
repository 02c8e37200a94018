"""Logs of a pod, line by line, none lost and none twice, however often the stream breaks."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from k8s.api.client import Cluster, Cut
from k8s.errors import NotFound, RefusedError
from k8s.status.pods import ended
from trainer.errors import KfitError

#: Before a broken stream is requested again.
_PAUSE_S = 1.0
#: Begins a line that the trainer writes for the launcher.
EVENT = '{"kfit"'
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Line(NamedTuple):
    """A line of a log, and when it was written, RFC 3339."""

    at: str
    text: str


class LogReader:
    """Splits a log into lines and drops those that were read before, when it is requested again.

    The API server takes whole seconds as a beginning, so a log that is requested again begins with lines that were
    read before. Each line carries its time to the nanosecond, in the node's own zone: older ones are left out, and
    of those with exactly the time of the last one as many as were read.
    """

    def __init__(self) -> None:
        # Time of the last line, in nanoseconds since the epoch, and how many lines were read with that time.
        self._at_ns: int | None = None
        self._same = 0
        self.restart()

    @property
    def since(self) -> str:
        """The second to request the log from, RFC 3339 in UTC; empty before the first line."""
        return "" if self._at_ns is None else rfc3339(self._at_ns / 1e9)

    def restart(self) -> None:
        """Begins to read the log as requested again from `since`."""
        self._known_ns, self._known, self._rest = self._at_ns, self._same, b""

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Yields the new whole lines of a piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[Line]:
        """Yields the last line, which may lack its end. Only for a log that is complete: a cut one is read again."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest)

    def _line(self, line: bytes) -> Iterator[Line]:
        at, _, text = line.decode(errors="replace").rstrip("\r").partition(" ")
        at_ns = nanoseconds(at)
        if at_ns is None:  # not written by a kubelet: shown, and no place to come back to
            yield Line("", line.decode(errors="replace").rstrip("\r"))
            return
        if self._known_ns is not None and at_ns < self._known_ns:
            return
        if at_ns == self._known_ns and self._known > 0:
            self._known -= 1
            return
        self._at_ns, self._same = at_ns, self._same + 1 if at_ns == self._at_ns else 1
        yield Line(at, text)


def nanoseconds(at: str) -> int | None:
    """Returns an RFC 3339 time with any offset in nanoseconds since the epoch; None where it is no such time."""
    match = _TIME.fullmatch(at)
    if match is None:
        return None
    seconds = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    return int(seconds) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def rfc3339(at_s: float) -> str:
    """Returns the whole second of a time since the epoch, RFC 3339 in UTC."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(cluster: Cluster, pod: str, *, tail: int | None = None, since: str = "") -> list[Line]:
    """Returns the log as far as it is there; empty where the pod is gone or has not started."""
    reader = LogReader()
    try:
        pieces = cluster.log(pod, follow=False, tail=tail, since=since)
        lines = [line for piece in pieces for line in reader.feed(piece)]
    except (NotFound, RefusedError, Cut):
        return []
    return [*lines, *reader.end()]


class Stream:
    """Follows the log of one pod in a thread of its own.

    Args:
        cluster: The pod's namespace.
        pod: Its name.
        on_line: Called with every line.
        on_end: Called when the container has ended, with what stopped the reading, or None.
        tail: Begin with the newest so many lines.
        since: Begin at this second, RFC 3339.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        on_line: Callable[[Line], None],
        on_end: Callable[[KfitError | None], None],
        *,
        tail: int | None = None,
        since: str = "",
    ) -> None:
        self._cluster, self._pod, self._on_line, self._on_end = cluster, pod, on_line, on_end
        self._tail, self._since = tail, since
        self._reader = LogReader()
        self._stop = threading.Event()
        threading.Thread(target=self._run, name=f"log of {pod}", daemon=True).start()

    def stop(self) -> None:
        """Reads no further."""
        self._stop.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._read_once():
                self._stop.wait(_PAUSE_S)
        except KfitError as fault:
            self._on_end(None if isinstance(fault, NotFound) else fault)
        else:
            self._on_end(None)

    def _read_once(self) -> bool:
        """Reads until the stream ends; returns whether that was the end of the log."""
        reader = self._reader
        reader.restart()
        # --tail and --since say where to begin; after the first line the reader does.
        since, tail = (reader.since, None) if reader.since else (self._since, self._tail)
        try:
            for piece in self._cluster.log(self._pod, follow=True, since=since, tail=tail):
                for line in reader.feed(piece):
                    self._on_line(line)
        except Cut:
            return False
        except RefusedError:
            # The container is about to start, or its node does not answer.
            return self._ended()
        if not self._ended():
            return False
        for line in reader.end():
            self._on_line(line)
        return True

    def _ended(self) -> bool:
        return ended(self._cluster.get("Pod", self._pod)) is not None
