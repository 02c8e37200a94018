"""What a Job is doing, and what it came to: its own status, its pods and its events, as one answer. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8s.errors import WaitCode
from k8s.status import pods
from k8s.status.pods import Ended, Object, Waiting
from trainer.errors import ExitCode

#: Workers leave within half a minute of each other.
_TOGETHER_S = 60.0
_QUEUE = "kueue.x-k8s.io/queue-name"


class Phase(enum.Enum):
    """Where a Job is."""

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
        """Whether nothing more will come."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


@dataclass(frozen=True)
class Seen:
    """All that was seen of a Job at one moment.

    Attributes:
        job: The Job; None where it is gone.
        pods: Its pods, the gone ones left out.
        events: Events about the Job and its pods.
        workload: Kueue's own object for it, where there is one.
        ran: Whether a pod was seen to run before, whatever is left of it.
    """

    job: Object | None
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    workload: Object | None = None
    ran: bool = False


@dataclass(frozen=True)
class Worker:
    """One of several workers.

    Attributes:
        index: Which.
        pod: Its newest pod; empty where there is none.
        doing: `running`, why it waits, or how it ended.
    """

    index: int
    pod: str
    doing: str


@dataclass(frozen=True)
class State:
    """What a Job is doing.

    Attributes:
        phase: Where it is.
        why: One line for a person: why it waits, or how it ended. Empty while it runs.
        key: Stays the same as long as the reason does.
        remedy: What mends it.
        exit_code: What `kfit wait` returns; None while it goes on.
        current: Names of the pods that run or will, by index.
        ended: How earlier pods ended, the oldest first.
        restarts: Pods that were replaced.
        said: The trainer's last error, where it failed.
        ending: Whether the Job has given up, and its pods are being ended.
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
    said: str = ""
    ending: bool = False
    workers: tuple[Worker, ...] = ()

    @property
    def first_failed(self) -> Ended | None:
        """Of several workers the one whose end was no answer to another's; of the newest failure, where many were."""
        own = [e for e in self.ended if self.workers and (e.disrupted or e.code not in (0, 75, 76, None))]
        last = pods.moment(own[-1].at) if own else None
        together = [e for e in own if last and (at := pods.moment(e.at)) and (last - at).total_seconds() <= _TOGETHER_S]
        return together[0] if together else own[-1] if own else None


def read(seen: Seen) -> State:
    """The state of a Job."""
    job = seen.job
    if job is None:
        return State(Phase.CANCELLED, "the Job is gone", "gone", exit_code=WaitCode.CANCELLED)
    ended = tuple(sorted((e for p in seen.pods if (e := pods.ended(p))), key=lambda e: e.at))
    alive = sorted((p for p in seen.pods if pods.ended(p) is None and not pods.has_ended(p)), key=pods.index)
    ending = _condition(job, "FailureTarget") is not None
    common: dict[str, Any] = {"ended": ended, "restarts": _restarts(seen), "ending": ending, "workers": _workers(seen)}
    final = _final(seen, ended)
    if final is not None:
        phase, why, code, remedy = final
        said = ended[-1].said if ended and phase is Phase.FAILED else ""
        return State(phase, why, "over", remedy, exit_code=code, said=said, **common)
    current = tuple(pods.name(p) for p in alive)
    if job["metadata"].get("deletionTimestamp"):
        return State(Phase.CANCELLED, "the Job is being deleted", "deleting", current=current, **common)
    if job["spec"].get("suspend"):
        waits = _held(seen)
        phase = Phase.QUEUED if queue_of(job) else Phase.SUSPENDED
        return State(phase, waits.text, waits.key, waits.remedy, current=current, **common)
    held = _pending(seen, alive)
    if held is not None:
        replaced = held.key.startswith("leaving:") or (ended and not alive)
        phase = Phase.RESTARTING if replaced else Phase.PENDING
        return State(phase, held.text, held.key, held.remedy, current=current, **common)
    return State(Phase.RUNNING, key=",".join(current), current=current, **common)


