"""What is read of a Job in a queue, and what is said where it cannot be read."""

from __future__ import annotations

import json

import pytest

from k8s.errors import NotFound
from k8s.follow import queue_reader
from k8s.follow.watcher import look
from tests.k8s.apiserver import Wrong
from tests.k8s.namespace_contents import JOBS
from tests.k8s.objects import job
from tests.k8s.queues import (
    ACCOMMODATE,
    MORE,
    OLD_WORKLOADS,
    PENDING,
    WORKLOADS,
    condition,
    pending,
    pends,
    queued_job,
    workload,
)
from trainer.checkpoint.run_folder import RunFolder

EVICTED = condition("Evicted", reason="Preempted", message=ACCOMMODATE)


@pytest.fixture
def keep(server):
    """Puts objects under their paths; what waits in the queue is `pending`."""

    def put(*workloads, at=WORKLOADS, waiting=()):
        for manifest in workloads:
            server.behind.objects[f"{at}/{manifest['metadata']['name']}"] = manifest
        server.behind.objects[PENDING] = {"items": pending(*waiting), "metadata": {}}

    return put


def requests(server):
    return [path for _, path in server.requests]


def test_a_job_without_a_queue_or_that_is_over_asks_for_nothing(server, cluster):
    over = queued_job(conditions=[{"type": "Complete"}])
    assert queue_reader.read(cluster, job()) is None
    assert queue_reader.read(cluster, over) is None
    assert queue_reader.read_all(cluster, [job(), over]) == {}
    assert server.requests == []


def test_a_waiting_job_is_read_with_its_queue(cluster, keep):
    keep(workload(pends(MORE)), workload(name="job-other", uid="other"), waiting=["job-other", "job-train"])
    view = queue_reader.read(cluster, queued_job())
    assert view.workload["metadata"]["name"] == "job-train"
    assert [entry["metadata"]["name"] for entry in view.pending] == ["job-other", "job-train"]
    assert (view.fault, view.remedy, view.preemptor, view.checkpoint_step) == ("", "", "", None)


def test_an_older_kueue_is_asked_in_its_own_version(server, cluster, keep):
    keep(workload(pends(MORE)), at=OLD_WORKLOADS)
    server.faults.append(lambda method, path: Wrong(status=404) if "/v1beta2/" in path else None)
    view = queue_reader.read(cluster, queued_job())
    assert view.workload["metadata"]["name"] == "job-train"
    assert any("visibility.kueue.x-k8s.io/v1beta1" in path for path in requests(server))


def test_a_cluster_without_kueue_is_said(server, cluster):
    server.faults.append(lambda method, path: Wrong(status=404) if "kueue" in path else None)
    view = queue_reader.read(cluster, queued_job())
    assert view.fault == "this cluster has no Kueue"
    assert not cluster.serves("kueue.x-k8s.io")


def forbidden(monkeypatch, server, word):
    """Answers a path with a word in it as RBAC does."""
    behind = server.behind.answer

    def answer(method, target, body):
        given = behind(method, target, body)
        if word in target:
            message = "workloads.kueue.x-k8s.io is forbidden: User u cannot list resource"
            status = {"kind": "Status", "reason": "Forbidden", "message": message}
            given.status, given.pieces = 403, iter([json.dumps(status).encode()])
        return given

    monkeypatch.setattr(server.behind, "answer", answer)


def test_the_missing_right_is_named_with_its_rule(monkeypatch, server, cluster, keep):
    keep(workload(pends(MORE)))
    forbidden(monkeypatch, server, "/workloads")
    view = queue_reader.read(cluster, queued_job())
    assert view.fault == "the right to list Workloads is missing"
    assert '{apiGroups: ["kueue.x-k8s.io"], resources: ["workloads"], verbs: ["list"]}' in view.remedy
    assert queue_reader.read_all(cluster, [queued_job()]) == {}


def test_without_the_right_to_the_order_of_the_queue_all_else_is_told(monkeypatch, server, cluster, keep):
    keep(workload(pends(MORE)), waiting=["job-train"])
    forbidden(monkeypatch, server, "pendingworkloads")
    view = queue_reader.read(cluster, queued_job())
    assert view.pending is None
    assert 'resources: ["localqueues/pendingworkloads"], verbs: ["get"]' in view.remedy


def test_a_visibility_api_that_is_away_delays_nobody(server, clock, cluster, keep):
    keep(workload(pends(MORE)))
    server.faults.append(lambda method, path: Wrong(status=503) if "pendingworkloads" in path else None)
    view = queue_reader.read(cluster, queued_job())
    assert (view.pending, view.remedy, clock.slept) == (None, "", [])


def test_who_preempted_a_run_is_named_and_its_checkpoint_found(server, cluster, keep, tmp_path):
    folder = RunFolder(str(tmp_path), "train-1a2b3c4d")
    for step in (40, 120):
        path = tmp_path / "runs" / folder.run_id / "checkpoints" / f"step-{step:012d}"
        path.mkdir(parents=True)
        (path / "MANIFEST.json").write_text("{}")
    keep(workload(pends(MORE), EVICTED), workload(name="job-night", uid="uid-high", owner="night-00000000"))
    evicted = queued_job(annotations={"kfit.dev/output-uri": str(tmp_path)})
    view = queue_reader.read(cluster, evicted)
    assert (view.preemptor, view.checkpoint_step) == ("night-00000000", 120)
    server.behind.objects[f"{JOBS}/train-1a2b3c4d"] = evicted
    _, state = look(cluster, "train-1a2b3c4d")
    assert "preempted by Job night-00000000" in state.why
    assert state.why.endswith("the newest checkpoint is of step 120")


def test_a_list_asks_once_for_all_runs(server, cluster, keep):
    keep(
        workload(pends(MORE), EVICTED), workload(name="job-night", uid="uid-high", owner="night"), waiting=["job-train"]
    )
    other = queued_job(name="train-other000", uid="other")
    views = queue_reader.read_all(cluster, [queued_job(), other, job("plain")])
    assert list(views) == ["job-uid", "other"]
    assert views["job-uid"].preemptor == "night"
    assert views["other"].workload is None
    assert len(requests(server)) == 2


def test_a_queue_that_is_not_there_is_not_found(server, cluster):
    server.faults.append(lambda method, path: Wrong(status=404))
    with pytest.raises(NotFound):
        cluster.pending_workloads("nobody")
