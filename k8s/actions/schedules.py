"""Schedules: the Job of a run started by hand, a summary, and the removal of old versions' job files."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from k8s.actions.apply import owner_reference
from k8s.chart.yaml_documents import annotation
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


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
