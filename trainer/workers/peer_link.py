"""One peer's connection with two threads of its own, so that a slow peer delays nobody else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from trainer.workers.transport import Connection, Message

#: An idle connection carries a heartbeat this often.
HEARTBEAT_S = 2.0
_HEARTBEAT = "heartbeat"


class PeerLink:
    """Sends queued messages and heartbeats, and hands on what arrives.

    Args:
        connection: To the peer; the link owns and closes it.
        received: Called from the reading thread with each message that is not a heartbeat.
        ended: Called once, from one of the two threads, when the connection breaks or is closed.
    """

    def __init__(self, connection: Connection, received: Callable[[Message], None], ended: Callable[[], None]) -> None:
        self._connection, self._received, self._on_end = connection, received, ended
        self._changed = threading.Condition()
        self._outbox: deque[tuple[str, bytes, dict[str, Any]]] = deque()
        self._ended = False
        for name, target in (("send", self._send_all), ("read", self._read_all)):
            threading.Thread(target=target, name=f"kfit-peer-{name}", daemon=True).start()

    @property
    def heard_s(self) -> float:
        """When the peer's last byte arrived, on the monotonic clock."""
        return self._connection.heard_s

    def post(self, kind: str, body: bytes = b"", **values: Any) -> None:
        """Queues a message; never blocks. After the end of the connection it is dropped."""
        with self._changed:
            if not self._ended:
                self._outbox.append((kind, body, values))
                self._changed.notify_all()

    def wait_until_sent(self, timeout_s: float) -> bool:
        """Waits until the queue is empty or the connection has ended; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._outbox, timeout_s)

    def close(self) -> None:
        """Closes the connection; what is queued is dropped."""
        self._end()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outbox or self._ended, HEARTBEAT_S)
                if self._ended:
                    return
                message = self._outbox[0] if self._outbox else None
            kind, body, values = message or (_HEARTBEAT, b"", {})
            try:
                self._connection.send(kind, body, **values)
            except OSError:
                self._end()
                return
            with self._changed:
                if message is not None and self._outbox:
                    self._outbox.popleft()
                    self._changed.notify_all()

    def _read_all(self) -> None:
        try:
            while True:
                message = self._connection.receive()
                if message[0]["kind"] != _HEARTBEAT:
                    self._received(message)
        except OSError:
            self._end()

    def _end(self) -> None:
        with self._changed:
            first, self._ended = not self._ended, True
            self._outbox.clear()
            self._changed.notify_all()
        self._connection.close()
        if first:
            self._on_end()
