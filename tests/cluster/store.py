"""A SeaweedFS S3 server on an address that pods reach."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY, _SECRET = "cluster-tester", "cluster-tester-secret"


@dataclass(frozen=True)
class Store:
    """A running S3 server.

    Attributes:
        host: Its address. port: its port.
        lake: Where the data lies. models: where runs write.
    """

    host: str
    port: int
    lake: str = "s3://lake/flights"
    models: str = "s3://models"

    @property
    def environment(self) -> dict[str, str]:
        """How every S3 tool is told of it."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}:{self.port}",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def upload(self, files: list[Path], root: Path) -> None:
        """Copies files into the lake, under their paths below a root."""
        from trainer import storage

        for file in files:
            storage.write(f"{self.lake}/{file.relative_to(root)}", file.read_bytes())


@contextlib.contextmanager
def serve(host: str, folder: Path) -> Iterator[Store]:
    """Starts it, with its buckets, and ends it."""
    actions = ["Admin", "Read", "List", "Write", "Tagging"]
    identity = {"name": "t", "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(host, 8)
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    options = [f"-{n}={p}" for n, p in zip(names, ports[:4], strict=True)]
    options += [f"-{n}.grpc={p}" for n, p in zip(names, ports[4:], strict=True)]
    weed = Path(sys.executable).parent / "weed"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(str(weed), "server", f"-dir={folder}", f"-ip={host}", f"-ip.bind={host}", "-s3", *options),
                *(f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=0"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            store = Store(host, ports[3])
            _wait(server, store, folder / "log")
            yield store
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen[bytes], store: Store, log: Path, timeout_s: float = 60.0) -> None:
    import fsspec
    from botocore.exceptions import BotoCoreError

    ends = time.monotonic() + timeout_s
    fs = fsspec.filesystem(
        "s3",
        key=_KEY,
        secret=_SECRET,
        client_kwargs={"endpoint_url": store.environment["AWS_ENDPOINT_URL"], "region_name": "us-east-1"},
        config_kwargs={"s3": {"addressing_style": "path"}},
        skip_instance_cache=True,
    )
    while True:
        try:
            for bucket in ("lake", "models"):
                if not fs.exists(bucket):
                    fs.mkdir(bucket)
            fs.pipe_file("lake/ready", b"yes")
            return
        except (OSError, BotoCoreError) as not_yet:
            if server.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"SeaweedFS did not start: {not_yet}\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)


def _free_ports(host: str, count: int) -> list[int]:
    found: list[int] = []
    candidate = 21_000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            if probe.connect_ex((host, candidate)):
                found.append(candidate)
    return found
