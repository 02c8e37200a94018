"""Kueue's objects as Kueue 0.17 writes them, with what a test says and no more."""

from __future__ import annotations

from typing import Any

from tests.k8s.objects import Object, job

NAMESPACE = "/namespaces/ml"
WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta2{NAMESPACE}/workloads"
OLD_WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta1{NAMESPACE}/workloads"
PENDING = f"/apis/visibility.kueue.x-k8s.io/v1beta2{NAMESPACE}/localqueues/team/pendingworkloads"

MORE = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 500m more needed"
ACCOMMODATE = (
    "Preempted to accommodate a workload (UID: 8a3c, JobUID: uid-high) due to prioritization in the ClusterQueue; "
    "preemptor path: /shared; preemptee path: /shared"
)


def too_much(resource: str = "cpu", asked: str = "3", most: str = "2", flavor: str = "default") -> str:
    return (
        f"insufficient quota for {resource} in flavor {flavor}, previously considered podsets requests (0) "
        f"+ current podset request ({asked}) > maximum capacity ({most})"
    )


def queued_job(**changes: Any) -> Object:
    changes = {"spec": {"suspend": True}, **changes}
    return job(labels={"kueue.x-k8s.io/queue-name": "team"}, **changes)


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pends(message: str, reason: str = "Pending") -> Object:
    return condition("QuotaReserved", "False", reason, message)


def workload(
    *conditions: Object, name: str = "job-train", uid: str = "job-uid", owner: str = "train-1a2b3c4d", spec: Any = None,
    pod_set: Any = None, **status: Any,
) -> Object:  # fmt: skip
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kueue.x-k8s.io/job-uid": uid},
            "ownerReferences": [{"kind": "Job", "name": owner, "uid": uid}],
        },
        "spec": {"queueName": "team", "podSets": [{"name": "main", "count": 1, **(pod_set or {})}], **(spec or {})},
        "status": {"conditions": list(conditions), **status},
    }


def pending(*names: str) -> list[Object]:
    return [
        {"metadata": {"name": name, "namespace": "ml"}, "positionInLocalQueue": place, "localQueueName": "team"}
        for place, name in enumerate(names)
    ]
