"""Where a Job stands in a queue of Kueue, from Kueue's own objects. Pure.

Kueue tells most of it in conditions of the Job's Workload, and the numbers in their messages alone; the patterns below
are those of Kueue 0.10 to 0.17. A message that no pattern knows is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8s.status.pods import Object, Waiting, condition, kubectl

_QUEUE = "kueue.x-k8s.io/queue-name"
_MORE = re.compile(r"insufficient unused quota for (\S+) in flavor (\S+), (\S+) more needed")
_TOO_MUCH = re.compile(
    r"insufficient quota for (\S+) in flavor (\S+), previously considered podsets requests \((\S+)\) "
    r"\+ current podset request \((\S+)\) > maximum capacity \((\S+)\)"
)
_CLOSED = re.compile(r"(LocalQueue|ClusterQueue) \S+ (doesn't exist|is inactive)")
_NOT_THERE = re.compile(r"resource (\S+) unavailable in ClusterQueue")
_PREEMPTOR = re.compile(r"JobUID: ([^)\s]+)\) due to ([^;]+?)(?:; preemptor path: (\S+?);.*)?$")
_EVICTIONS = {
    "PodsReadyTimeout": "its pods were not ready in time",
    "AdmissionCheck": "an admission check took back its admission",
    "ClusterQueueStopped": "its cluster queue was stopped",
    "LocalQueueStopped": "its queue was stopped",
    "NodeFailures": "a node of it failed",
}
_PREEMPTIONS = {
    "prioritization in the ClusterQueue": "which has a higher priority",
    "reclamation within the cohort": "whose cluster queue took back what it had lent",
    "reclamation within the cohort while borrowing": "whose cluster queue took back what it had lent",
    "Fair Sharing within the cohort": "by fair sharing of the cohort",
}
_SETTINGS = {"cpu": "resources.cpu", "memory": "resources.memory", "ephemeral-storage": "resources.ephemeralStorage"}


@dataclass(frozen=True)
class _Ask:
    """One of Kueue's reasons: a resource of a flavor that is too small even when it is empty. All are quantities."""

    resource: str
    flavor: str
    before: str
    asked: str
    most: str


@dataclass(frozen=True)
class QueueView:
    """What was read about a Job in a queue.

    Attributes:
        workload: Kueue's Workload of the Job; None where there is none, or `fault` says why it was not read.
        pending: What waits in the same queue, as Kueue's visibility API lists it; None where it was not read.
        preemptor: Name of the Job for which this one was preempted; empty where it is not in this namespace.
        checkpoint_step: Step of the newest checkpoint of a run that was evicted; None where none is known.
        fault: Why the Workload was not read.
        remedy: What makes what was not read readable.
    """

    workload: Object | None = None
    pending: Sequence[Object] | None = None
    preemptor: str = ""
    checkpoint_step: int | None = None
    fault: str = ""
    remedy: str = ""


def queue_of(job: Object) -> str:
    """Returns the Kueue queue of a Job; empty without one."""
    return str((job["metadata"].get("labels") or {}).get(_QUEUE, ""))


def document(job: Object, view: QueueView | None) -> dict[str, Any] | None:
    """Returns a Job's place in its queue as plain keys; None for a Job without a queue."""
    name = queue_of(job)
    if not name:
        return None
    place, length = position(view) or (None, None)
    admitted, asked = admitted_nodes(view) or (None, None)
    return {
        "name": name,
        "position": place,
        "length": length,
        "never_fits": bool(view and view.workload and _never_fits(view.workload)),
        "evicted": evicted(view) or None,
        "admitted_nodes": admitted,
        "asked_nodes": asked,
    }


def position(view: QueueView | None) -> tuple[int, int] | None:
    """Returns a waiting Workload's position in its queue, from 1, and how many wait there; None where unknown."""
    if view is None or view.workload is None or view.pending is None:
        return None
    own = view.workload["metadata"]["name"]
    for entry in view.pending:
        if entry["metadata"]["name"] == own:
            return int(entry.get("positionInLocalQueue") or 0) + 1, len(view.pending)
    return None


