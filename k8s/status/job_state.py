"""The state of a Job, from its own status, its pods and its events. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from k8s.errors import WaitCode
from k8s.status import pods, queue
from k8s.status.pods import Ended, Object, Waiting
from k8s.status.queue import QueueView, queue_of
from trainer.errors import ExitCode

#: Workers leave within half a minute of each other.
_TOGETHER_S = 60.0
#: Who runs a Job that names no other controller.
_KUBERNETES = "kubernetes.io/job-controller"


class Phase(enum.Enum):
    """The phase of a Job."""

    QUEUED = "Queued"
    SUSPENDED = "Suspended"
    PENDING = "Pending"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def over(self) -> bool:
        """Whether the Job has ended."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


@dataclass(frozen=True)
class Seen:
    """Everything observed of a Job at one moment.

    Attributes:
        job: The Job; None where it was deleted.
        pods: Its pods that still exist.
        events: Events about the Job and its pods.
        queued: What Kueue knows of it; None where it was not asked.
        ran: Whether a pod was seen to run before, even if it was deleted since.
    """

    job: Object | None
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    queued: QueueView | None = None
    ran: bool = False


@dataclass(frozen=True)
class Worker:
    """One of several workers: its newest pod (empty: none), and `running`, why it waits, or how it ended."""

    index: int
    pod: str
    doing: str


@dataclass(frozen=True)
class State:
    """The state of a Job.

    Attributes:
        phase: Its phase.
        why: One line for a person: why it waits, or how it ended. Empty while it runs.
        key: Stays the same as long as the reason does.
        remedy: How to fix it.
        exit_code: What `kfit wait` returns; None while it goes on.
        current: Names of the pods that run or will run, by index.
        ended: How earlier pods ended, the oldest first.
        restarts: Number of pods that were replaced.
        error: The trainer's last error, where it failed.
        ending: Whether the Job has failed and its pods are being terminated.
        workers: Each of several; empty where there is one.
    """

    phase: Phase
    why: str = ""
    key: str = ""
    remedy: str = ""
    exit_code: int | None = None
    current: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()
    restarts: int = 0
    error: str = ""
    ending: bool = False
    workers: tuple[Worker, ...] = ()

    @property
    def outcome(self) -> str:
        """How the Job ended, for a person: `failed: exit 65: data breaks its contract`."""
        return self.phase.value.lower() + (f": {self.why}" if self.why not in ("", "done") else "")

    @property
    def first_failed(self) -> Ended | None:
        """The worker that failed first, not because a peer had failed; of the newest failure. None with one worker."""
        own = [e for e in self.ended if self.workers and (e.disrupted or e.code not in (0, 75, 76, None))]
        last = pods.moment(own[-1].at) if own else None
        together = [e for e in own if last and (at := pods.moment(e.at)) and (last - at).total_seconds() <= _TOGETHER_S]
        return together[0] if together else own[-1] if own else None


def read(seen: Seen) -> State:
    """Returns the state of a Job."""
    job = seen.job
    if job is None:
        return State(Phase.CANCELLED, "the Job is gone", "gone", exit_code=WaitCode.CANCELLED)
    seen = replace(seen, events=[e for e in seen.events if not _is_of_earlier_job(e, job)])
    ended = tuple(sorted((e for p in seen.pods if (e := pods.ended(p))), key=lambda e: e.at))
    alive = sorted((p for p in seen.pods if pods.ended(p) is None), key=pods.index)
    common: dict[str, Any] = {
        "ended": ended,
        "restarts": _restarts(job, seen),
        "ending": bool(pods.condition(job, "FailureTarget")),
        "workers": _workers(job, seen),
    }
    final = _final(job, seen, ended)
    if final is not None:
        phase, why, code, remedy = final
        error = ended[-1].error if ended and phase is Phase.FAILED else ""
        return State(phase, why, "over", remedy, exit_code=code, error=error, **common)
    current = tuple(pods.name(p) for p in alive)
    if job["metadata"].get("deletionTimestamp"):
        return State(Phase.CANCELLED, "the Job is being deleted", "deleting", current=current, **common)
    if job["spec"].get("suspend"):
        waits = _suspended(job, seen)
        phase = Phase.QUEUED if queue_of(job) else Phase.SUSPENDED
        return State(phase, waits.text, waits.key, waits.remedy, current=current, **common)
    pending = _pending(job, seen, alive, ended)
    if pending is not None:
        replaced = pending.key.startswith(("leaving:", "replace:")) or (ended and not alive)
        phase = Phase.RESTARTING if replaced else Phase.PENDING
        return State(phase, pending.text, pending.key, pending.remedy, current=current, **common)
    return State(Phase.RUNNING, key=",".join(current), current=current, **common)


