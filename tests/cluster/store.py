"""A SeaweedFS S3 server on an address that pods reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.servers import S3


@dataclass(frozen=True)
class Store:
    """A running S3 server.

    Attributes:
        server: Where it listens.
        lake: Where the data lies. models: where runs write.
    """

    server: S3
    lake: str = "s3://lake/flights"
    models: str = "s3://models"

    @property
    def port(self) -> int:
        """What a NetworkPolicy must let through."""
        return self.server.port

    @property
    def environment(self) -> dict[str, str]:
        """How every S3 tool is told of it."""
        return servers.environment(self.server.endpoint)

    def upload(self, files: list[Path], root: Path) -> None:
        """Copies files into the lake, under their paths below a root."""
        from trainer import storage

        for file in files:
            storage.write(f"{self.lake}/{file.relative_to(root)}", file.read_bytes())


@contextlib.contextmanager
def serve(host: str, folder: Path) -> Iterator[Store]:
    """Starts it, with its buckets, and ends it."""
    with servers.seaweed(folder, host, "lake", "models") as server:
        yield Store(server)
