"""Reads what Kueue knows of a Job in a queue: the one place that asks. What cannot be read is said, not raised."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from k8s.api.client import Cluster, Object
from k8s.chart.yaml_documents import annotation, run_id
from k8s.errors import AccessError, ClusterError, NotFound
from k8s.status.pods import condition, created
from k8s.status.queue import QueueView, evicted, preemptor_uid, queue_of
from trainer.errors import KfitError

_BY_JOB = "kueue.x-k8s.io/job-uid"
#: How long storage may take to tell the newest checkpoint.
_STORAGE_S = 5.0


def read(cluster: Cluster, job: Object) -> QueueView | None:
    """Returns what Kueue knows of a Job, and, where it was evicted, its newest checkpoint; None without a queue."""
    queue = queue_of(job)
    if not queue or _is_over(job):
        return None
    try:
        workloads = cluster.select("Workload", labels=f"{_BY_JOB}={job['metadata']['uid']}")
    except AccessError as denied:
        return QueueView(fault="the right to list Workloads is missing", remedy=denied.remedy)
    except NotFound:
        return QueueView(fault="this cluster has no Kueue", remedy="remove queue from the job file, or install Kueue")
    except ClusterError as away:
        return QueueView(fault=away.what, remedy=away.remedy)
    if not workloads:
        return QueueView()
    workload = max(workloads, key=created)
    if not job["spec"].get("suspend"):
        return QueueView(workload)
    pending, remedy = _pending(cluster, queue)
    view = QueueView(workload, pending, _job_of(cluster, preemptor_uid(workload)), remedy=remedy)
    newest = newest_checkpoint(annotation(job, "output-uri"), run_id(job)) if evicted(view) else None
    return replace(view, checkpoint_step=newest[0]) if newest else view


def read_all(cluster: Cluster, jobs: Iterable[Object], *, everywhere: bool = False) -> dict[str, QueueView]:
    """Returns what Kueue knows of each Job that waits in a queue, by the Job's uid: one request, and one a queue.

    Args:
        cluster: The cluster.
        jobs: The Jobs.
        everywhere: They are of all namespaces; then their positions in the queues are left out.
    """
    waiting = [job for job in jobs if queue_of(job) and job["spec"].get("suspend") and not _is_over(job)]
    if not waiting:
        return {}
    try:
        workloads = cluster.select("Workload", everywhere=everywhere)
    except KfitError:
        return {}
    by_uid = {(item["metadata"].get("labels") or {}).get(_BY_JOB): item for item in workloads}
    queues = set() if everywhere else {queue_of(job) for job in waiting}
    pending = {queue: _pending(cluster, queue)[0] for queue in queues}
    views = {}
    for job in waiting:
        workload = by_uid.get(job["metadata"]["uid"])
        preemptor = _owner(by_uid.get(preemptor_uid(workload))) if workload else ""
        views[str(job["metadata"]["uid"])] = QueueView(workload, pending.get(queue_of(job)), preemptor)
    return views


def newest_checkpoint(output: str, run: str) -> tuple[int, float] | None:
    """Returns the newest checkpoint's step and commit time; None without one or where storage is out of reach here."""
    from k8s.status import stored_run  # brings storage, which most answers do not need

    places: list[tuple[int, float]] = []

    def ask() -> None:
        try:
            newest = stored_run.newest_checkpoint(output, run)
        except KfitError:
            return
        places.extend([newest] if newest else [])

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_STORAGE_S)
    return places[0] if places else None


def _pending(cluster: Cluster, queue: str) -> tuple[list[Object] | None, str]:
    """Returns the queue in its order, and what lets it be read where it cannot be."""
    try:
        return cluster.pending_workloads(queue), ""
    except AccessError as denied:
        return None, f"for its position {denied.remedy}"
    except KfitError:
        return None, ""  # Kueue's visibility API is not there, or away


def _job_of(cluster: Cluster, uid: str) -> str:
    """Returns the name of the Job with a UID that has a Workload in the namespace; empty where there is none."""
    if not uid or "UNKNOWN" in uid:
        return ""
    try:
        workloads = cluster.select("Workload", labels=f"{_BY_JOB}={uid}")
    except KfitError:
        return ""
    return _owner(workloads[0]) if workloads else ""


def _owner(workload: Object | None) -> str:
    """Returns the name of a Workload's Job."""
    owners = (workload or {"metadata": {}})["metadata"].get("ownerReferences") or []
    return str(owners[0]["name"]) if owners else ""


def _is_over(job: Object) -> bool:
    return bool(condition(job, "Complete") or condition(job, "Failed"))
