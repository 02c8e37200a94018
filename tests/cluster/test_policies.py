"""A namespace that denies all by default, on a cluster that enforces NetworkPolicies: what a run may reach, and who it.

KFIT_TEST_POLICIES=1 says that the cluster enforces them; without it a cluster that does not is skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import IMAGE, Team, until
from tests.cluster.test_several_nodes import pods_past

CONNECT = "import socket; socket.create_connection(({host!r}, {port}), timeout=5).close()"


def policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


DENY = policy("deny-all", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
#: Lets a test's pods out, so that what stops them is the other end's policy.
CALLERS = policy(
    "callers", {"podSelector": {"matchLabels": {"kfit-test": "caller"}}, "policyTypes": ["Egress"], "egress": [{}]}
)


def connects(team: Team, name: str, host: str, port: int, **labels: str) -> bool:
    """Whether a pod of the namespace, with these labels, reaches a port."""
    amounts = {"cpu": "50m", "memory": "64Mi"}
    container = {
        "name": "trainer",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", CONNECT.format(host=host, port=port)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": amounts, "limits": amounts},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
    team.kubectl("create", "-f", "-", given=json.dumps(pod))
    ends = ("Succeeded", "Failed")
    phase = until(lambda: (p := team.get("pod", name)["status"]["phase"]) in ends and p, timeout_s=120)
    said = team.kubectl("logs", name, check=False)
    team.kubectl("delete", "pod", name, "--wait=false")
    assert phase == "Succeeded" or "timed out" in said or "refused" in said, said
    return bool(phase == "Succeeded")


@pytest.fixture(scope="module", autouse=True)
def deny_all(team: Team) -> Iterator[None]:
    """Nothing may call, and nothing be called, unless a policy lets it."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [DENY, CALLERS]})
    team.kubectl("apply", "-f", "-", given=listed)
    host = team.store.server.endpoint.rpartition("//")[2].partition(":")[0]
    if connects(team, "probe-denied", host, team.store.port) and os.environ.get("KFIT_TEST_POLICIES") != "1":
        team.kubectl("delete", "-f", "-", given=listed)
        pytest.skip("the cluster does not enforce NetworkPolicies")
    assert not connects(team, "control-denied", host, team.store.port)
    assert connects(team, "control-allowed", host, team.store.port, **{"kfit-test": "caller"})
    yield
    team.kubectl("delete", "-f", "-", given=listed)


def test_trains_behind_its_policy(team: Team, job_file: Callable[..., Path]) -> None:
    """under default-deny a run whose policy names the store's port trains"""
    team.kfit("wait", team.submit(job_file("policed")))


def test_the_store_is_out_of_reach(team: Team, job_file: Callable[..., Path]) -> None:
    """a policy without the store's port: the run ends with 69"""
    team.kubectl("create", "configmap", "hurry-policed", "--from-literal=KFIT_STORAGE_DEADLINE_S=10")
    sources = [{"secretRef": {"name": "store"}}, {"configMapRef": {"name": "hurry-policed"}}]
    name = team.submit(job_file("shut-off", networkPolicy={"storagePorts": [443]}, envFrom=sources))
    waited = team.kfit("wait", name, code=69, timeout_s=400)
    assert f"{name} failed: exit 69" in waited.err


def test_workers_meet_and_strangers_do_not(team: Team, job_file: Callable[..., Path]) -> None:
    """two workers find each other; a stranger's pod cannot reach their port, one of the run's label can"""
    run = {"fit": {"epochs": 20000}, "output": {"tensorboard": False}}
    name = team.submit(job_file("policed-pair", nodes=2, run=run))
    pods = until(lambda: pods_past(team, name, 1), timeout_s=240)
    address = team.get("pod", pods["0"])["status"]["podIP"]
    caller = {"kfit-test": "caller"}
    assert not connects(team, "stranger", address, 2222, **caller)
    assert connects(team, "colleague", address, 2222, **caller, **{"kfit.dev/job": name})
    team.kfit("cancel", name, "--wait")