def admitted_nodes(view: QueueView | None) -> tuple[int, int] | None:
    """Returns the nodes that an admitted Workload was given, and those it asked for; None where it is not admitted."""
    if view is None or view.workload is None or not condition(view.workload, "Admitted"):
        return None
    given = ((view.workload["status"].get("admission") or {}).get("podSetAssignments") or [{}])[0]
    return int(given.get("count") or _nodes(view.workload)), _nodes(view.workload)


def preemptor_uid(workload: Object) -> str:
    """Returns the UID of the Job for which a Workload was preempted; empty where it was not."""
    told = condition(workload, "Evicted")
    preemption = _PREEMPTOR.search(str(told.get("message", ""))) if told.get("reason") == "Preempted" else None
    return preemption[1] if preemption else ""


def evicted(view: QueueView | None) -> str:
    """Returns why a run that had been admitted was stopped; empty where it was not."""
    if view is None or view.workload is None:
        return ""
    told = condition(view.workload, "Evicted")
    reason, message = str(told.get("reason", "")), str(told.get("message", ""))
    if not reason or reason.startswith("Deactivated"):
        return ""
    if reason != "Preempted":
        return f"evicted: {_EVICTIONS.get(reason) or message or reason}"
    preemption = _PREEMPTOR.search(message)
    if preemption is None:
        return f"preempted: {message}"
    _, cause, path = preemption.groups(default="")
    who = f"Job {view.preemptor}" if view.preemptor else "a Job that is gone or in another namespace"
    if not view.preemptor and (cluster_queue := path.rpartition("/")[2]):
        who += f" (cluster queue {cluster_queue})"
    return f"preempted by {who}, {_PREEMPTIONS.get(cause, cause)}"


def waiting(job: Object, view: QueueView | None) -> Waiting:
    """Returns why a Job that Kueue holds does not run, with the remedy."""
    queue, job_name = queue_of(job), str(job["metadata"]["name"])
    if view is None:
        return Waiting("queue", f"waits in queue {queue}", _ahead(queue))
    if view.fault:
        return Waiting("queue:unread", f"waits in queue {queue}; why is unknown: {view.fault}", view.remedy)
    if view.workload is None:
        return Waiting("queue:unseen", f"waits in queue {queue}: Kueue has not taken it up yet", _ahead(queue))
    reason = _of_workload(queue, job_name, view, view.workload)
    text = f"{before}; {reason.text}" if (before := evicted(view)) else reason.text
    if view.checkpoint_step is not None:
        text += f"; the newest checkpoint is of step {view.checkpoint_step:,}"
    return Waiting(f"{reason.key}:{before}", text, reason.remedy)


def _of_workload(queue: str, job: str, view: QueueView, workload: Object) -> Waiting:
    if finished := condition(workload, "Finished"):
        text = f"Kueue has given it up: {finished.get('message', '')}"
        return Waiting("queue:finished", text, f"kfit cancel {job}, then kfit resume RUN -f JOB makes its Job anew")
    if workload.get("spec", {}).get("active") is False:
        why, name = _deactivation(workload), workload["metadata"]["name"]
        active = f"""{kubectl(workload)} patch workload {name} --type=merge -p '{{"spec":{{"active":true}}}}'"""
        text = f"deactivated{why}: Kueue does not admit it"
        return Waiting(f"queue:inactive:{why}", text, f"{active} lets it in again")
    if condition(workload, "QuotaReserved"):
        return _reserved(queue, workload)
    message = _quota_message(workload)
    if _CLOSED.match(message):
        remedy = (
            f"kubectl get localqueue shows the queues; name one in queue of the job file: kfit cancel {job}, submit"
        )
        return Waiting(f"queue:{message}", f"queue {queue} admits nothing: {message}", remedy)
    if asks := _never_fits(workload):
        less = f"ask for less ({_settings(message, workload)} in the job file) or name a larger queue"
        return Waiting(f"queue:never:{asks}", f"never fits queue {queue}: {asks}", f"{less}: kfit cancel {job}, submit")
    place = position(view)
    where = f"queue {queue}" + (f" (position {place[0]} of {place[1]})" if place else "")
    needs = ", ".join(f"{amount} more {resource}" for resource, _, amount in _MORE.findall(message))
    why = f"{needs} needed" if needs else message
    remedy = _ahead(queue) + (f"; {view.remedy}" if view.remedy else "")
    return Waiting(f"queue:{place}:{why}", f"waits in {where}" + (f": {why}" if why else ""), remedy)


