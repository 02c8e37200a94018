"""Requests to an API server that outlast a bad moment: what is sent again, how often, and what a person is told.

Every request of the launcher may be sent twice without harm: names are decided before the first try, so a
second POST meets the first one's object and never makes another.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from k8s.api.access import Access
from k8s.api.messages import Reply, Request
from k8s.errors import ClusterError
from trainer.progress import terminal

if TYPE_CHECKING:
    import urllib3

    from k8s.api.connection import Connection

ANSWER_S = 30.0
#: How long one request is tried again.
PATIENCE_S = 20.0
_AGAIN = {429, 500, 502, 503, 504}
#: A `Warning:` header of the API server: code, agent, quoted text (RFC 7234).
_WARNING = re.compile(r'\b\d{3} \S+ "((?:[^"\\]|\\.)*)"')


class Broken(Exception):
    """A stream ended before its end."""


class Refused(Exception):
    """A stream was answered with no success.

    Args:
        reply: The answer.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


class Transport:
    """Sends requests to one API server; usable from several threads.

    Args:
        access: The server and who asks.
        patience_s: How long a request is tried again.
        answer_s: How long one answer may take.
        clock: Monotonic seconds.
        sleep: Waits so many seconds.
        trace: Gets one line for every request: method, URL, status and milliseconds. None: nobody asks.
    """

    def __init__(
        self,
        access: Access,
        patience_s: float = PATIENCE_S,
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._access, self._patience_s, self._answer_s = access, patience_s, answer_s
        self._clock, self._sleep, self._trace = clock, sleep, trace
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._warned: set[str] = set()

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._access.server

    def send(self, request: Request) -> Reply:
        """Sends a request until it is answered with something else than "later".

        Raises:
            AccessError: There are no credentials that can be sent.
            ClusterError: Nothing answered in time.
        """
        ends = self._clock() + self._patience_s
        tries, pause_s, renewed = 0, 0.0, False
        while True:
            tries += 1
            connection = self._connect()
            try:
                with closing(self._call(connection, request, self._answer_s)) as answer:
                    status, data = answer.status, answer.data
                    asked = answer.headers.get("Retry-After", "")
                later_s = float(asked) if asked.isdigit() else 0.0
            except self._lost() as lost:
                if self._clock() + pause_s > ends or not _worth_another_try(lost):
                    raise self._unreachable(lost) from lost
                status, data, later_s = 0, b"", 0.0
            if status == 401 and not renewed:
                renewed = True
                self._renew(connection)
                continue
            # A connection that lay idle and was closed costs no time: the second try comes at once.
            pause_s = pause_s if status == 0 else max(pause_s, 0.2)
            if status and (status not in _AGAIN or self._clock() + max(pause_s, later_s) > ends):
                return Reply(status, data, tries)
            wait_s = max(pause_s, later_s)
            if wait_s:
                self._sleep(wait_s)
            pause_s = min(max(pause_s, 0.1) * 2, 4.0)

    def stream(self, request: Request, quiet_s: float) -> Iterator[bytes]:
        """Yields the body of a long answer piece by piece; an empty piece first, when the answer begins.

        Args:
            request: What is asked.
            quiet_s: A stream without a byte for so long counts as cut: it may be, and asking again is cheap.

        Raises:
            Broken: The stream was cut, or there is no connection.
            Refused: The answer is no success.
        """
        try:
            with closing(self._answer(request, quiet_s)) as answer:
                if answer.status != 200:
                    raise Refused(Reply(answer.status, answer.data, 1))
                yield b""
                while piece := answer.read1(65536):
                    yield piece
        except self._lost() as lost:
            raise Broken(_plain(lost)) from lost

    def close(self) -> None:
        """Closes the connections that lie idle."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _answer(self, request: Request, quiet_s: float) -> urllib3.HTTPResponse:
        connection = self._connect()
        answer = self._call(connection, request, quiet_s)
        if answer.status != 401:
            return answer
        answer.close()
        self._renew(connection)
        return self._call(self._connect(), request, quiet_s)

    def _call(self, connection: Connection, request: Request, read_s: float) -> urllib3.HTTPResponse:
        began = self._clock()
        answer = connection.call(request, read_s)
        if self._trace is not None:
            query = "&".join(f"{key}={value}" for key, value in request.query.items() if value)
            url = f"{self.server}{request.path}{f'?{query}' if query else ''}"
            self._trace(f"{request.method} {url} {answer.status} in {1000 * (self._clock() - began):.0f} ms")
        for header in answer.headers.getlist("Warning"):
            for text in _WARNING.findall(header):
                self._warn_once(re.sub(r"\\(.)", r"\1", text))
        return answer

    def _warn_once(self, text: str) -> None:
        """Shows a warning of the API server on stderr, unless it was shown before."""
        with self._lock:
            new = text not in self._warned
            self._warned.add(text)
        if new:
            terminal.warn(text)

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._access.connect()
            connection = self._connection
        if not connection.verifies_tls:
            self._warn_once(f"the certificate of {self.server} is not checked (insecure-skip-tls-verify)")
        return connection

    def _renew(self, refused: Connection) -> None:
        """Has the next request read files and ask plugins anew, unless another thread has done so."""
        with self._lock:
            if self._connection is refused:
                self._connection = None
        refused.close()

    @staticmethod
    def _lost() -> tuple[type[Exception], ...]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        return (HTTPError, ApiException, OSError)

    def _unreachable(self, lost: Exception) -> ClusterError:
        untrusted = _cause(lost, ssl.SSLCertVerificationError)
        if isinstance(untrusted, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted: {untrusted.verify_message}"
            remedy = "the kubeconfig's certificate-authority is not this server's; write the kubeconfig again"
        else:
            what = f"the API server does not answer: {_plain(lost)}"
            remedy = f"is it the right one? --context chooses; this is {self._access.context!r}"
        return ClusterError(what, where=self._access.server, remedy=remedy)


def _worth_another_try(lost: Exception) -> bool:
    """Returns False for what stays so: a name that does not exist, a certificate that is wrong, a URL that is none."""
    from urllib3.exceptions import LocationValueError

    return _cause(lost, ssl.SSLCertVerificationError, socket.gaierror, LocationValueError) is None


def _cause(lost: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """Returns the error of one of the kinds that lies behind another; urllib3 keeps it as an argument."""
    seen: list[BaseException] = [lost]
    for error in seen:
        if isinstance(error, kinds):
            return error
        behind = [error.__cause__, error.__context__, getattr(error, "original_error", None), *error.args]
        seen += [e for e in behind if isinstance(e, BaseException) and e not in seen]
    return None


def _plain(lost: Exception) -> str:
    from urllib3.exceptions import TimeoutError as NoAnswer

    error = _cause(lost, OSError)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    timed_out = _cause(lost, NoAnswer, TimeoutError) is not None
    return "nothing within the time limit" if timed_out else str(lost) or type(lost).__name__