def _final(seen: Seen, ended: Sequence[Ended]) -> tuple[Phase, str, int, str] | None:
    """Phase, why, exit code and remedy of a Job that is over; None while it goes on."""
    assert seen.job is not None
    if _condition(seen.job, "Complete") is not None:
        return Phase.SUCCEEDED, "done", ExitCode.DONE, ""
    failed = _condition(seen.job, "Failed")
    if failed is None:
        return None
    name = seen.job["metadata"]["name"]
    reason, message = str(failed.get("reason", "")), str(failed.get("message", ""))
    if reason == "DeadlineExceeded":
        limit = seen.job["spec"].get("activeDeadlineSeconds")
        if not _ever_ran(seen):
            waited = _last_held(seen)
            why = f"no pod ran before its deadline of {limit} s" + (f": {waited.text}" if waited else "")
            return Phase.FAILED, why, WaitCode.NEVER_STARTED, waited.remedy if waited else f"kfit why {name}"
        why = f"stopped by its deadline (activeDeadlineSeconds: {limit})"
        return Phase.FAILED, why, ExitCode.PREEMPTED, f"kfit resume {name} goes on from the newest checkpoint"
    code = _failing_code(message, ended)
    if code is None:
        return Phase.FAILED, message or reason, ExitCode.PROGRAM, f"kfit logs {name}"
    last = next((e for e in reversed(ended) if e.code == code), None)
    why = last.cause if last else f"exit {code}: {pods.meaning(code)}"
    if reason == "BackoffLimitExceeded":
        why += f" (tried {len(ended) or '?'} times)" if len(ended) != 1 else ""
    return Phase.FAILED, why, code, failure_remedy(code, name, bool(last and last.out_of_memory))


def failure_remedy(code: int, name: str, out_of_memory: bool = False) -> str:
    """The command that mends a failure."""
    if out_of_memory:
        return f"raise resources.memory in the job file (or lower run.data.memory), then kfit resume {name} -f JOB"
    return {
        ExitCode.CONFIG: "mend the job file (`kfit check JOB` tells the same), then kfit submit JOB",
        ExitCode.DATA: "mend the data or the job file (`kfit check JOB`), then kfit submit JOB",
        ExitCode.STORAGE: f"is the store in reach of the pods, and are the credentials right? kfit resume {name}",
        ExitCode.PROGRAM: f"kfit logs {name} has the traceback",
        ExitCode.STALLED: f"kfit logs {name} has the stacks of all threads; raise run.fit.stall for slower steps",
        ExitCode.PREEMPTED: f"kfit resume {name} -f JOB goes on from the newest checkpoint",
        ExitCode.PEER_LOST: f"kfit resume {name} -f JOB goes on from the newest checkpoint",
    }.get(ExitCode(code) if code in set(ExitCode) else ExitCode.PROGRAM, f"kfit logs {name}")


def _failing_code(message: str, ended: Sequence[Ended]) -> int | None:
    """The exit code a Job failed by: named by the policy's message, else the last pod's."""
    found = re.search(r"failed with exit code (\d+)", message)
    if found:
        return int(found[1])
    return next((e.code for e in reversed(ended) if e.code not in (None, 0, 75, 76) and not e.disrupted), None)


def _ever_ran(seen: Seen) -> bool:
    return (
        seen.ran
        or any(pods.has_started(p) for p in seen.pods)
        or any(e.get("reason") == "Started" for e in seen.events)
    )


def _last_held(seen: Seen) -> Waiting | None:
    """Why nothing ran, from what is left when the pods are gone."""
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


def _held(seen: Seen) -> Waiting:
    assert seen.job is not None
    queue, name = queue_of(seen.job), seen.job["metadata"]["name"]
    if not queue:
        resume = f"""kubectl patch job {name} --type=merge -p '{{"spec":{{"suspend":false}}}}' lets it go"""
        return Waiting("suspended", "suspended: no pod starts until someone lets it go", resume)
    conditions = (seen.workload or {}).get("status", {}).get("conditions") or []
    told = next((c["message"] for c in conditions if c["type"] == "QuotaReserved" and c["status"] != "True"), "")
    return Waiting(f"queue:{told}", f"waits in queue {queue}" + (f": {told}" if told else ""),
                   f"kubectl get localqueue {queue} shows what stands before it")  # fmt: skip


