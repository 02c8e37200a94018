"""A webhook's receiver on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar


class Receiver(BaseHTTPRequestHandler):
    """Answers with the codes of `answers`, the last of them for ever, and keeps what it got."""

    answers: ClassVar[list[int]] = [200]
    got: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    moved_to: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.got.append((dict(self.headers), b""))
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        self.send_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        if self.moved_to:
            self.send_header("Location", self.moved_to)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def listening() -> Iterator[tuple[str, type[Receiver]]]:
    """The URL to post to, and what has arrived there."""
    Receiver.answers, Receiver.got, Receiver.moved_to = [200], [], ""
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", Receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
