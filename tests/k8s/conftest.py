"""An API server in memory, and the way there."""

from __future__ import annotations

import pytest

from k8s.api.client import Cluster
from k8s.api.transport import Transport
from tests.k8s.apiserver import Memory, Server


@pytest.fixture
def server():
    found = Server(Memory())
    yield found
    found.close()


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s, self.slept = 0.0, []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cluster(server, clock, tmp_path):
    found = Cluster(Transport(server.access(tmp_path), clock=clock, sleep=clock.sleep), "ml", "test")
    yield found
    found.close()
