"""A run as one document: what `list` and `status` print, and what `-o json` contains. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from k8s.chart.yaml_documents import annotation, label, run_id
from k8s.status import pods, queue
from k8s.status.job_state import Phase, State
from k8s.status.pods import Object
from k8s.status.queue import QueueView
from k8s.status.training_progress import Progress


def summary(job: Object, state: State, now: datetime, queued: QueueView | None = None) -> dict[str, Any]:
    """Returns a Job as plain keys; scripts read them, so names and meanings stay."""
    status = job.get("status", {})
    began, ended = pods.moment(status.get("startTime") or ""), _ended_at(job)
    created = pods.moment(job["metadata"]["creationTimestamp"])
    spec = job["spec"]["template"]["spec"]
    trainer: Object = next((c for c in spec["containers"] if c["name"] == "trainer"), {})
    limits = (trainer.get("resources") or {}).get("limits") or {}
    return {
        "name": job["metadata"]["name"],
        "namespace": job["metadata"].get("namespace"),
        "run": run_id(job),
        "job": label(job, "app.kubernetes.io/instance"),
        "phase": state.phase.value,
        "why": state.why,
        "remedy": state.remedy,
        "exit_code": None if state.exit_code is None else int(state.exit_code),
        "restarts": state.restarts,
        "nodes": int(job["spec"].get("completions") or 1),
        "resources": dict(limits),
        "queue": queue.document(job, queued),
        "image": trainer.get("image"),
        "schedule": label(job, "kfit.dev/cronjob") or None,
        "output": annotation(job, "output-uri"),
        "age_s": _seconds(created, now),
        "duration_s": _seconds(began, ended or now) if began and state.phase not in _IDLE else None,
        "workers": [{"index": w.index, "pod": w.pod or None, "doing": w.doing} for w in state.workers],
        "ended": [{"pod": e.pod, "exit_code": e.code, "cause": e.cause, "error": e.error} for e in state.ended],
    }  # fmt: skip


_IDLE = (Phase.QUEUED, Phase.SUSPENDED, Phase.PENDING)


def progress_document(progress: Progress, now: datetime) -> dict[str, Any]:
    """Returns how far a run is, as plain keys."""
    seen, saved = pods.moment(progress.at), pods.moment(progress.checkpoint_at)
    silent_s = _seconds(seen, now)
    eta_s = None if progress.eta_s is None or silent_s is None else max(0.0, progress.eta_s - silent_s)
    return {
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "step": progress.step,
        "steps": progress.steps,
        "metrics": dict(progress.logs),
        "rows_per_s": progress.rows_per_s,
        "eta_s": eta_s,
        "doing": progress.phase,
        "silent_s": silent_s,
        "checkpoint": None
        if progress.checkpoint_step is None
        else {"step": progress.checkpoint_step, "age_s": _seconds(saved, now)},
    }


def of_jobs(jobs: Sequence[Object], all_pods: Sequence[Object]) -> list[tuple[Object, list[Object]]]:
    """Returns each Job with its own pods, the newest Job first."""
    by_job: dict[tuple[Any, str], list[Object]] = {}
    for pod in all_pods:
        key = pod["metadata"].get("namespace"), label(pod, "batch.kubernetes.io/job-name")
        by_job.setdefault(key, []).append(pod)
    newest = sorted(jobs, key=pods.created, reverse=True)
    return [(job, by_job.get((job["metadata"].get("namespace"), job["metadata"]["name"]), [])) for job in newest]


def _ended_at(job: Object) -> datetime | None:
    failed_at = pods.condition(job, "Failed", status=None).get("lastTransitionTime")
    return pods.moment(job.get("status", {}).get("completionTime") or failed_at or "")


def _seconds(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else round(max(0.0, (end - start).total_seconds()), 1)
