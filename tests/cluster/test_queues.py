"""Runs in a real Kueue's queue: admitted, waiting, hopeless, preempted, deactivated, by the clock, with fewer nodes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s.chart.yaml_documents import from_yaml
from tests.cluster.conftest import Team, admin, until
from tests.cluster.test_several_nodes import apart
from tests.faults.ends import differences, unpublished
from trainer.checkpoint.run_folder import RunFolder

API = "kueue.x-k8s.io/v1beta2"
#: Room for one pod of `ASKS`, or for two of half of it; the node has 2 CPUs for all.
ROOM, ASKS, HALF = "600m", "600m", "300m"
FIT = {"epochs": 60, "seed": 7, "deterministic": True}
STEADY = {"checkpoint": {"every": "2s", "keep": 3}, "tensorboard": False}


@pytest.fixture(scope="module")
def queue(team: Team) -> Iterator[str]:
    """A LocalQueue of the team's with room for one run; gone afterwards."""
    name = f"{team.namespace}-queue"
    if "kueue.x-k8s.io" not in admin("api-versions"):
        pytest.skip("the cluster has no Kueue")
    quota = {"name": name, "resources": [{"name": r, "nominalQuota": q} for r, q in (("cpu", ROOM), ("memory", "8Gi"))]}
    objects = [
        {"kind": "ResourceFlavor", "metadata": {"name": name}},
        {
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [quota]}],
                "preemption": {"withinClusterQueue": "LowerPriority"},
            },
        },
        {
            "kind": "LocalQueue",
            "metadata": {"name": "team", "namespace": team.namespace},
            "spec": {"clusterQueue": name},
        },
        {"kind": "WorkloadPriorityClass", "metadata": {"name": f"{name}-high"}, "value": 1000},
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": API, **o} for o in objects]})
    admin("apply", "-f", "-", given=listed)
    until(lambda: _active(team))
    yield "team"
    team.kubectl("delete", "jobs,cronjobs", "--all", "--wait=true", check=False)
    admin("delete", "--ignore-not-found", "--wait=false", "-f", "-", given=listed)


def _active(team: Team) -> bool:
    conditions = team.get("localqueue", "team").get("status", {}).get("conditions") or []
    return any(c["type"] == "Active" and c["status"] == "True" for c in conditions)


@pytest.fixture
def queued(job_file: Callable[..., Path], queue: str) -> Callable[..., Path]:
    """A job file for the queue, of a run that goes on for a while."""

    def write(name: str, cpu: str = ASKS, **values: Any) -> Path:
        base = {"fit": FIT, "output": STEADY}
        run = {part: {**base.get(part, {}), **values.pop("run", {}).get(part, {})} for part in base}
        resources = {"cpu": cpu, "memory": "1536Mi", "shm": "64Mi"}
        return job_file(name, run=run, resources=resources, **{"queue": queue, **values})

    return write


@pytest.fixture(scope="module")
def ordered(queue: str) -> bool:
    """Whether Kueue's visibility API answers, by which a run knows its position."""
    done = subprocess.run(
        ["kubectl", "get", "--raw", "/apis/visibility.kueue.x-k8s.io/v1beta2"], capture_output=True, check=False
    )
    return done.returncode == 0


def place(ordered: bool, position: int, length: int) -> str:
    return f"waits in queue team (position {position} of {length})" if ordered else "waits in queue team"


ENDLESS = {"fit": {"epochs": 20000}}


def status(team: Team, name: str) -> Any:
    return json.loads(team.kfit("status", name, "-o", "json").out)


def past(team: Team, name: str, epoch: int) -> bool:
    return bool(status(team, name)["epoch"] > epoch)


def test_admitted_and_waits(team: Team, queued: Callable[..., Path], ordered: bool) -> None:
    """a run with room is admitted; the next ones wait, with position and what is missing, and start in their turn"""
    first = team.submit(queued("first", run=ENDLESS))
    until(lambda: status(team, first)["phase"] == "Running", timeout_s=180)
    assert status(team, first)["queue"]["admitted_nodes"] == 1
    second, third = (team.submit(queued(name, run=ENDLESS)) for name in ("second", "third"))
    shown = until(lambda: (s := status(team, third)) and "needed" in s["why"] and s)
    assert shown["phase"] == "Queued"
    assert shown["why"] == f"{place(ordered, 2, 2)}: 600m more cpu needed"
    assert (shown["queue"]["position"], shown["queue"]["length"]) == ((2, 2) if ordered else (None, None))
    assert place(ordered, 1, 2) in team.kfit("why", second).out
    assert place(ordered, 2, 2) in team.kfit("list").out
    waited = team.kfit("wait", third, "--timeout", "30s", code=124)
    assert f"queued: {place(ordered, 2, 2)}: 600m more cpu needed" in waited.err
    team.kfit("cancel", first, "--wait")
    until(lambda: status(team, second)["phase"] in ("Pending", "Running"))
    until(lambda: place(ordered, 1, 1) in status(team, third)["why"])
    team.kfit("cancel", second, third, "--wait")


