"""An API server in memory, and the way there."""

from __future__ import annotations

import pytest
import yaml
from click.testing import CliRunner

from k8s.api.client import Cluster
from k8s.api.transport import Transport
from k8s.cli import cli
from tests.k8s.apiserver import Memory, Server


@pytest.fixture
def server():
    fake = Server(Memory())
    yield fake
    fake.close()


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
    boundary = Cluster(Transport(server.access(tmp_path), clock=clock, sleep=clock.sleep), "ml", "test")
    yield boundary
    boundary.close()


@pytest.fixture
def kubeconfig(server, tmp_path):
    """The way to the server."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture
def kfit(kubeconfig):
    """Runs a verb against the server; gives stdout, or raises what the verb raises."""

    def run(*words, code=0):
        done = CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, *words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout

    return run