def _is_of_earlier_job(event: Mapping[str, Any], job: Object) -> bool:
    """Returns whether an event is about a deleted Job of the same name: the same file sent again has the same one."""
    about = event.get("involvedObject", {})
    return bool(about.get("kind") == "Job" and about.get("uid") != job["metadata"]["uid"])


def _final(job: Object, seen: Seen, ended: Sequence[Ended]) -> tuple[Phase, str, int, str] | None:
    """Returns phase, reason, exit code and remedy of a Job that has ended; None while it goes on."""
    if pods.condition(job, "Complete"):
        return Phase.SUCCEEDED, "done", ExitCode.DONE, ""
    failed = pods.condition(job, "Failed")
    if not failed:
        return None
    name = job["metadata"]["name"]
    reason, message = str(failed.get("reason", "")), str(failed.get("message", ""))
    if reason == "DeadlineExceeded":
        limit = job["spec"].get("activeDeadlineSeconds")
        if not _ever_ran(seen):
            waited = _last_waiting(seen)
            why = f"no pod ran before its deadline of {limit} s" + (f": {waited.text}" if waited else "")
            return Phase.FAILED, why, WaitCode.NEVER_STARTED, waited.remedy if waited else f"kfit why {name}"
        why = f"stopped by its deadline (activeDeadlineSeconds: {limit})"
        return Phase.FAILED, why, ExitCode.PREEMPTED, f"kfit resume {name} continues from the newest checkpoint"
    code = _failing_code(message, ended)
    if code is None:
        return Phase.FAILED, message or reason, ExitCode.PROGRAM, f"kfit logs {name}"
    last = next((e for e in reversed(ended) if e.code == code), None)
    why = last.cause if last else f"exit {code}: {pods.meaning(code)}"
    if reason == "BackoffLimitExceeded":
        why += f" (tried {len(ended) or '?'} times)" if len(ended) != 1 else ""
    return Phase.FAILED, why, code, failure_remedy(code, name, bool(last and last.out_of_memory))


def failure_remedy(code: int, name: str, out_of_memory: bool = False) -> str:
    """Returns the command that fixes a failure."""
    if out_of_memory:
        return f"raise resources.memory in the job file (or lower run.data.memory), then kfit resume {name} -f JOB"
    resume = f"kfit resume {name} -f JOB continues from the newest checkpoint"
    remedies: dict[int, str] = {
        ExitCode.CONFIG: "fix the job file (`kfit check JOB` reports the same faults), then kfit submit JOB",
        ExitCode.DATA: "fix the data or the job file (`kfit check JOB`), then kfit submit JOB",
        ExitCode.STORAGE: f"check the store and the credentials from a pod, then kfit resume {name}",
        ExitCode.STALLED: f"kfit logs {name} has the stacks of all threads; raise run.fit.stall for slower steps",
        ExitCode.PREEMPTED: resume,
        ExitCode.PEER_LOST: resume,
    }
    return remedies.get(code, f"kfit logs {name} has the traceback")


def _failing_code(message: str, ended: Sequence[Ended]) -> int | None:
    """Returns the exit code that failed a Job: the one in the policy's message, else the last pod's."""
    named = re.search(r"failed with exit code (\d+)", message)
    if named:
        return int(named[1])
    return next((e.code for e in reversed(ended) if e.code not in (None, 0, 75, 76) and not e.disrupted), None)


def _ever_ran(seen: Seen) -> bool:
    return (
        seen.ran
        or any(pods.has_started(p) for p in seen.pods)
        or any(e.get("reason") == "Started" for e in seen.events)
    )