def test_never_fits(team: Team, queued: Callable[..., Path]) -> None:
    """asked 3 cpu, the queue's largest is 600m → never fits, and what to do"""
    name = team.submit(queued("greedy-queue", cpu="3"))
    shown = until(lambda: (s := status(team, name)) and s["queue"]["never_fits"] and s)
    assert shown["why"] == "never fits queue team: asked for 3 cpu, its most is 600m"
    assert "ask for less (resources.cpu in the job file)" in shown["remedy"]
    team.kfit("cancel", name, "--wait")


def test_no_such_queue(team: Team, queued: Callable[..., Path]) -> None:
    """a queue that is not there is named"""
    name = team.submit(queued("lost-queue", queue="nobody"))
    shown = until(lambda: (s := status(team, name)) and "doesn't exist" in s["why"] and s)
    assert shown["why"] == "queue nobody admits nothing: LocalQueue nobody doesn't exist"
    team.kfit("cancel", name, "--wait")


def test_preempted(team: Team, queued: Callable[..., Path], queue: str) -> None:
    """preempted by a higher priority: who, and the newest checkpoint; goes on to the same weights bit for bit"""
    steady = team.submit(queued("queue-steady"))
    team.kfit("wait", steady)
    name = team.submit(queued("queue-moved"))
    following = team.start("logs", "-f", name)
    until(lambda: past(team, name, 5), timeout_s=180)
    priority = {"name": queue, "priority": f"{team.namespace}-queue-high"}
    urgent = team.submit(queued("urgent", queue=priority, run={"fit": {"epochs": 10}}))
    shown = until(lambda: (s := status(team, name)) and s["phase"] == "Queued" and s["checkpoint"] and s)
    assert f"preempted by Job {urgent}, which has a higher priority; waits in queue team" in shown["why"]
    assert f"the newest checkpoint is of step {shown['checkpoint']['step']:,}" in team.kfit("why", name).out
    assert shown["queue"]["evicted"].startswith(f"preempted by Job {urgent}")
    team.kfit("wait", urgent)
    out, err = following.communicate(timeout=300)
    assert following.returncode == 0, err
    assert f"queued: preempted by Job {urgent}" in err
    assert "going on from the checkpoint" in out
    moved, whole = (
        RunFolder(f"{team.store.models}/{n}", r) for n, r in (("queue-moved", name), ("queue-steady", steady))
    )
    assert differences(whole, moved) + unpublished(moved) == []


def test_two_nodes(team: Team, queued: Callable[..., Path]) -> None:
    """two nodes are admitted together, or not at all"""
    holder = team.submit(queued("holder", cpu=HALF, run=ENDLESS))
    until(lambda: status(team, holder)["phase"] == "Running", timeout_s=180)
    name = team.submit(queued("pair", cpu=HALF, nodes=2, run={"fit": {"epochs": 3}}))
    until(lambda: "300m more cpu needed" in status(team, name)["why"])
    assert team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"] == []
    team.kfit("cancel", holder, "--wait")
    team.kfit("wait", name, timeout_s=600)
    assert status(team, name)["nodes"] == 2
    assert "worker 1 of 2; all are there" in team.kfit("logs", name).out


def test_fewer_nodes(team: Team, queued: Callable[..., Path]) -> None:
    """minNodes: with room for one of two nodes the run begins with one → the weights of one within 1e-5"""
    few = {"fit": {"epochs": 5}}
    whole = team.submit(queued("queue-one", cpu=HALF, run=few))
    team.kfit("wait", whole)
    holder = team.submit(queued("holder-two", cpu=HALF, run=ENDLESS))
    until(lambda: status(team, holder)["phase"] == "Running", timeout_s=180)
    team.kubectl("create", "configmap", "last-call", "--from-literal=KFIT_LAST_CALL_S=5")
    sources = [{"secretRef": {"name": "store"}}, {"configMapRef": {"name": "last-call"}}]
    name = team.submit(queued("partial", cpu=HALF, nodes=2, minNodes=1, run=few, envFrom=sources))
    shown = until(lambda: (s := status(team, name)) and s["phase"] == "Running" and s, timeout_s=180)
    assert (shown["queue"]["admitted_nodes"], shown["queue"]["asked_nodes"], shown["nodes"]) == (1, 2, 1)
    assert "admitted, 1 of 2 nodes" in team.kfit("status", name).out
    team.kfit("wait", name)
    assert "worker 0 of 1; the run begins without the other 1" in team.kfit("logs", name).out
    one, part = (RunFolder(f"{team.store.models}/{n}", r) for n, r in (("queue-one", whole), ("partial", name)))
    assert apart(one, part) <= 1e-5
    assert unpublished(part) == []
    team.kfit("cancel", holder, "--wait")


