"""An HTTPS server that writes down who asks, and the authority behind it."""

from __future__ import annotations

import pytest

from tests.k8s.api.recorder import Authority, recording


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def servers(authority):
    with recording(authority) as recorded:
        yield recorded


@pytest.fixture
def recorder(servers):
    servers.forget()
    return servers
