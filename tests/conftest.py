"""Real parts that several rooms test against."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place where runs are kept: a local folder and an S3 server, the same tests on both."""
    if request.param == "local":
        return str(tmp_path / "out")
    server = request.getfixturevalue("s3")
    return f"s3://{server.bucket}/{uuid.uuid4().hex[:8]}"
