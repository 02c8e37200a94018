"""Real parts that several rooms test against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import tools
from tests.servers import READER_KEY, READER_SECRET, S3, environment, seaweed

__all__ = ["READER_KEY", "READER_SECRET", "S3"]

tools.put_on_path()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """SeaweedFS's S3 server; the environment names it as every S3 tool reads it. One for each worker."""
    patch = pytest.MonkeyPatch()
    with seaweed(tmp_path_factory.mktemp("s3")) as server:
        for name, value in environment(server.endpoint).items():
            patch.setenv(name, value)
        try:
            yield server
        finally:
            patch.undo()
