"""Jobs, pods and events as an API server sends them, with what a test says and no more."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def job(
    name="train-1a2b3c4d", *, conditions=(), uid="job-uid", spec=None, labels=None, annotations=None, **status
) -> Object:
    env = [{"name": "KFIT_RUN", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]
    container = {"name": "trainer", "image": "r/trainer:1", "env": env, "resources": {"limits": {"cpu": "1"}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "uid": uid,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/part-of": "kfit", "app.kubernetes.io/instance": "train", **(labels or {})},
            "annotations": {
                "kfit.dev/output-uri": "s3://models/train",
                "kfit.dev/values-hash": "h",
                **(annotations or {}),
            },
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "activeDeadlineSeconds": 60,
            "template": {"metadata": {"labels": {}}, "spec": {"containers": [container]}},
            **(spec or {}),
        },
        "status": {"conditions": [{"status": "True", **c} for c in conditions], **status},
    }


def pod(name="train-1a2b3c4d-x", *, phase="Running", state=None, conditions=None, index=None, **meta) -> Object:
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    placed = [{"type": "PodScheduled", "status": "True"}] if conditions is None else list(conditions)
    statuses = [{"name": "trainer", "state": state}] if state else []
    requests = {"cpu": "1", "nvidia.com/gpu": "3"}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": annotations,
            **meta,
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "trainer", "image": "r/trainer:1", "resources": {"requests": requests}}],
        },
        "status": {"phase": phase, "conditions": placed, "containerStatuses": statuses},
    }


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}


def terminated(code: int, *, reason="Error", message="", at="2026-01-01T00:01:00Z") -> Object:
    began = {"startedAt": "2026-01-01T00:00:01Z"}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": at, **began}}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def unplaced(message: str) -> list[Object]:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


def disrupted(reason="EvictionByEvictionAPI") -> list[Object]:
    placed = {"type": "PodScheduled", "status": "True"}
    return [placed, {"type": "DisruptionTarget", "status": "True", "reason": reason}]


def event(reason: str, message: str = "", *, at="2026-01-01T00:00:05Z", about="train-1a2b3c4d", count=1) -> Object:
    return {
        "metadata": {"name": f"{about}.{reason.lower()}", "uid": f"{reason}-{at}", "creationTimestamp": at},
        "involvedObject": {"name": about},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "count": count,
    }


def schedule(name="nightly") -> Object:
    labels = {"app.kubernetes.io/part-of": "kfit", "kfit.dev/cronjob": name}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [], "volumes": []}}
    annotations = {"kfit.dev/values-hash": "h"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"template": pods}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "uid": "cron", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels},
        "spec": {"schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "jobTemplate": template},
    }
