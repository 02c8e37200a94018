"""Schedules: the Job of a run started by hand, a summary, and the removal of old versions' job files."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from k8s.actions.apply import owner_reference
from k8s.api.client import OURS, Cluster
from k8s.chart.yaml_documents import annotation
from k8s.errors import AccessError
from k8s.status.pods import Object, moment


def triggered(cronjob: Object, now: datetime, day: date | None) -> Object:
    """Returns the manifest of a Job that runs a schedule now.

    Its name is not one that the CronJob controller gives, so the logical date stands in an annotation, and every
    retry is for the same day.

    Args:
        cronjob: The schedule.
        now: The time, with its zone.
        day: The run's logical date. Default: today in the schedule's time zone.
    """
    name = cronjob["metadata"]["name"]
    template = cronjob["spec"]["jobTemplate"]
    zone = _zone(cronjob["spec"].get("timeZone"))
    pod = template["spec"]["template"]
    annotations = {**(pod["metadata"].get("annotations") or {})}
    annotations["kfit.dev/date"] = (day or now.astimezone(zone).date()).isoformat()
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name}-m{int(now.timestamp()):x}",
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), "cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [owner_reference(cronjob, controller=True)],
        },
        "spec": {
            **template["spec"],
            "template": {**pod, "metadata": {**pod["metadata"], "annotations": annotations}},
        },
    }


def summary(cronjob: Object, now: datetime) -> dict[str, Any]:
    """Returns a schedule as the plain keys that `kfit schedule list -o json` prints."""
    spec, status = cronjob["spec"], cronjob.get("status", {})
    last, created = moment(status.get("lastScheduleTime") or ""), moment(cronjob["metadata"]["creationTimestamp"])
    return {
        "name": cronjob["metadata"]["name"],
        "cron": spec["schedule"],
        "time_zone": spec.get("timeZone"),
        "suspended": bool(spec.get("suspend")),
        "active": [job["name"] for job in status.get("active") or []],
        "last_s": (now - last).total_seconds() if last else None,
        "age_s": (now - created).total_seconds() if created else None,
        "output": annotation(cronjob, "output-uri"),
    }


def delete_unused_job_files(cluster: Cluster, cronjob: Object) -> list[str]:
    """Deletes the ConfigMaps of older versions of a schedule that no Job mounts any more.

    Returns:
        Their names; none where the right to list or delete them is missing, since they go with the schedule anyway.
    """
    name = cronjob["metadata"]["name"]
    labels = f"{OURS},kfit.dev/cronjob={name}"
    try:
        jobs = cluster.select("Job", labels=labels)
        in_use = {m for j in jobs for m in _mounted(j["spec"])} | set(_mounted(cronjob["spec"]["jobTemplate"]["spec"]))
        config_maps = [c["metadata"]["name"] for c in cluster.select("ConfigMap", labels=labels)]
        unused = [name for name in config_maps if name not in in_use]
        for config_map in unused:
            cluster.delete("ConfigMap", config_map)
    except AccessError:
        return []
    return unused


def _mounted(job_spec: Object) -> list[str]:
    return [v["configMap"]["name"] for v in job_spec["template"]["spec"].get("volumes") or [] if "configMap" in v]


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