def _pending(seen: Seen, alive: Sequence[Object]) -> Waiting | None:
    assert seen.job is not None
    wanted = int(seen.job["spec"].get("parallelism") or 1)
    for pod in alive:
        if (held := pods.waiting(pod, _about(seen, pod))) is not None:
            return held
        if pod["metadata"].get("deletionTimestamp"):
            by = pods.disruption(pod) or "being deleted"
            return Waiting(f"leaving:{pods.name(pod)}", f"pod {pods.name(pod)}: {by}; it saves a checkpoint and ends")
    if len(alive) >= wanted:
        return None
    refused = [e for e in seen.events if e.get("reason") == "FailedCreate"]
    made = [e for e in seen.events if e.get("reason") == "SuccessfulCreate"]
    newest = max(refused, key=pods.event_time, default=None)
    if newest is not None and pods.event_time(newest) >= max(map(pods.event_time, made), default=""):
        return _not_created(newest)
    ended = [e for p in seen.pods if (e := pods.ended(p))]
    if ended:
        last = max(ended, key=lambda e: e.at)
        return Waiting(f"replace:{last.pod}", f"pod {last.pod} is over ({last.cause}); a replacement comes")
    return Waiting("unmade", "waits for its pod to be made")


def _about(seen: Seen, pod: Object) -> list[Object]:
    return [e for e in seen.events if e.get("involvedObject", {}).get("name") == pods.name(pod)]


def _workers(seen: Seen) -> tuple[Worker, ...]:
    assert seen.job is not None
    count = int(seen.job["spec"].get("completions") or 1)
    if count == 1:
        return ()
    newest: dict[int, Object] = {}
    for pod in sorted(seen.pods, key=lambda p: str(p["metadata"]["creationTimestamp"])):
        newest[pods.index(pod)] = pod
    return tuple(_worker(index, newest.get(index), seen) for index in range(count))


def _worker(index: int, pod: Object | None, seen: Seen) -> Worker:
    if pod is None:
        return Worker(index, "", "has no pod")
    if (end := pods.ended(pod)) is not None:
        return Worker(index, pods.name(pod), end.cause)
    held = pods.waiting(pod, _about(seen, pod))
    if held is None and pod["metadata"].get("deletionTimestamp"):
        return Worker(index, pods.name(pod), pods.disruption(pod) or "being deleted")
    return Worker(index, pods.name(pod), held.text if held else "running")


def _not_created(event: Mapping[str, Any]) -> Waiting:
    message = re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", str(event.get("message", "")))
    quota = re.match(r"exceeded quota: ([^,]+), requested: (.+), used: (.+), limited: (.+)", message)
    if quota:
        text = f"quota {quota[1]} is used up: asked {quota[2]}; used {quota[3]} of {quota[4]}"
        return Waiting(f"quota:{quota[1]}", text, f"kubectl describe quota {quota[1]}; wait, ask for less, or raise it")
    account = re.search(r'serviceaccount "([^"]+)" not found', message)
    if account:
        remedy = f"kubectl create serviceaccount {account[1]}, or serviceAccount.create: true in the job file"
        return Waiting(f"account:{account[1]}", f"there is no service account {account[1]}", remedy)
    return Waiting(f"refused:{message}", f"the cluster refuses the pod: {message}")


def _restarts(seen: Seen) -> int:
    assert seen.job is not None
    wanted = int(seen.job["spec"].get("completions") or 1)
    made = sum(int(e.get("count") or 1) for e in seen.events if e.get("reason") == "SuccessfulCreate")
    return max(0, max(made, len(seen.pods)) - wanted)


def queue_of(job: Object) -> str:
    """Kueue's queue that the Job is for; empty without one."""
    return str((job["metadata"].get("labels") or {}).get(_QUEUE, ""))


def _condition(job: Object, kind: str) -> Mapping[str, Any] | None:
    for condition in job.get("status", {}).get("conditions") or []:
        if condition["type"] == kind and condition["status"] == "True":
            found: Mapping[str, Any] = condition
            return found
    return None
