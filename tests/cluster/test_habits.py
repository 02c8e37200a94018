"""What every cluster wants of a chart, on a real one: sidecars, hooks, budgets, users, rules and names of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.charts import render
from tests.chart.test_kubernetes import JOBS
from tests.cluster.conftest import IMAGE, Team, until


def running(team: Team, name: str) -> str | None:
    """The pod of a Job whose trainer runs."""
    for pod in team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]:
        states = {s["name"]: s["state"] for s in pod["status"].get("containerStatuses") or []}
        if "running" in states.get("trainer", {}) and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    return None


def evict(team: Team, pod: str) -> str:
    """Evicts a pod as a drain does, and gives what the API server says where it refuses."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
    done = subprocess.run(
        ["kubectl", "create", "-f", "-", "--raw", path],
        input=json.dumps(eviction), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stderr


def _beside(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A container beside the trainer, of its image."""
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {side: {"cpu": "20m", "memory": "32Mi"} for side in ("requests", "limits")},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **more,
    }


def _habits(team: Team) -> dict[str, Any]:
    host, _, port = team.store.environment["AWS_ENDPOINT_URL"].removeprefix("http://").rpartition(":")
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Values.name }}-note"}}
    return {
        "fullnameOverride": "house-style",
        "commonLabels": {"team": "ml"},
        "jobLabels": {"cost": "a"},
        "commonAnnotations": {"argocd.argoproj.io/sync-wave": "1"},
        "jobAnnotations": {"note": "x"},
        "initContainers": [
            _beside("fetch", "echo fetched > /tmp/fetched"),
            _beside("sidecar", "trap 'exit 0' TERM; while sleep 1; do :; done", restartPolicy="Always"),
        ],
        "hostAliases": [{"ip": host, "hostnames": ["store.house"]}],
        "env": [{"name": "AWS_ENDPOINT_URL", "value": f"http://store.house:{port}"}],
        "envFrom": [{"secretRef": {"name": "store"}}, {"configMapRef": {"name": "habits-note"}}],
        "extraObjects": [{**note, "data": {"HOUSE_NOTE": "from {{ .Release.Namespace }}"}}],
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        "livenessProbe": {"enabled": True, "maxStepAgeSeconds": 120, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "300m"}, "ephemeralStorage": "2Gi", "tmp": {"size": "1Gi"}},
        "podDisruptionBudget": {"enabled": True},
    }


def test_habits(team: Team, job_file: Callable[..., Path]) -> None:
    """sidecar, init container, hooks, aliases, own objects, requests below limits, bounded disk: trains, owns it all"""
    admin = Path(os.environ["KUBECONFIG"])  # a member of the Role makes no ConfigMap and no budget
    sent = team.kfit(
        "submit", str(job_file("habits", **_habits(team))), "-o", "name", "-n", team.namespace, kubeconfig=admin
    )
    name = sent.out.strip().rpartition("/")[2]
    assert name.startswith("house-style-")
    team.kfit("wait", name)
    (pod,) = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
    assert pod["status"]["qosClass"] == "Burstable"
    assert {s["name"] for s in pod["status"]["initContainerStatuses"]} == {"fetch", "sidecar"}
    assert pod["metadata"]["labels"]["team"] == "ml"
    job = team.get("job", name)
    assert (job["metadata"]["labels"]["cost"], job["metadata"]["annotations"]["note"]) == ("a", "x")
    kinds = "networkpolicies,poddisruptionbudgets,configmaps"
    made = team.get(kinds, "-l", f"kfit.dev/job={name}")["items"]
    assert sorted(o["kind"] for o in made) == ["ConfigMap", "NetworkPolicy", "PodDisruptionBudget"]
    assert {o["metadata"]["ownerReferences"][0]["uid"] for o in made} == {job["metadata"]["uid"]}
    assert next(o for o in made if o["kind"] == "ConfigMap")["data"]["HOUSE_NOTE"] == f"from {team.namespace}"
    team.kubectl("delete", "job", name)
    until(lambda: team.get(kinds, "-l", f"kfit.dev/job={name}")["items"] == [])


def test_budget(team: Team, job_file: Callable[..., Path]) -> None:
    """a disruption budget: a drain is refused the pod, which goes on; its status is sound"""
    job = job_file("budget", podDisruptionBudget={"enabled": True}, run={"fit": {"epochs": 3000}})
    rendered = team.kfit("render", str(job)).out
    team.kubectl("apply", "-f", "-", given=rendered)
    (budget,) = team.get("poddisruptionbudgets")["items"]
    name = budget["metadata"]["name"]
    pod = until(lambda: running(team, name), timeout_s=120)
    until(lambda: team.get("poddisruptionbudget", name)["status"].get("currentHealthy") == 1)
    assert "disruption budget" in evict(team, pod)
    status = team.get("poddisruptionbudget", name)["status"]
    assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (1, 0)
    assert {c["reason"] for c in status["conditions"]} == {"InsufficientPods"}
    assert running(team, name) == pod
    team.kfit("cancel", name)
    until(lambda: team.get("poddisruptionbudgets")["items"] == [] or _delete_budget(team, name))


def _delete_budget(team: Team, name: str) -> None:
    """The member may not list budgets, so `cancel` leaves what an admin made."""
    team.kubectl("delete", "poddisruptionbudget", name, "--ignore-not-found")


def test_any_user(team: Team, job_file: Callable[..., Path]) -> None:
    """a user and group that the cluster chose, as OpenShift's SCC does: trains"""
    chosen = {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": 1000650000}
    name = team.submit(job_file("anybody", podSecurityContext=chosen))
    team.kfit("wait", name)
    (pod,) = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000650000
    team.kfit("cancel", name)


def test_own_command_and_rule(team: Team, job_file: Callable[..., Path]) -> None:
    """a command and a failure rule of one's own: exit 42 fails the Job at its first pod, whatever backoffLimit says"""
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [42]}}
    own = {"command": ["sh", "-c"], "args": ["exit 42"], "podFailurePolicyRules": [rule]}
    name = team.submit(job_file("own-rule", backoffLimit=6, **own))
    team.kfit("wait", name, code=42)
    job = team.get("job", name)
    assert job["status"]["failed"] == 1
    (failed,) = [c for c in job["status"]["conditions"] if c["type"] == "Failed"]
    assert failed["reason"] == "PodFailurePolicy"
    team.kfit("cancel", name)


def test_another_controller(team: Team, job_file: Callable[..., Path]) -> None:
    """managedBy another controller: Kubernetes' own makes no pod"""
    name = team.submit(job_file("foreign-hands", managedBy="example.org/nobody"))
    beside = team.submit(job_file("own-hands", run={"data": {"label": "no_such_column"}}))
    team.kfit("wait", beside, code=65)  # the controller has been at work meanwhile
    assert team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"] == []
    assert not team.get("job", name).get("status", {}).get("startTime")
    assert "waits for its pod to be created by example.org/nobody" in team.kfit("why", name).out
    team.kfit("cancel", name, beside)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}}, "IPC_LOCK"),
        ({"preemptionPolicy": "Never"}, "PreemptionPolicy"),
    ],
    ids=["hostNetwork", "capability", "preemptionPolicy"],
)
def test_what_the_namespace_refuses(
    team: Team, job_file: Callable[..., Path], values: dict[str, Any], said: str
) -> None:
    """what a restricted namespace or a PriorityClass refuses is told before anything is made"""
    refused = team.kfit("submit", str(job_file("refused", **values)), "--dry-run=server", code=64)
    assert said in refused.err


@pytest.mark.parametrize("job", JOBS)
def test_every_value(team: Team, job: str) -> None:
    """every value of the chart at once: the API server takes each object, by its strict schema"""
    rendered = render(JOBS[job], "--namespace", team.namespace)
    said = team.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=rendered.text)
    assert len(said.splitlines()) == len(rendered.objects)
