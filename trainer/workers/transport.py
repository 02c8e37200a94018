"""Framed messages (a JSON object and bytes) over one TCP connection between two workers."""

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
#: Limits on frames, so that a faulty peer cannot make this process allocate without bound.
MOST_JSON_BYTES = 16 * 1024**2
MOST_BODY_BYTES = 1024**3

Message = tuple[dict[str, Any], bytes]


class Connection:
    """One connection. Any thread may send; only one thread may receive.

    Args:
        connected: The socket; the connection owns and closes it.

    Attributes:
        heard_s: When the last byte arrived, on the monotonic clock.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sending = threading.Lock()
        self.heard_s = time.monotonic()

    def send(self, kind: str, body: bytes = b"", **values: Any) -> None:
        """Sends one message; blocks while the other end does not read.

        Args:
            kind: What the message is.
            body: Bytes that follow the JSON.
            **values: JSON values, beside `kind`.

        Raises:
            OSError: The connection is closed or broken.
        """
        head = json.dumps({"kind": kind, **values}).encode()
        with self._sending:
            self._socket.sendall(_LENGTHS.pack(len(head), len(body)) + head)
            self._socket.sendall(body)

    def receive(
        self,
        timeout_s: float | None = None,
        *,
        most_json_bytes: int = MOST_JSON_BYTES,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> Message:
        """Waits for the next message.

        Args:
            timeout_s: Time for the whole message; None waits for ever.
            most_json_bytes: A message whose JSON is longer is refused before it is read.
            most_body_bytes: A message whose body is longer is refused before it is read.

        Returns:
            The JSON object, which has a `kind`, and the body.

        Raises:
            TimeoutError: The message did not arrive in time.
            OSError: The connection ended, or the other end does not speak this protocol.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        head_bytes, body_bytes = _LENGTHS.unpack(self.read_exactly(_LENGTHS.size, until_s))
        if head_bytes > most_json_bytes or body_bytes > most_body_bytes:
            raise ConnectionError("the message exceeds the limits of a frame")
        try:
            head = json.loads(self.read_exactly(head_bytes, until_s))
        except ValueError as error:
            raise ConnectionError("the message is not JSON") from error
        if not isinstance(head, dict) or not isinstance(head.get("kind"), str):
            raise ConnectionError("the message has no kind")
        return head, self.read_exactly(body_bytes, until_s)

    def write(self, data: bytes) -> None:
        """Sends bytes without a frame, for the handshake.

        Raises:
            OSError: The connection is closed or broken.
        """
        with self._sending:
            self._socket.sendall(data)

    def read_exactly(self, count: int, until_s: float | None) -> bytes:
        """Reads a fixed number of bytes.

        Args:
            count: How many.
            until_s: When to give up, on the monotonic clock; None waits for ever.

        Raises:
            TimeoutError: They did not arrive in time.
            OSError: The connection ended.
        """
        data = bytearray(count)
        view = memoryview(data)
        try:
            while view:
                if until_s is not None:
                    self._socket.settimeout(max(until_s - time.monotonic(), 0.001))
                received = self._socket.recv_into(view)
                if not received:
                    raise ConnectionError("the connection was closed")
                view = view[received:]
                self.heard_s = time.monotonic()
        finally:
            if until_s is not None:
                self._socket.settimeout(None)
        return bytes(data)

    @property
    def closed(self) -> bool:
        """Whether this end has been closed."""
        return self._socket.fileno() == -1

    def close(self) -> None:
        """Closes the connection; ends a `send` or `receive` that waits in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
