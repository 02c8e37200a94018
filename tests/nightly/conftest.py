"""A place that runs are kept in: a local folder and an S3 server, the same tests on both."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "out")
    server = request.getfixturevalue("s3")
    return f"s3://{server.bucket}/{uuid.uuid4().hex[:8]}"
