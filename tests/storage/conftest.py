from __future__ import annotations

from collections.abc import Iterator

import pytest

from trainer.storage import filesystems


@pytest.fixture
def reopened_filesystems() -> Iterator[None]:
    """Opens file systems again, before and after: the test changes the environment they are made from."""
    filesystems._opened.cache_clear()
    yield
    filesystems._opened.cache_clear()
