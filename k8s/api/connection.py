"""How a connection to an API server is made: proxies, TLS, another name on its certificate."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

CONNECT_S = 5.0


def connect(server: str, cluster: Mapping[str, Any], tls: Callable[[], ssl.SSLContext]) -> http.client.HTTPConnection:
    """An open connection.

    Args:
    server: The server's URL.
    cluster: The kubeconfig's `cluster`: `proxy-url` and `tls-server-name` are heeded.
    tls: Gives the TLS settings, where they are needed.
    """
    url = urlsplit(server)
    host, port = str(url.hostname or ""), url.port
    proxy = _proxy(url, cluster)
    at, at_port = (str(proxy.hostname or ""), proxy.port or 3128) if proxy else (host, port)
    if url.scheme == "https":
        name = str(cluster.get("tls-server-name") or "")
        connection: http.client.HTTPConnection = _Https(at, at_port, tls(), name)
        if proxy:
            connection.set_tunnel(host, port or 443)
    else:
        connection = http.client.HTTPConnection(at, at_port, timeout=CONNECT_S)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def _proxy(url: SplitResult, cluster: Mapping[str, Any]) -> SplitResult | None:
    own = cluster.get("proxy-url")
    if own:
        return urlsplit(str(own))
    if not any(key.lower().endswith("_proxy") for key in os.environ):
        return None
    from urllib import request  # only where it is needed: it imports a mail parser

    found = request.getproxies().get(url.scheme)
    return urlsplit(found) if found and not request.proxy_bypass(str(url.hostname)) else None


class _Https(http.client.HTTPSConnection):
    """HTTPS that can check the server's certificate against another name than its address."""

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=CONNECT_S, context=tls)
        self._own_tls, self._name = tls, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        tunnel = getattr(self, "_tunnel_host", None)
        self.sock = self._own_tls.wrap_socket(self.sock, server_hostname=self._name or tunnel or self.host)
