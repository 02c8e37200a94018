"""A set behind a slow way: SeaweedFS through toxiproxy, 20 ms a request and 1 GB/s.

Both are to stand for machines elsewhere, so they run at the lowest priority of this one.
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

from tests.servers import environment, seaweed
from tests.wire import toxiproxy
from trainer import storage

LATENCY_MS, KB_PER_S = 20, 1_000_000


@dataclass(frozen=True)
class Far:
    """A set's URI, the environment that leads there, and the processes that serve it."""

    uri: str
    environ: Mapping[str, str]
    servers: tuple[int, ...]


def _stand_aside(process: int) -> None:
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)


@contextmanager
def far_away(folder: Path, console: Console) -> Iterator[Far | None]:
    """Copies a set to S3; None, and a line that says why, where there is no toxiproxy."""
    if shutil.which("toxiproxy-server") is None:
        console.print("skipped: S3 through toxiproxy; no toxiproxy-server on PATH", style="yellow")
        yield None
        return
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfit-far-")))
        server = stack.enter_context(seaweed(scratch / "s3"))
        uri = f"s3://{server.bucket}/{folder.name}"
        with mock.patch.dict(os.environ, environment(server.endpoint)):
            storage.upload_folder(folder, uri)
        proxy = stack.enter_context(toxiproxy(server.endpoint))
        proxy.toxic("latency", "upstream", latency=LATENCY_MS)
        proxy.toxic("bandwidth", rate=KB_PER_S)
        servers = (server.process, proxy.process)
        for process in servers:
            _stand_aside(process)
        yield Far(uri, environment(proxy.endpoint), servers)
