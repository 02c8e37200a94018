"""An HTTPS server, proxies and an issuer that write down who asked them, and how."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "api.test", "other.test")
DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates, and puts them into a folder.

    Attributes:
        path: Its own certificate, PEM.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self.path = folder, folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(self._name, self._key.public_key(), authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate, for this machine and for `NAMES`, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), authority=False)
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        return files

    def _sign(self, subject, key, *, authority):
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName(name) for name in NAMES]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        made = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number(), now - DAY, now + DAY)
        made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())


@dataclass(frozen=True)
class Seen:
    """What a request said of who asks, and the way it came."""

    method: str
    path: str
    host: str
    authorization: str
    impersonation: tuple[tuple[str, str], ...]
    certificate: str
    server_name: str


@dataclass
class Recorder:
    """Everything that was written down.

    Attributes:
        url: The HTTPS server. requests: what it saw. ways: what proxies saw. renewals: what the issuer saw.
    """

    url: str = ""
    plain_url: str = ""
    proxy: str = ""
    tls_proxy: str = ""
    socks: str = ""
    requests: list[Seen] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    renewals: list[str] = field(default_factory=list)

    def forget(self) -> None:
        for seen in (self.requests, self.ways, self.renewals):
            seen.clear()


def jwt(expires: int, name: str) -> str:
    """An unsigned token of an issuer."""
    import base64

    parts = ({"alg": "none"}, {"exp": expires, "sub": name})
    body = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{body}.c2ln"


RENEWED = jwt(4_000_000_000, "renewed")


@contextlib.contextmanager
def recording(authority: Authority) -> Iterator[Recorder]:
    """Runs the servers on ports of this machine."""
    recorder = Recorder()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("server"))
    tls.load_verify_locations(authority.path)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.sni_callback = lambda sock, name, _: setattr(sock, "kfit_server_name", name or "")
    proxy_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proxy_tls.load_cert_chain(*authority.issue("proxy"))
    with contextlib.ExitStack() as running:
        https = running.enter_context(_serving(_http(recorder), tls))
        plain = running.enter_context(_serving(_http(recorder)))
        recorder.url, recorder.plain_url = f"https://127.0.0.1:{https}", f"http://127.0.0.1:{plain}"
        recorder.proxy = f"127.0.0.1:{running.enter_context(_serving(_connect(recorder, https)))}"
        recorder.tls_proxy = f"localhost:{running.enter_context(_serving(_connect(recorder, https), proxy_tls))}"
        recorder.socks = f"127.0.0.1:{running.enter_context(_serving(_socks(recorder, https)))}"
        yield recorder


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request, client_address):
        with contextlib.suppress(OSError):  # a client that hangs up, or does not trust us
            if self.tls is not None:
                request.settimeout(10)
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
            if self.tls is not None:
                request.close()


@contextlib.contextmanager
def _serving(handler, tls=None):
    server = _Server(("127.0.0.1", 0), handler)
    server.tls = tls
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _http(recorder):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path.endswith("/.well-known/openid-configuration"):
                self._send({"issuer": recorder.url, "token_endpoint": f"{recorder.url}/token"})
                return
            secured = isinstance(self.connection, ssl.SSLSocket)
            pairs = (self.connection.getpeercert() or {}).get("subject", ()) if secured else ()
            subject = dict(pair[0] for pair in pairs)
            recorder.requests.append(
                Seen(
                    method=self.command,
                    path=self.path,
                    host=self.headers["Host"],
                    authorization=", ".join(self.headers.get_all("Authorization") or []),
                    impersonation=tuple(
                        sorted((n.lower(), v) for n, v in self.headers.items() if n.lower().startswith("impersonate"))
                    ),
                    certificate=subject.get("commonName", ""),
                    server_name=getattr(self.connection, "kfit_server_name", ""),
                )
            )
            self._send({"gitVersion": "v1.37.0", "major": "1", "minor": "37", "metadata": {"name": "a"}})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            recorder.renewals.append("refresh_token=again" if "refresh_token=again" in body else body)
            token = {"access_token": "a", "token_type": "bearer", "expires_in": 3600}
            self._send(token | {"id_token": RENEWED, "refresh_token": "next"})

        def _send(self, document):
            data = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _pipe(one, other, first=b""):
    """Passes bytes on in both directions until one side ends."""

    def copy(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    if first:
        other.sendall(first)
    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join(5)


def _connect(recorder, port):
    """A proxy that takes CONNECT to any name, and leads to the HTTPS server."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_CONNECT(self):
            secured = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
            recorder.ways.append(f"{secured} {self.path} {self.headers.get('Proxy-Authorization', '')}".strip())
            with socket.create_connection(("127.0.0.1", port)) as target:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                _pipe(self.connection, target)

    return Handler


def _socks(recorder, port):
    """A SOCKS5 proxy that leads to the HTTPS server."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            _, count = self._take(2)
            secret = 2 in self._take(count)
            self.request.sendall(b"\x05\x02" if secret else b"\x05\x00")
            who = ""
            if secret:
                who = self._take(self._take(2)[1]).decode()
                who += ":" + self._take(self._take(1)[0]).decode()
                self.request.sendall(b"\x01\x00")
            kind = self._take(4)[3]
            name = self._take(self._take(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self._take(4))
            recorder.ways.append(f"socks {name}:{int.from_bytes(self._take(2), 'big')} {who}".strip())
            with socket.create_connection(("127.0.0.1", port)) as target:
                self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
                _pipe(self.request, target)

        def _take(self, count):
            data = b""
            while len(data) < count:
                data += self.request.recv(count - len(data))
            return data

    return Handler
