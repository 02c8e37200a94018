"""Bytes to and from an API server: connections, time limits, and what is tried again.

Standard library only: the package `kubernetes` takes longer to import than a whole `kfit status` may take.
Every request of the launcher may be sent twice without harm: names are decided before the first try, so a
second POST meets the first one's object and never makes another.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from k8s.api.access import Access, Credentials
from k8s.api.connection import connect
from k8s.errors import ClusterError

ANSWER_S = 30.0
#: How long one request is tried again.
PATIENCE_S = 20.0
_AGAIN = {429, 500, 502, 503, 504}
_JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: GET, POST, PUT, PATCH or DELETE.
        path: Below the server's URL.
        query: Its query; empty values are left out.
        body: Sent as JSON.
        content_type: Of the body.
        accept: What the answer may be.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = _JSON
    accept: str = _JSON


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        data: The body.
        tries: Times it was sent, the answered one included. Above 1 an earlier try may have had its effect.
    """

    status: int
    data: bytes
    tries: int


class Broken(Exception):
    """A stream ended before its end."""


class Transport:
    """Connections to one API server; usable from several threads.

    Args:
        access: The server and who asks.
        patience_s: How long a request is tried again.
        clock: Monotonic seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        access: Access,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access, self._patience_s, self._clock, self._sleep = access, patience_s, clock, sleep
        self._url = urlsplit(access.server)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False
        self._credentials: Credentials | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._access.server

    def send(self, request: Request) -> Reply:
        """Sends a request until it is answered with something else than "later".

        Raises:
            ClusterError: Nothing answered in time.
        """
        ends = self._clock() + self._patience_s
        tries, pause_s, renewed = 0, 0.2, False
        while True:
            tries += 1
            try:
                status, data, later_s, resent = self._once(request)
                tries += resent
            except (OSError, http.client.HTTPException) as lost:
                if self._clock() + pause_s > ends or not _worth_another_try(lost):
                    raise self._unreachable(lost) from lost
                status, data, later_s = 0, b"", 0.0
            if status == 401 and not renewed:
                renewed = True
                self._forget_credentials()
                continue
            if status and (status not in _AGAIN or self._clock() + max(pause_s, later_s) > ends):
                return Reply(status, data, tries)
            self._sleep(max(pause_s, later_s))
            pause_s = min(pause_s * 2, 4.0)

    def stream(self, request: Request, quiet_s: float) -> Iterator[bytes]:
        """The body of a long answer, piece by piece; an empty piece first, when the answer begins.

        Args:
            request: What is asked.
            quiet_s: A stream without a byte for so long counts as cut: it may be, and asking again is cheap.

        Raises:
            Broken: The stream was cut, or there is no connection.
            Refused: The answer is no success.
        """
        try:
            with self._answered(request, quiet_s) as response:
                yield b""
                while piece := response.read1(65536):
                    yield piece
        except (OSError, http.client.HTTPException, ValueError) as lost:
            raise Broken(_plain(lost)) from lost

    @contextmanager
    def _answered(self, request: Request, quiet_s: float) -> Iterator[http.client.HTTPResponse]:
        for renewed in (False, True):
            connection = self._connect()
            try:
                response = self._ask(connection, request, ANSWER_S)
                if response.status == 401 and not renewed:
                    self._forget_credentials()
                    continue
                if response.status != 200:
                    raise Refused(Reply(response.status, response.read(), 1))
                connection.sock.settimeout(quiet_s)
                yield response
                return
            finally:
                connection.close()

    def _once(self, request: Request) -> tuple[int, bytes, float, bool]:
        """Status, body, the seconds the server asks to wait, and whether it was sent twice."""
        connection, used = self._take()
        resent = False
        try:
            try:
                response = self._ask(connection, request, ANSWER_S)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                if not used:
                    raise
                # The server closed a connection that lay idle; that is no fault.
                connection.close()
                connection, resent = self._connect(), True
                response = self._ask(connection, request, ANSWER_S)
            data = response.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            keep = not (response.will_close or self._closed)
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        after = response.headers.get("Retry-After", "")
        return response.status, data, float(after) if after.isdigit() else 0.0, resent

    def _ask(
        self, connection: http.client.HTTPConnection, request: Request, answer_s: float
    ) -> http.client.HTTPResponse:
        query = urlencode({k: v for k, v in request.query.items() if v})
        path = self._url.path + request.path + (f"?{query}" if query else "")
        headers = {"Accept": request.accept, "User-Agent": "kfit", **self._who().headers}
        body = None
        if request.body is not None:
            body = json.dumps(request.body, separators=(",", ":")).encode()
            headers["Content-Type"] = request.content_type
        if connection.sock is not None:
            connection.sock.settimeout(answer_s)
        connection.request(request.method, path, body, headers)
        return connection.getresponse()

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return self._connect(), False

    def _connect(self) -> http.client.HTTPConnection:
        return connect(self._access.server, self._access.cluster, self._context)

    def _who(self) -> Credentials:
        with self._lock:
            if self._credentials is None:
                self._credentials = self._access.credentials()
            return self._credentials

    def _context(self) -> ssl.SSLContext:
        who = self._who()
        with self._lock:
            if self._tls is None:
                self._tls = self._access.tls(who)
            return self._tls

    def close(self) -> None:
        """Closes the connections that lie idle; others close when their request is done."""
        with self._lock:
            self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _forget_credentials(self) -> None:
        self._drop_idle()
        with self._lock:
            self._credentials = self._tls = None

    def _unreachable(self, lost: Exception) -> ClusterError:
        if isinstance(lost, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted: {lost.verify_message}"
            remedy = "the kubeconfig's certificate-authority is not this server's; write the kubeconfig again"
        else:
            what = f"the API server does not answer: {_plain(lost)}"
            remedy = f"is it the right one? --context chooses; this is {self._access.context!r}"
        return ClusterError(what, where=self._access.server, remedy=remedy)


class Refused(Exception):
    """A stream was answered with no success.

    Args:
        reply: The answer.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


def _worth_another_try(lost: Exception) -> bool:
    """A name that does not exist and a certificate that is wrong stay so."""
    return not isinstance(lost, ssl.SSLCertVerificationError | socket.gaierror)


def _plain(lost: Exception) -> str:
    if isinstance(lost, TimeoutError):
        return f"nothing within {ANSWER_S:g} s"
    return (lost.strerror if isinstance(lost, OSError) else None) or str(lost) or type(lost).__name__
