"""Faults and delays on the wire: toxiproxy in front of a server that tests and benchmarks run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers import free_ports


class Proxy:
    """A way to a server that can be hurt.

    Args:
        api: Toxiproxy's own URL.
        port: Where the way begins.
        upstream: host:port of the server.

    Attributes:
        endpoint: URL of the way.
        process: Toxiproxy's.
    """

    def __init__(self, api: str, port: int, upstream: str, process: int) -> None:
        self.process = process
        self._api, self._upstream = api, upstream
        self.endpoint = f"http://127.0.0.1:{port}"
        self._call("POST", "/proxies", {"name": "s3", "listen": f"127.0.0.1:{port}", "upstream": upstream})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        request = urllib.request.Request(
            self._api + path, method=method, data=json.dumps(body).encode() if body is not None else None
        )
        with urllib.request.urlopen(request, timeout=5):
            pass

    def toxic(self, kind: str, stream: str = "downstream", **attributes: int) -> None:
        """Adds a fault."""
        self._call("POST", "/proxies/s3/toxics", {"type": kind, "stream": stream, "attributes": attributes})

    def send_to(self, upstream: str | None) -> None:
        """Another server behind the same address; None: the real one."""
        self._call("POST", "/proxies/s3", {"upstream": upstream or self._upstream, "enabled": True})

    def heal(self) -> None:
        """Takes all faults away."""
        self._call("POST", "/reset")
        self.send_to(None)


@contextmanager
def toxiproxy(server: str) -> Iterator[Proxy]:
    """A running toxiproxy in front of the server at a URL."""
    api, port = free_ports(2)
    running = subprocess.Popen(
        [shutil.which("toxiproxy-server") or "toxiproxy-server", "-port", str(api)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{api}/version", timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        yield Proxy(f"http://127.0.0.1:{api}", port, server.removeprefix("http://"), running.pid)
    finally:
        running.kill()
        running.wait()
