"""Real Prometheus, promtool and Pushgateway: the machine's own, or unpacked from Debian's packages."""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.servers import free_ports, running

_CACHE = Path(__file__).parent.parent.parent / ".cache" / "tools" / "debian"
_PACKAGES = ("prometheus", "prometheus-pushgateway")
_NAMES = {"pushgateway": "prometheus-pushgateway"}
_MOST_S = 120
_APT = ("apt-get", "-q", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1", "-o", "APT::Sandbox::User=root")


def program(name: str) -> str:
    """The path of `prometheus`, `promtool` or `pushgateway`; skips the test where it is not to be had."""
    for called in (name, _NAMES.get(name, name)):
        if found := shutil.which(called):
            return found
    unpacked = _CACHE / "usr" / "bin" / _NAMES.get(name, name)
    if not unpacked.exists() and (missing := _unpack()):
        pytest.skip(f"no {name} on PATH, and {missing}")
    return str(unpacked)


@functools.cache
def _unpack() -> str:
    """Gets all of them, once for a process; returns why not, where they are not to be had."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "no apt-get to get it with"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:  # several test processes may get here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (_CACHE / "usr").exists():
            return ""
        try:
            part = _CACHE / "part"
            for package in _fetch():
                subprocess.run(["dpkg-deb", "-x", package, part], check=True, capture_output=True, timeout=_MOST_S)
            (part / "usr").rename(_CACHE / "usr")
        except (subprocess.SubprocessError, OSError) as error:
            told = getattr(error, "stderr", None) or b""
            return f"Debian's packages are not to be had: {error} {told.decode(errors='replace')[-300:]}"
    return ""


def _fetch() -> list[Path]:
    """By the machine's package lists, or by lists of our own where those are missing or too old."""
    own = []
    for option, folder in (("Dir::State::lists", "lists"), ("Dir::Cache", "apt")):
        (_CACHE / folder / "partial").mkdir(parents=True, exist_ok=True)
        own += ["-o", f"{option}={_CACHE / folder}"]
    download = ["download", *_PACKAGES]
    options = {"cwd": _CACHE, "capture_output": True, "timeout": _MOST_S}
    if subprocess.run([*_APT, *download], check=False, **options).returncode:
        subprocess.run([*_APT, *own, "update"], check=True, **options)
        subprocess.run([*_APT, *own, *download], check=True, **options)
    return sorted(_CACHE.glob("*.deb"))


@contextmanager
def pushgateway(*flags: str) -> Iterator[str]:
    """The URL of a Pushgateway that keeps what it gets in memory."""
    (port,) = free_ports(1)
    with running([program("pushgateway"), f"--web.listen-address=127.0.0.1:{port}", *flags], port):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every sample of an instant query."""
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=10) as answer:
            return [(s["metric"], float(s["value"][1])) for s in json.load(answer)["data"]["result"]]

    def wait_for(self, expression: str, timeout_s: float = 60.0) -> list[tuple[dict[str, str], float]]:
        """The samples of a query, once there are any."""
        ends = time.monotonic() + timeout_s
        while not (samples := self.query(expression)):
            assert time.monotonic() < ends, f"no sample of {expression}"
            time.sleep(0.2)
        return samples


@contextmanager
def prometheus(folder: Path, *targets: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `host:port` of Pushgateways every second, as docs/metrics.md says."""
    folder.mkdir(parents=True, exist_ok=True)
    scrape = {"job_name": "pushgateway", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    where = f"127.0.0.1:{port}"
    words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with running([program("prometheus"), *words, f"--web.listen-address={where}"], port):
        yield Prometheus(f"http://{where}")
