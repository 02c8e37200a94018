"""Schedules: a run started by hand from one, and what an older version of one leaves behind. Pure, but for `prune`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from k8s.actions.apply import owner
from k8s.api.client import Cluster
from k8s.errors import AccessError
from k8s.status.pods import Object, moment


def triggered(cronjob: Object, now: datetime, day: date | None) -> Object:
    """A Job of a schedule, now.

    Its name cannot be one the controller gives, so the logical date stands in an annotation, and every retry
    is for the same day.

    Args:
        cronjob: The schedule.
        now: The time, with its zone.
        day: The day it is for. Default: today where the schedule is.
    """
    name = cronjob["metadata"]["name"]
    template = cronjob["spec"]["jobTemplate"]
    zone = _zone(cronjob["spec"].get("timeZone"))
    pod = template["spec"]["template"]
    notes = {**(pod["metadata"].get("annotations") or {})}
    notes["kfit.dev/date"] = (day or now.astimezone(zone).date()).isoformat()
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name}-m{int(now.timestamp()):x}",
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), "cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [owner(cronjob, controller=True)],
        },
        "spec": {
            **template["spec"],
            "template": {**pod, "metadata": {**pod["metadata"], "annotations": notes}},
        },
    }


def summary(cronjob: Object, now: datetime) -> dict[str, Any]:
    """A schedule in a few plain keys."""
    spec, status = cronjob["spec"], cronjob.get("status", {})
    last, created = moment(status.get("lastScheduleTime") or ""), moment(cronjob["metadata"]["creationTimestamp"])
    notes = (spec["jobTemplate"].get("metadata") or {}).get("annotations") or {}
    return {
        "name": cronjob["metadata"]["name"],
        "cron": spec["schedule"],
        "time_zone": spec.get("timeZone"),
        "suspended": bool(spec.get("suspend")),
        "active": [job["name"] for job in status.get("active") or []],
        "last_s": (now - last).total_seconds() if last else None,
        "age_s": (now - created).total_seconds() if created else None,
        "output": notes.get("kfit.dev/output-uri", ""),
    }


def prune(cluster: Cluster, cronjob: Object) -> list[str]:
    """Deletes job files of older versions of a schedule that no Job mounts any more; says which."""
    name = cronjob["metadata"]["name"]
    labels = f"kfit.dev/cronjob={name}"
    try:
        jobs = cluster.select("Job", labels=labels)
        mounted = {m for j in jobs for m in _mounted(j["spec"])} | set(_mounted(cronjob["spec"]["jobTemplate"]["spec"]))
        old = [c["metadata"]["name"] for c in cluster.select("ConfigMap", labels=labels)]
        gone = [c for c in old if c not in mounted]
        for config in gone:
            cluster.delete("ConfigMap", config)
    except AccessError:
        return []  # they go with the schedule anyway
    return gone


def _mounted(job_spec: Object) -> list[str]:
    return [v["configMap"]["name"] for v in job_spec["template"]["spec"].get("volumes") or [] if "configMap" in v]


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
