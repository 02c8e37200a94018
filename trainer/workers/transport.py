"""Messages between the workers of a run: a JSON object and bytes, over one TCP connection each."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from typing import Any

#: Lengths of the JSON and of the bytes that follow it.
_LENGTHS = struct.Struct(">IQ")
#: What is no message of ours must not make us wait for, or hold, what its first bytes seem to promise.
_MOST_JSON = 16 * 1024**2
_MOST_BODY = 4 * 1024**3

Message = tuple[dict[str, Any], bytes]


class Wire:
    """One connection. Any thread may send; one receives.

    Args:
        connected: The socket.

    Attributes:
        heard_s: When something came last, on the monotonic clock.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sending = threading.Lock()
        self.heard_s = time.monotonic()

    @property
    def host(self) -> str:
        """This end's address, as the other end reaches it."""
        return str(self._socket.getsockname()[0])

    def send(self, kind: str, body: bytes = b"", **values: Any) -> None:
        """Sends a message.

        Raises:
            OSError: The other end is gone.
        """
        head = json.dumps({"kind": kind, **values}).encode()
        with self._sending:
            self._socket.sendall(_LENGTHS.pack(len(head), len(body)) + head + body)

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message.

        Args:
            timeout_s: How long to wait for it; None: for ever.

        Raises:
            TimeoutError: None came.
            OSError: The other end is gone, or is no worker.
        """
        self._socket.settimeout(None if timeout_s is None else max(timeout_s, 0.001))
        try:
            return self._receive()
        finally:
            self._socket.settimeout(None)

    def _receive(self) -> Message:
        head_bytes, body_bytes = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        if head_bytes > _MOST_JSON or body_bytes > _MOST_BODY:
            raise ConnectionError("not a message of a worker")
        try:
            head = json.loads(self._exactly(head_bytes))
        except ValueError as error:
            raise ConnectionError("not a message of a worker") from error
        if not isinstance(head, dict) or "kind" not in head:
            raise ConnectionError("not a message of a worker")
        return head, self._exactly(body_bytes)

    def _exactly(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = self._socket.recv_into(view)
            if not got:
                raise ConnectionError("the connection was closed")
            view = view[got:]
            self.heard_s = time.monotonic()
        return bytes(data)

    def close(self) -> None:
        """Ends the connection, and a `receive` that waits in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
