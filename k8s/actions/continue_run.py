"""The manifests of a Job that goes on with another's run, made from what is in the cluster. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from k8s.chart.yaml_documents import label, run_id
from k8s.status.pods import Object

#: What the cluster wrote into a Job; a new one gets its own.
_CLUSTERS_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")
_CLUSTERS_NOTES = ("batch.kubernetes.io/job-tracking", "batch.kubernetes.io/cronjob-scheduled-timestamp")


def next_name(job: Object) -> str:
    """Name of the Job that goes on after another: the same however often it is asked for."""
    base = label(job, "app.kubernetes.io/instance") or str(job["metadata"]["name"])[:54]
    return f"{base}-{hashlib.sha256(str(job['metadata']['uid']).encode()).hexdigest()[:8]}"


def manifests(job: Object, companions: Sequence[Object]) -> list[Object]:
    """A new Job for the run of one that is over, and its own ConfigMap, Service and NetworkPolicy.

    Args:
        job: The Job that is over.
        companions: What the Job owns or mounts under its own name.
    """
    old, new = str(job["metadata"]["name"]), next_name(job)
    made = [_renamed(_bare(c), old, new) for c in companions]
    again = _renamed(_bare(job), old, new)
    spec, template = again["spec"], again["spec"]["template"]
    spec.pop("selector", None)
    spec.pop("manualSelector", None)
    spec.pop("suspend", None)  # a queue suspends it anew
    labels = template["metadata"]["labels"]
    template["metadata"]["labels"] = {k: v for k, v in labels.items() if k not in _CLUSTERS_LABELS}
    template["metadata"].pop("creationTimestamp", None)
    if (day := logical_date(job)) is not None:
        template["metadata"].setdefault("annotations", {})["kfit.dev/date"] = day
    for container in template["spec"]["containers"]:
        container["env"] = [_set_run(e, run_id(job)) for e in container.get("env") or []]
    return [*made, again]


def logical_date(job: Object) -> str | None:
    """The day a scheduled Job is for, which its new name will not tell."""
    given = (job["spec"]["template"]["metadata"].get("annotations") or {}).get("kfit.dev/date")
    cron = label(job, "kfit.dev/cronjob")
    minutes = re.fullmatch(rf"{re.escape(cron)}-(\d+)", job["metadata"]["name"]) if cron else None
    if given or minutes is None:
        return given
    at = datetime.fromtimestamp(int(minutes[1]) * 60, UTC)
    return at.astimezone(_zone(job)).date().isoformat()


def _zone(job: Object) -> ZoneInfo:
    """Where the schedule is: its midnight parts the days."""
    env = [e for c in job["spec"]["template"]["spec"]["containers"] for e in c.get("env") or []]
    return ZoneInfo(next((e["value"] for e in env if e["name"] == "KFIT_TIME_ZONE" and e.get("value")), "UTC"))


def _bare(found: Object) -> Object:
    """An object without what the cluster wrote into it."""
    meta = found["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in _CLUSTERS_LABELS}
    notes = {k: v for k, v in (meta.get("annotations") or {}).items()
             if k not in _CLUSTERS_NOTES and not k.startswith("kubectl.")}  # fmt: skip
    kept = {k: v for k, v in found.items() if k not in ("status", "metadata")}
    return {**kept, "metadata": {"name": meta["name"], "labels": labels, "annotations": notes}}


def _renamed(value: Any, old: str, new: str) -> Any:
    """The value with every text that is exactly the old name replaced; names that begin with it too."""
    if isinstance(value, dict):
        return {k: _renamed(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(v, old, new) for v in value]
    return new if value == old else value


def _set_run(variable: Object, run: str) -> Object:
    return {"name": "KFIT_RUN", "value": run} if variable["name"] == "KFIT_RUN" else variable