def _reserved(queue: str, workload: Object) -> Waiting:
    """Returns what a Workload that has its quota still waits for: admission checks, or its start."""
    checks = workload["status"].get("admissionChecks") or []
    open_checks = [c for c in checks if c.get("state") != "Ready"]
    if not open_checks:
        return Waiting("queue:admitted", f"queue {queue} has admitted it; it starts")
    told = "; ".join(f"{c['name']} {c.get('state', '')}: {c.get('message', '')}".rstrip(": ") for c in open_checks)
    return Waiting(f"queue:check:{told}", f"queue {queue} has room for it, admission checks are open: {told}")


def _never_fits(workload: Object) -> str:
    """Returns what a Workload asks for beyond all that its queue can ever give; empty where waiting may help.

    It never fits where each flavor that Kueue names is too small even when it is empty, for the fewest nodes too.
    """
    if condition(workload, "QuotaReserved"):
        return ""
    message = _quota_message(workload)
    if absent := _NOT_THERE.findall(message):
        return f"it has no {', '.join(absent)}"
    share = int(_pod_set(workload).get("minCount") or _nodes(workload)) / _nodes(workload)
    asks = [_Ask(*groups) for groups in _TOO_MUCH.findall(message)]
    hopeless = [ask for ask in asks if _amount(ask.before) + _amount(ask.asked) * share > _amount(ask.most)]
    flavors = {ask.flavor for ask in asks} | {flavor for _, flavor, _ in _MORE.findall(message)}
    if not hopeless or flavors - {ask.flavor for ask in hopeless}:
        return ""
    largest = {ask.resource: ask for ask in sorted(hopeless, key=lambda ask: _amount(ask.most))}
    return "; ".join(f"asked for {ask.asked} {ask.resource}, its most is {ask.most}" for ask in largest.values())


def _settings(message: str, workload: Object) -> str:
    """Returns the keys of the job file by which less is asked for."""
    resources = [resource for resource, *_ in _TOO_MUCH.findall(message)] or _NOT_THERE.findall(message)
    settings = [_SETTINGS.get(resource, "resources.gpus") for resource in resources]
    return " or ".join(dict.fromkeys([*settings, "nodes"] if _nodes(workload) > 1 else settings))


def _nodes(workload: Object) -> int:
    return int(_pod_set(workload).get("count") or 1)


def _pod_set(workload: Object) -> Mapping[str, Any]:
    return dict((workload.get("spec", {}).get("podSets") or [{}])[0])


def _deactivation(workload: Object) -> str:
    reason = str(condition(workload, "Evicted").get("reason", "")).removeprefix("DeactivatedDueTo")
    words = {
        "RequeuingLimitExceeded": " after too many evictions",
        "MaximumExecutionTimeExceeded": " after its longest execution time",
        "AdmissionCheck": " by an admission check",
    }
    return words.get(reason, "")


def _ahead(queue: str) -> str:
    return f"kubectl get workloads shows what is ahead of it in queue {queue}"


def _quota_message(workload: Object) -> str:
    return str(condition(workload, "QuotaReserved", status=None).get("message", ""))


def _amount(quantity: str) -> float:
    """Returns a Kubernetes quantity as a number."""
    factors = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
               "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}  # fmt: skip
    parts = re.fullmatch(r"([0-9.e+]+)([a-zA-Z]*)", quantity)
    return float(parts[1]) * factors.get(parts[2], 1.0) if parts else 0.0
