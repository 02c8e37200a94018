"""A dataset in an object store behind a slow network: SeaweedFS through toxiproxy, 20 ms a request and 1 GB/s.

Both stand for other machines, so they run here at the lowest priority.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from rich.console import Console

from tests.faults.wire import toxiproxy
from tests.servers import environment, seaweed
from trainer import storage

LATENCY_MS, KB_PER_S = 20, 1_000_000


@dataclass(frozen=True)
class RemoteDataset:
    """A dataset's URI, the environment variables that reach it, and the ids of the processes that serve it."""

    uri: str
    environ: Mapping[str, str]
    servers: tuple[int, ...]


def _lower_priority(process: int) -> None:
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)


@contextmanager
def behind_slow_network(folder: Path, console: Console) -> Iterator[RemoteDataset | None]:
    """Copies a dataset to S3. Yields None, and prints why, where toxiproxy is not installed."""
    if shutil.which("toxiproxy-server") is None:
        console.print("skipped: S3 through toxiproxy; no toxiproxy-server on PATH", style="yellow")
        yield None
        return
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfit-slow-store-")))
        server = stack.enter_context(seaweed(scratch / "s3"))
        uri = f"s3://{server.bucket}/{folder.name}"
        with mock.patch.dict(os.environ, environment(server.endpoint)):
            storage.upload_folder(folder, uri)
        proxy = stack.enter_context(toxiproxy(server.endpoint))
        proxy.toxic("latency", "upstream", latency=LATENCY_MS)
        proxy.toxic("bandwidth", rate=KB_PER_S)
        servers = (server.process, proxy.process)
        for process in servers:
            _lower_priority(process)
        yield RemoteDataset(uri, environment(proxy.endpoint), servers)
