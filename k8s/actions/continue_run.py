"""The manifests of a Job that continues another Job's run, made from what is in the cluster. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from k8s.chart.yaml_documents import annotation, label, run_id
from k8s.errors import RefusedError
from k8s.status.pods import Object

#: Written into a Job by the cluster; a new Job gets its own.
_CLUSTER_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")
_CLUSTER_ANNOTATIONS = ("batch.kubernetes.io/job-tracking", "batch.kubernetes.io/cronjob-scheduled-timestamp")
#: Written into the pods of a Job that Kueue admits. It never starts a new Job that has those of another.
_QUEUE_MARKS = (
    "kueue.x-k8s.io/workload", "kueue.x-k8s.io/podset", "kueue.x-k8s.io/cluster-queue-name",
    "kueue.x-k8s.io/local-queue-name", "kueue.x-k8s.io/tas",
)  # fmt: skip
#: The scheduling gate of Kueue's topologies.
_QUEUE_GATE = "kueue.x-k8s.io/topology"


def next_name(job: Object) -> str:
    """Returns the name of the Job that continues a Job's run: the same however often it is asked for."""
    base = label(job, "app.kubernetes.io/instance") or str(job["metadata"]["name"])[:54]
    return f"{base}-{hashlib.sha256(str(job['metadata']['uid']).encode()).hexdigest()[:8]}"


def manifests(job: Object, companions: Sequence[Object]) -> list[Object]:
    """Returns a new Job for the run of one that is over, with its own Service and NetworkPolicy.

    Args:
        job: The Job that is over.
        companions: What the Job owns or mounts under its own name.

    Raises:
        RefusedError: Somebody changed an annotation of the Job that says where its pods may run.
    """
    old, new = str(job["metadata"]["name"]), next_name(job)
    copies = [_renamed(_without_cluster_fields(c), old, new) for c in companions]
    next_job = _renamed(_without_cluster_fields(job), old, new)
    spec, template = next_job["spec"], next_job["spec"]["template"]
    spec.pop("selector", None)
    spec.pop("manualSelector", None)
    spec.pop("suspend", None)  # a queue suspends it anew
    for part in ("labels", "annotations"):
        marks = template["metadata"].get(part) or {}
        template["metadata"][part] = {k: v for k, v in marks.items() if k not in (*_CLUSTER_LABELS, *_QUEUE_MARKS)}
    template["metadata"].pop("creationTimestamp", None)
    _place_as_asked(template["spec"], _asked_placement(job))
    if nodes := _environment(job).get("KFIT_NODES"):  # a queue may have admitted fewer
        spec |= {"parallelism": int(nodes), "completions": int(nodes)}
    if (day := logical_date(job)) is not None:
        template["metadata"]["annotations"]["kfit.dev/date"] = day
    run = {"name": "KFIT_RUN", "value": run_id(job)}
    for container in template["spec"]["containers"]:
        container["env"] = [run if e["name"] == "KFIT_RUN" else e for e in container.get("env") or []]
    return [*copies, next_job]


def _asked_placement(job: Object) -> Object:
    """Returns what the job file said of where pods may run; empty for a Job in no queue, which keeps what it has."""
    text = annotation(job, "placement") or "{}"
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not asked.keys() <= {"nodeSelector", "tolerations"}:
        raise RefusedError(
            f"the annotation kfit.dev/placement is not what the chart writes: {text[:80]!r}",
            where=f"Job {job['metadata']['name']}",
            remedy="kfit resume RUN -f job.yaml makes the Job from the job file",
        )
    return asked


def _place_as_asked(pod: Object, asked: Object) -> None:
    """Takes out what pins pods to the nodes that Kueue chose for the old Job; the new one may get others."""
    gates = [gate for gate in pod.get("schedulingGates", ()) if gate["name"] != _QUEUE_GATE]
    for key, value in {**asked, "schedulingGates": gates}.items():
        pod.pop(key, None)
        if value:
            pod[key] = value


def logical_date(job: Object) -> str | None:
    """Returns the logical date of a scheduled Job, which the new Job's name does not carry; None without one."""
    given = (job["spec"]["template"]["metadata"].get("annotations") or {}).get("kfit.dev/date")
    cron = label(job, "kfit.dev/cronjob")
    minutes = re.fullmatch(rf"{re.escape(cron)}-(\d+)", job["metadata"]["name"]) if cron else None
    if given or minutes is None:
        return given
    zone = ZoneInfo(_environment(job).get("KFIT_TIME_ZONE") or "UTC")
    return datetime.fromtimestamp(int(minutes[1]) * 60, zone).date().isoformat()


def _environment(job: Object) -> dict[str, str]:
    """Returns the variables of a Job's containers that have a value of their own."""
    env = [e for c in job["spec"]["template"]["spec"]["containers"] for e in c.get("env") or []]
    return {e["name"]: str(e["value"]) for e in env if "value" in e}


def _without_cluster_fields(current: Object) -> Object:
    """Returns an object without what the cluster wrote into it."""
    meta = current["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in _CLUSTER_LABELS}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items()
                   if k not in _CLUSTER_ANNOTATIONS and not k.startswith("kubectl.")}  # fmt: skip
    content = {k: v for k, v in current.items() if k not in ("status", "metadata")}
    return {**content, "metadata": {"name": meta["name"], "labels": labels, "annotations": annotations}}


def _renamed(value: Any, old: str, new: str) -> Any:
    """Returns the value with every text that equals the old name replaced by the new one."""
    if isinstance(value, dict):
        return {k: _renamed(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(v, old, new) for v in value]
    return new if value == old else value