def _last_waiting(seen: Seen) -> Waiting | None:
    """Returns why no pod ran, from the events that remain when the pods are deleted."""
    for event in sorted(seen.events, key=pods.event_time, reverse=True):
        if event.get("reason") == "FailedScheduling":
            fake = {"metadata": {"name": ""}, "status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "message": event.get("message", "")}]}}  # fmt: skip
            return pods.waiting(fake)
        if event.get("reason") in ("Failed", "ErrImagePull") and "image" in str(event.get("message")):
            return Waiting("image", str(event["message"]), "image.repository and image.tag in the job file name it")
        if event.get("reason") == "FailedCreate":
            return _not_created(event)
    return None


def _suspended(job: Object, seen: Seen) -> Waiting:
    if queue_of(job):
        return queue.waiting(job, seen.queued)
    patch = f"{pods.kubectl(job)} patch job {job['metadata']['name']}"
    resume = f"""{patch} --type=merge -p '{{"spec":{{"suspend":false}}}}'"""
    return Waiting("suspended", "no pod starts until it is resumed", f"{resume} resumes it")


def _pending(job: Object, seen: Seen, alive: Sequence[Object], ended: Sequence[Ended]) -> Waiting | None:
    parallelism = int(job["spec"].get("parallelism") or 1)
    for pod in alive:
        if (waits := pods.waiting(pod, _about(seen, pod))) is not None:
            return waits
        if pod["metadata"].get("deletionTimestamp"):
            by = pods.disruption(pod) or "being deleted"
            return Waiting(f"leaving:{pods.name(pod)}", f"pod {pods.name(pod)}: {by}; it saves a checkpoint and ends")
    if len(alive) >= parallelism:
        return None
    refused, created = pods.newest(seen.events, "FailedCreate"), pods.newest(seen.events, "SuccessfulCreate")
    if refused and (created is None or pods.event_time(refused) >= pods.event_time(created)):
        return _not_created(refused)
    if ended:
        last = max(ended, key=lambda e: e.at)
        return Waiting(f"replace:{last.pod}", f"pod {last.pod} ended ({last.cause}); a replacement starts")
    if _pods_created(seen) >= parallelism:
        return Waiting("replace:gone", "its pod is gone; a replacement starts")
    controller = job["spec"].get("managedBy") or _KUBERNETES
    who = "" if controller == _KUBERNETES else f" by {controller} (managedBy in the job file)"
    return Waiting("unmade", f"waits for its pod to be created{who}")


def _about(seen: Seen, pod: Object) -> list[Object]:
    return [e for e in seen.events if e.get("involvedObject", {}).get("name") == pods.name(pod)]


def _workers(job: Object, seen: Seen) -> tuple[Worker, ...]:
    count = int(job["spec"].get("completions") or 1)
    if count == 1:
        return ()
    newest = {pods.index(pod): pod for pod in sorted(seen.pods, key=pods.created)}
    return tuple(_worker(index, newest.get(index), seen) for index in range(count))


def _worker(index: int, pod: Object | None, seen: Seen) -> Worker:
    if pod is None:
        return Worker(index, "", "has no pod")
    if (end := pods.ended(pod)) is not None:
        return Worker(index, pods.name(pod), end.cause)
    waits = pods.waiting(pod, _about(seen, pod))
    if waits is None and pod["metadata"].get("deletionTimestamp"):
        return Worker(index, pods.name(pod), pods.disruption(pod) or "being deleted")
    return Worker(index, pods.name(pod), waits.text if waits else "running")


def _not_created(event: Mapping[str, Any]) -> Waiting:
    message = re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", str(event.get("message", "")))
    quota = re.match(r"exceeded quota: ([^,]+), requested: (.+), used: (.+), limited: (.+)", message)
    if quota:
        text = f"quota {quota[1]} is used up: requested {quota[2]}; used {quota[3]} of {quota[4]}"
        return Waiting(f"quota:{quota[1]}", text, f"kubectl describe quota {quota[1]}; wait, ask for less, or raise it")
    account = re.search(r'serviceaccount "([^"]+)" not found', message)
    if account:
        remedy = f"kubectl create serviceaccount {account[1]}, or serviceAccount.create: true in the job file"
        return Waiting(f"account:{account[1]}", f"there is no service account {account[1]}", remedy)
    return Waiting(f"refused:{message}", f"the cluster refuses the pod: {message}")


def _restarts(job: Object, seen: Seen) -> int:
    completions = int(job["spec"].get("completions") or 1)
    return max(0, max(_pods_created(seen), len(seen.pods)) - completions)


def _pods_created(seen: Seen) -> int:
    return sum(int(e.get("count") or 1) for e in seen.events if e.get("reason") == "SuccessfulCreate")
