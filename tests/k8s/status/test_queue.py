"""Where a Job stands in a queue, told from Kueue's objects."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from k8s.status.job_state import Phase, Seen, read
from k8s.status.queue import QueueView, document, preemptor_uid
from k8s.status.summary import summary
from tests.k8s.objects import RUNNING, job, pod
from tests.k8s.queues import ACCOMMODATE, MORE, condition, pending, pends, queued_job, too_much, workload

NEVER = f"couldn't assign flavors to pod set main: {too_much()}"
PREEMPTED = condition("Evicted", reason="Preempted", message=ACCOMMODATE)


def state_of(*conditions, **view):
    found = workload(
        *conditions, **{key: view.pop(key) for key in ("spec", "pod_set", "admissionChecks") if key in view}
    )
    return read(Seen(queued_job(), queued=QueueView(found, **view)))


def test_a_run_that_waits_has_its_position_and_what_is_missing():
    state = state_of(pends(MORE), pending=pending("a", "job-train", "b"))
    assert (state.phase, state.why) == (Phase.QUEUED, "waits in queue team (position 2 of 3): 500m more cpu needed")
    assert "kubectl get workloads" in state.remedy
    assert state_of(pends(MORE)).why == "waits in queue team: 500m more cpu needed"


def test_what_never_fits_is_told_with_what_is_asked_and_the_most_there_is():
    state = state_of(pends(NEVER), pending=pending("job-train"))
    assert state.why == "never fits queue team: asked for 3 cpu, its most is 2"
    assert "ask for less (resources.cpu in the job file)" in state.remedy
    assert "kfit cancel train-1a2b3c4d" in state.remedy
    assert "ahead" not in state.remedy
    gpus = "couldn't assign flavors to pod set main: resource nvidia.com/gpu unavailable in ClusterQueue"
    state = state_of(pends(gpus), pod_set={"count": 4})
    assert state.why == "never fits queue team: it has no nvidia.com/gpu"
    assert "resources.gpus or nodes" in state.remedy


@pytest.mark.parametrize(
    ("reasons", "never"),
    [
        ([too_much(flavor="spot"), too_much(most="2500m")], "asked for 3 cpu, its most is 2500m"),
        ([too_much(flavor="spot"), "insufficient unused quota for cpu in flavor default, 1 more needed"], ""),
        ([too_much("memory", "8Gi", "4096Mi")], "asked for 8Gi memory, its most is 4096Mi"),
        ([too_much("memory", "4Gi", "4096Mi")], ""),  # 4Gi is 4096Mi: Kueue would not say so, and it is not more
    ],
)
def test_it_never_fits_only_where_no_flavor_is_large_enough(reasons, never):
    state = state_of(pends("couldn't assign flavors to pod set main: " + ", ".join(reasons)))
    assert state.why.removeprefix("never fits queue team: ") == never if never else "never" not in state.why


def test_a_run_that_takes_fewer_nodes_never_fits_only_where_the_fewest_do_not():
    message = f"couldn't assign flavors to pod set main: {too_much(asked='4')}"
    assert "never" in state_of(pends(message), pod_set={"count": 4}).why
    assert "never" in state_of(pends(message), pod_set={"count": 4, "minCount": 3}).why
    assert "never" not in state_of(pends(message), pod_set={"count": 4, "minCount": 2}).why


def test_a_preempted_run_names_who_took_its_place_and_its_checkpoint():
    state = state_of(
        pends(MORE), PREEMPTED, preemptor="night-00000000", pending=pending("job-train"), checkpoint_step=1200
    )
    assert state.why == (
        "preempted by Job night-00000000, which has a higher priority; waits in queue team (position 1 of 1): "
        "500m more cpu needed; the newest checkpoint is of step 1,200"
    )
    gone = state_of(pends(MORE), PREEMPTED).why
    assert gone.startswith("preempted by a Job that is gone or in another namespace (cluster queue shared), which")
    assert preemptor_uid(workload(PREEMPTED)) == "uid-high"
    assert preemptor_uid(workload(pends(MORE))) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PodsReadyTimeout", "evicted: its pods were not ready in time"),
        ("ClusterQueueStopped", "evicted: its cluster queue was stopped"),
        ("NodeFailures", "evicted: a node of it failed"),
        ("SomethingNew", "evicted: as Kueue says"),
    ],
)
def test_an_eviction_says_why(reason, words):
    evicted = condition("Evicted", reason=reason, message="as Kueue says")
    assert state_of(evicted, pends(MORE)).why.startswith(f"{words}; waits in queue team")


def test_an_eviction_that_is_over_is_not_told():
    over = condition("Evicted", "False", "QuotaReserved", "Previously: " + ACCOMMODATE)
    assert state_of(pends(MORE), over).why.startswith("waits")


def test_a_deactivated_run_says_how_it_is_let_in_again():
    state = state_of(
        pends("The workload is deactivated"), condition("Evicted", reason="Deactivated"), spec={"active": False}
    )
    assert state.why == "deactivated: Kueue does not admit it"
    assert state.remedy.startswith('kubectl patch workload job-train --type=merge -p \'{"spec":{"active":true}}\'')
    often = condition("Evicted", reason="DeactivatedDueToRequeuingLimitExceeded")
    assert state_of(often, spec={"active": False}).why.startswith("deactivated after too many evictions")


@pytest.mark.parametrize("what", ["LocalQueue team doesn't exist", "ClusterQueue shared is inactive"])
def test_a_queue_that_admits_nothing_is_named(what):
    state = state_of(pends(what, "Inadmissible"))
    assert state.why == f"queue team admits nothing: {what}"
    assert "kubectl get localqueue" in state.remedy


def test_admission_checks_that_are_open_are_named():
    checks = [{"name": "capacity", "state": "Pending", "message": "a node is made"}, {"name": "ok", "state": "Ready"}]
    state = state_of(condition("QuotaReserved"), admissionChecks=checks)
    assert state.why == "queue team has room for it, admission checks are open: capacity Pending: a node is made"
    assert state_of(condition("QuotaReserved")).why == "queue team has admitted it; it starts"


def test_what_could_not_be_read_is_said_with_the_right_that_is_missing():
    view = QueueView(fault="the right to list Workloads is missing", remedy="add to your Role: …")
    state = read(Seen(queued_job(), queued=view))
    assert state.why == "waits in queue team; why is unknown: the right to list Workloads is missing"
    assert state.remedy == "add to your Role: …"
    assert read(Seen(queued_job(), queued=QueueView())).why == "waits in queue team: Kueue has not taken it up yet"
    assert "for its position add" in state_of(pends(MORE), remedy="for its position add …").remedy


def test_the_reason_changes_with_the_position_and_not_with_the_clock():
    keys = [state_of(pends(MORE), pending=pending(*names)).key for names in (("a", "job-train"), ("job-train",))]
    assert len(set(keys)) == 2
    assert state_of(pends(MORE), checkpoint_step=1).key == state_of(pends(MORE), checkpoint_step=2).key


def recorded(what):
    """A Workload as Kueue 0.17 wrote it on a cluster, without its pods' templates."""
    return json.loads((Path(__file__).parent / f"kueue-{what}.json").read_text())


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (
            "preempted",
            "preempted by Job urgent-d70531af, which has a higher priority; waits in queue team: 600m more cpu needed",
        ),
        (
            "evicted",
            "evicted: its cluster queue was stopped; queue team admits nothing: ClusterQueue shared is inactive",
        ),
        ("deactivated", "deactivated: Kueue does not admit it"),
        ("readmitted", "queue team has admitted it; it starts"),  # a preemption that is over is not told
        (
            "failed-to-start",
            "Kueue has given it up: invalid admission check PodSetUpdate: conflict for annotations: conflict for "
            "key=kueue.x-k8s.io/workload, value1=job-short-74d45838-dfdd6, value2=job-short-54d8501e-6360e",
        ),
    ],
)
def test_what_kueue_wrote_is_told(what, why):
    workload, preemptor = recorded(what), recorded("preemptor")
    if what == "preempted":
        assert preemptor_uid(workload) == preemptor["metadata"]["labels"]["kueue.x-k8s.io/job-uid"]
    else:
        assert preemptor_uid(workload) == ""
    view = QueueView(workload, preemptor=preemptor["metadata"]["ownerReferences"][0]["name"])
    assert read(Seen(queued_job(), queued=view)).why == why


def test_partial_admission_is_told_in_nodes():
    running = queued_job(spec={"suspend": False})
    view = QueueView(recorded("partial"))
    state = read(Seen(running, [pod(state=RUNNING)], queued=view))
    row = summary(running, state, datetime(2026, 1, 1, tzinfo=UTC), view)["queue"]
    assert (state.phase, row["admitted_nodes"], row["asked_nodes"]) == (Phase.RUNNING, 1, 2)


def test_scripts_read_the_place_in_the_queue():
    view = QueueView(workload(pends(NEVER), PREEMPTED), pending("job-train", "b"), preemptor="night")
    assert document(queued_job(), view) == {
        "name": "team", "position": 1, "length": 2, "never_fits": True,
        "evicted": "preempted by Job night, which has a higher priority", "admitted_nodes": None, "asked_nodes": None,
    }  # fmt: skip
    assert summary(job(), read(Seen(job())), datetime(2026, 1, 1, tzinfo=UTC))["queue"] is None
