"""Two pods of an Indexed Job that train one model, and what becomes of them when one is hurt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster.conftest import IMAGE, Team, until
from tests.faults.ends import differences, unpublished
from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore

FIT = {"epochs": 30, "seed": 7, "deterministic": True}


@pytest.fixture
def two(job_file: Callable[..., Path]) -> Callable[..., Path]:
    """A job file for two nodes, with checkpoints every few steps."""

    def write(name: str = "two", **values: Any) -> Path:
        run = {"fit": FIT, "output": {"checkpoint": {"every": "20 steps"}, "tensorboard": False}}
        values = {"nodes": 2, "backoffLimit": 2, **values}
        return job_file(name, run=run, **values)

    return write


@pytest.fixture(scope="module")
def whole(team: Team) -> dict[int, RunFolder]:
    """Runs that were not hurt, by their number of nodes."""
    return {}


@pytest.fixture
def undisturbed(team: Team, two: Callable[..., Path], whole: dict[int, RunFolder]) -> Callable[[int], RunFolder]:
    def find(nodes: int) -> RunFolder:
        if nodes not in whole:
            name = team.submit(two(f"whole-{nodes}", nodes=nodes))
            team.kfit("wait", name)
            whole[nodes] = RunFolder(f"{team.store.models}/whole-{nodes}", name)
        return whole[nodes]

    return find


def pods_past(team: Team, name: str, epoch: int) -> dict[str, str] | None:
    """Names of the pods by index, once the run is past an epoch."""
    if json.loads(team.kfit("status", name, "-o", "json").out)["epoch"] <= epoch:
        return None
    pods = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
    index = "batch.kubernetes.io/job-completion-index"
    return {p["metadata"]["annotations"][index]: p["metadata"]["name"] for p in pods}


KILL = """
import contextlib, os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):  # it ended meanwhile
        of_pod = "{uid}" in (process / "cgroup").read_text().replace("_", "-")
        if of_pod and b"trainer" in (process / "cmdline").read_bytes():
            os.kill(int(process.name), signal.{signal})
"""


def kill(team: Team, pod: str, signal: str = "SIGKILL") -> None:
    """Sends a signal to a pod's trainer, by a privileged pod on its node: inside, a first process is deaf to it."""
    manifest = team.get("pod", pod)
    code = KILL.format(uid=manifest["metadata"]["uid"], signal=signal)
    container = {"name": "kill", "image": IMAGE, "imagePullPolicy": "Never", "command": ["python", "-c", code],
                 "securityContext": {"privileged": True, "runAsUser": 0}}  # fmt: skip
    killer = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"kfit-test-kill-{pod}", "namespace": "default"},
        "spec": {"hostPID": True, "restartPolicy": "Never", "nodeName": manifest["spec"]["nodeName"],
                 "containers": [container]},
    }  # fmt: skip
    path = "/api/v1/namespaces/default/pods"
    team.kubectl("create", "-f", "-", "--raw", path, given=json.dumps(killer))
    name = f"{path}/{killer['metadata']['name']}"
    try:
        until(lambda: json.loads(team.kubectl("get", "--raw", name))["status"]["phase"] == "Succeeded")
    finally:
        team.kubectl("delete", "--raw", name)


def apart(one: RunFolder, other: RunFolder) -> float:
    """The largest difference of a weight or an optimizer variable."""
    a, b = (CheckpointStore(f, keep=3, note=lambda _: None).newest() for f in (one, other))
    assert a is not None
    assert b is not None
    assert a.step == b.step
    return max(
        float(np.max(np.abs(a.groups[g][n].astype(float) - b.groups[g][n].astype(float)), initial=0.0))
        for g in ("weights", "optimizer")
        for n in a.groups[g]
    )


def test_equality(team: Team, undisturbed: Callable[[int], RunFolder]) -> None:
    """two pods end with the weights of one within 1e-5; one log, prefixed; each worker in status"""
    one, both = undisturbed(1), undisturbed(2)
    assert apart(one, both) <= 1e-5
    assert unpublished(both) == []
    said = team.kfit("logs", both.run_id).out
    assert "[0] worker 0 of 2; all are there" in said
    assert "[1] worker 1 of 2; all are there" in said
    only = team.kfit("logs", both.run_id, "--pod", "1").out
    assert "worker 1 of 2; all are there" in only
    assert "worker 0 of 2" not in only


def test_one_is_lost(team: Team, two: Callable[..., Path], undisturbed: Callable[[int], RunFolder]) -> None:
    """one pod killed → its peer leaves with 76, both start again → same end bit for bit"""
    name = team.submit(two("killed"))
    pods = until(lambda: pods_past(team, name, 4), timeout_s=180)
    kill(team, pods["1"])
    team.kfit("wait", name)
    run = RunFolder(f"{team.store.models}/killed", name)
    assert differences(undisturbed(2), run) + unpublished(run) == []
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert {e["pod"]: e["exit_code"] for e in status["ended"]}[pods["0"]] == 76
    assert [(w["index"], w["doing"][:6]) for w in status["workers"]] == [(0, "exit 0"), (1, "exit 0")]
    assert "was lost" in next(e["error"] for e in status["ended"] if e["exit_code"] == 76)


def test_one_is_evicted(team: Team, two: Callable[..., Path], undisturbed: Callable[[int], RunFolder]) -> None:
    """one pod evicted → both stop after the same step with 75, both start again → same end bit for bit"""
    name = team.submit(two("evicted"))
    pods = until(lambda: pods_past(team, name, 4), timeout_s=180)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pods["1"]}}
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pods['1']}/eviction"
    team.kubectl("create", "-f", "-", "--raw", path, given=json.dumps(eviction))
    team.kfit("wait", name)
    run = RunFolder(f"{team.store.models}/evicted", name)
    assert differences(undisturbed(2), run) + unpublished(run) == []
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert [e["exit_code"] for e in status["ended"] if e["pod"] == pods["0"]] == [75]


def test_wrong_data(team: Team, two: Callable[..., Path]) -> None:
    """rotten pages in a shard that one worker reads → both leave with 65 and one message; why names the worker"""
    whole = storage.read(f"{team.store.lake}/dt=2013-01-05/part-0.parquet")
    keep = int.from_bytes(whole[-8:-4], "little") + 8  # the footer
    lake = "s3://lake/rotten"
    for stored in storage.list_objects(team.store.lake):
        storage.write(f"{lake}/{stored.name}", storage.read(stored.uri))
    storage.write(f"{lake}/dt=2013-01-05/part-0.parquet", whole[:4] + bytes(len(whole) - keep - 4) + whole[-keep:])
    job = two("rotten")
    name = team.submit(job, "--set", f"run.data.train={lake}")
    team.kfit("wait", name, code=65)
    why = team.kfit("why", name).out
    assert "exit 65" in why
    assert "dt=2013-01-05" in why
    assert "first: worker " in why


def test_elastic(team: Team, two: Callable[..., Path], undisturbed: Callable[[int], RunFolder]) -> None:
    """begun by two, cancelled, gone on with one → the end of an undisturbed run within 1e-5"""
    name = team.submit(two("elastic"))
    until(lambda: pods_past(team, name, 4), timeout_s=180)
    team.kfit("cancel", name)
    until(lambda: team.objects(name) == [])
    again = team.kfit("resume", name, "-f", str(two("elastic", nodes=1)), "-o", "name").out.strip().rpartition("/")[2]
    team.kfit("wait", again)
    assert "going on from the checkpoint" in team.kfit("logs", again).out
    assert apart(undisturbed(2), RunFolder(f"{team.store.models}/elastic", name)) <= 1e-5