def test_deactivated(team: Team, queued: Callable[..., Path]) -> None:
    """deactivated by an administrator: said, with the command that lets it in again; then it goes on"""
    name = team.submit(queued("stopped", run={"fit": {"epochs": 150}}))
    until(lambda: past(team, name, 2), timeout_s=180)
    workload = team.get("workloads", "-l", f"kueue.x-k8s.io/job-uid={team.get('job', name)['metadata']['uid']}")
    named = workload["items"][0]["metadata"]["name"]
    team.kubectl("patch", "workload", named, "--type=merge", "-p", '{"spec":{"active":false}}')
    shown = until(lambda: (s := status(team, name)) and s["why"].startswith("deactivated") and s)
    assert shown["phase"] == "Queued"
    assert shown["remedy"].startswith(f"kubectl -n {team.namespace} patch workload {named} ")
    team.kubectl("patch", "workload", named, "--type=merge", "-p", '{"spec":{"active":true}}')
    team.kfit("wait", name)
    assert "going on from the checkpoint" in team.kfit("logs", name).out


def test_written_back(team: Team, queued: Callable[..., Path]) -> None:
    """what Git says is applied again to an admitted run, as Argo CD and Flux do: it stays admitted and ends"""
    rendered = team.kfit("render", str(queued("written-back"))).out
    name = next(d["metadata"]["name"] for d in from_yaml(rendered) if d["kind"] == "Job")
    team.kubectl("apply", "-f", "-", given=rendered)
    until(lambda: past(team, name, 2), timeout_s=180)
    again = team.kubectl("apply", "-f", "-", given=rendered)
    assert {line.rpartition(" ")[2] for line in again.splitlines()} == {"unchanged"}
    team.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=flux", "-f", "-", given=rendered)
    assert not team.get("job", name)["spec"]["suspend"]
    team.kfit("wait", name)
    assert status(team, name)["restarts"] == 0
    team.kfit("cancel", name)


def test_resumed(team: Team, queued: Callable[..., Path]) -> None:
    """stopped by its deadline in a queue → resume → the queue admits the new Job, which goes on"""
    name = team.submit(queued("queue-late", activeDeadlineSeconds=40, run=ENDLESS))
    team.kfit("wait", name, code=75)
    resumed = team.kfit("resume", name, "-o", "name").out.strip().rpartition("/")[2]
    until(lambda: "going on from the checkpoint" in team.kfit("logs", resumed, code=None).out)
    team.kfit("cancel", resumed, name)


def test_nightly(team: Team, queued: Callable[..., Path]) -> None:
    """a CronJob through a queue: its night waits, is admitted, and ends"""
    holder = team.submit(queued("holder-night", run=ENDLESS))
    until(lambda: status(team, holder)["phase"] == "Running", timeout_s=180)
    job = queued("queue-night", schedule={"cron": "* * * * *"}, run={"fit": {"epochs": 1}})
    team.kfit("schedule", "apply", str(job))
    fired = until(lambda: team.get("jobs", "-l", "kfit.dev/cronjob=queue-night")["items"], timeout_s=90)[0]
    team.kfit("schedule", "suspend", "queue-night")
    name = fired["metadata"]["name"]
    until(lambda: "waits in queue team" in team.kfit("why", name).out)
    team.kfit("cancel", holder, "--wait")
    team.kfit("wait", name)
    team.kfit("schedule", "delete", "queue-night")


def test_without_the_right(team: Team, queued: Callable[..., Path]) -> None:
    """without the right to list Workloads a waiting run says so, with the rule; doctor names it"""
    name = team.submit(queued("unread", cpu="3"))
    until(lambda: status(team, name)["queue"]["never_fits"])
    before = team.get("role", "kfit")["rules"]
    rules = [rule for rule in before if rule["resources"] != ["workloads"]]
    team.kubectl("patch", "role", "kfit", "--type=merge", "-p", json.dumps({"rules": rules}))
    try:
        shown = until(lambda: (s := status(team, name)) and "unknown" in s["why"] and s)
        assert shown["why"] == "waits in queue team; why is unknown: the right to list Workloads is missing"
        assert '{apiGroups: ["kueue.x-k8s.io"], resources: ["workloads"], verbs: ["list"]}' in shown["remedy"]
        assert "not allowed: list Workload" in team.kfit("doctor", code=64).out
    finally:
        team.kubectl("patch", "role", "kfit", "--type=merge", "-p", json.dumps({"rules": before}))
    team.kfit("cancel", name, "--wait")
