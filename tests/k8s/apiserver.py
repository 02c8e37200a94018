"""An API server's HTTP, small: objects in memory, or passed on to a real server, and faults on the way.

What the launcher meets on a bad day is at this level: an answer that is lost after its effect, a 429, a
stream that ends in the middle of a line. Behind it may be a dictionary (no cluster needed) or the real thing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from k8s.api import access

#: Gets method and path; says what goes wrong with the request, or None.
Fault = Callable[[str, str], "Wrong | None"]


@dataclass(frozen=True)
class Wrong:
    """What goes wrong.

    Attributes:
        status: Answer with this, without any effect. headers: with these.
        lost: Cut the connection after the effect, without an answer.
        refused: Cut it before any effect.
        cut_after: Cut a stream after so many bytes.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    refused: bool = False
    cut_after: int | None = None


@dataclass
class Answer:
    """What the server behind says: a status and pieces of a body."""

    status: int
    pieces: Iterator[bytes]

    def close(self) -> None:
        """Ends the stream behind."""
        if isinstance(self.pieces, Generator):
            self.pieces.close()


class Memory:
    """Objects in a dictionary: create, read, list by label, replace, merge and delete. No admission, no controllers."""

    def __init__(self) -> None:
        self.objects: dict[str, dict] = {}
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, body: dict | None) -> Answer:
        with self._lock:
            status, document = self._answer(method, urlsplit(target), body)
        return Answer(status, iter([json.dumps(document).encode()]))

    def _answer(self, method, url, body):
        path = url.path
        if path == "/version":
            return 200, {"gitVersion": "v1.34.0"}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return self._status(409, "AlreadyExists", f"{path} already exists")
            return 201, self._keep(path, body)
        if method == "GET" and path not in self.objects and not self._is_object(path):
            wanted = dict(p.split("=") for p in parse_qs(url.query).get("labelSelector", [""])[0].split(",") if p)
            items = [
                o for p, o in sorted(self.objects.items())
                if path in _collections(p) and wanted.items() <= (o["metadata"].get("labels") or {}).items()
            ]  # fmt: skip
            return 200, {"items": items, "metadata": {"resourceVersion": "1"}}
        if path not in self.objects:
            return self._status(404, "NotFound", f"{path} not found")
        stored = self.objects[path]
        if method == "PUT":
            if body["metadata"].get("resourceVersion", "") != stored["metadata"]["resourceVersion"]:
                return self._status(409, "Conflict", "the object has been modified")
            unchanged = {k: v for k, v in body.items() if k != "metadata"} == {
                k: v for k, v in stored.items() if k != "metadata"
            }
            return 200, stored if unchanged else self._keep(path, body)
        if method == "PATCH":
            return 200, self._keep(path, merged(stored, body))
        if method == "DELETE":
            del self.objects[path]
        return 200, stored

    def _keep(self, path, body):
        meta = {"uid": f"uid-{path}", "creationTimestamp": "2026-01-01T00:00:00Z", **body["metadata"]}
        self.objects[path] = {**body, "metadata": {**meta, "resourceVersion": str(next(self._versions))}}
        return self.objects[path]

    @staticmethod
    def _is_object(path):
        return len(path.partition("/namespaces/")[2].split("/")) == 3

    @staticmethod
    def _status(code, reason, message):
        return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


def _collections(path):
    """The paths of the lists that hold an object: of its namespace, and of all."""
    own = path.rpartition("/")[0]
    before, _, behind = own.partition("/namespaces/")
    return own, f"{before}/{behind.partition('/')[2]}"


def merged(stored, change):
    """RFC 7386."""
    if not isinstance(change, dict) or not isinstance(stored, dict):
        return change
    keys = {**stored, **change}
    return {k: merged(stored.get(k), v) if k in change else v for k, v in keys.items() if change.get(k, 0) is not None}


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection with what the server behind says, unless a fault applies; `api` is set in a subclass."""

    api: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.api.requests.append((self.command, self.path))
        self.api.headers.append(self.headers)
        wrong = next((w for f in self.api.faults if (w := f(self.command, self.path))), Wrong())
        if wrong.refused:
            self._hang_up()
        elif wrong.status:
            self._send(wrong.status, b'{"message": "made so by the test"}', wrong.headers)
        else:
            answer = self.api.behind.answer(self.command, self.path, body)
            if wrong.lost:
                answer.close()
                self._hang_up()
            else:
                self._stream(answer, wrong.cut_after)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _send(self, status, data, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer, cut_after):
        self.send_response(answer.status)
        for text in self.api.warnings:
            self.send_header("Warning", text)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = cut_after
        for piece in answer.pieces:
            sent = piece if left is None else piece[:left]
            if sent:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent))
                self.wfile.flush()
            left = None if left is None else left - len(sent)
            if left == 0:
                answer.close()
                self._hang_up()
                return
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self):
        self.close_connection = True
        self.connection.shutdown(2)


class Server:
    """Serves what lies behind it on a port of this machine, with faults.

    Attributes:
        faults: Asked in turn for every request.
        requests: Method and path of all requests, in order.
        headers: Their headers.
        warnings: `Warning:` headers of every answer.
        url: Its address; https with TLS settings.
    """

    def __init__(self, behind, tls: ssl.SSLContext | None = None) -> None:
        self.behind, self.faults, self.requests, self.headers, self.warnings = behind, [], [], [], []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def access(self, folder: Path, user: dict | None = None, **cluster) -> access.Access:
        """The way to it, by a kubeconfig that is written into a folder."""
        return access.load(kubeconfig(folder / "kubeconfig", self.url, user, **cluster), None, None)


def kubeconfig(path: Path, url: str, user: dict | None = None, **cluster) -> str:
    """Writes a kubeconfig with one context, `test`, in namespace `ml`; returns its path."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(document))
    return str(path)


def times(count: int, wrong: Wrong, method: str = "", path: str = "") -> Fault:
    """The same fault for the first so many requests that match."""
    left = itertools.count()

    def fault(asked: str, target: str) -> Wrong | None:
        if (not method or asked == method) and path in target and next(left) < count:
            return wrong
        return None

    return fault
