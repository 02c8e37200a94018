"""The state of a pod: why it waits, how it ended. Pure; the API's documents in, text for a person out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from trainer.errors import EXIT_CODES

Object = dict[str, Any]

_MEANINGS = {int(row.code): row.meaning for row in EXIT_CODES} | {
    1: "Python ended with an error",
    134: "aborted (SIGABRT)",
    137: "killed (SIGKILL): out of memory, or its grace period was over",
    139: "crashed (segmentation fault)",
    143: "asked to stop (SIGTERM) before it could answer",
}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
_NODES = re.compile(r"(\d+) ([^,.]+(?:\.[^ ,.][^,.]*)*)")


@dataclass(frozen=True)
class Waiting:
    """Why something does not run yet.

    Attributes:
        key: Stays the same as long as the reason does, whatever the text.
        text: One line for a person.
        remedy: The command or change that fixes it; empty where waiting does.
    """

    key: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Ended:
    """How a pod ended.

    Attributes:
        pod: Its name.
        code: Exit code of the trainer; None where it never ran or the code is unknown.
        cause: One line for a person.
        error: The trainer's last error, empty where it left none.
        disrupted: Whether the cluster took the pod away: eviction, preemption, a node's end.
        out_of_memory: Whether the kernel killed it for using too much memory.
        at: When, RFC 3339, or empty.
        index: The worker's index, where there are several.
    """

    pod: str
    code: int | None
    cause: str
    error: str = ""
    disrupted: bool = False
    out_of_memory: bool = False
    at: str = ""
    index: int = 0


def name(pod: Object) -> str:
    """Returns the pod's name."""
    return str(pod["metadata"]["name"])


def created(of: Object) -> str:
    """Returns when an object was created, RFC 3339; empty where it does not say."""
    return str(of["metadata"].get("creationTimestamp") or "")


def condition(of: Object, kind: str, status: str | None = "True") -> Mapping[str, Any]:
    """Returns an object's condition of a kind that has this status (None: any); empty where it has none."""
    conditions = of.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind and status in (None, c.get("status"))), {})


def newest(events: Iterable[Object], *reasons: str) -> Object | None:
    """Returns the newest event that has one of the reasons; None where there is none."""
    return max((e for e in events if e.get("reason") in reasons), key=event_time, default=None)


def has_ended(pod: Object) -> bool:
    """Returns whether the pod has ended."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def runs(pod: Object) -> bool:
    """Returns whether the trainer runs in the pod."""
    return "running" in _trainer_state(pod)


def has_started(pod: Object) -> bool:
    """Returns whether the trainer runs in the pod or has run; a container ended before it ran has no start time."""
    return runs(pod) or bool(_terminated(pod).get("startedAt"))


def _trainer_state(pod: Object) -> Mapping[str, Any]:
    """Returns the state of the container `trainer`; empty before there is one."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((s.get("state") or {} for s in statuses if s["name"] == "trainer"), {})


def _terminated(pod: Object) -> Mapping[str, Any]:
    return _trainer_state(pod).get("terminated") or {}


def index(pod: Object) -> int:
    """Returns the pod's index in an Indexed Job, 0 elsewhere."""
    return int((pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index", "0"))


def disruption(pod: Object) -> str:
    """Returns why the cluster removes the pod; empty where it does not."""
    target = condition(pod, "DisruptionTarget")
    if not target:
        return ""
    words = {
        "EvictionByEvictionAPI": "evicted",
        "PreemptionByScheduler": "preempted by a pod of higher priority",
        "DeletionByTaintManager": "its node is being drained",
        "DeletionByPodGC": "its node is gone",
        "TerminationByKubelet": "ended by its node",
    }
    reason = str(target.get("reason", ""))
    return words.get(reason, reason or "removed by the cluster")


def ended(pod: Object) -> Ended | None:
    """Returns how the pod ended; None while it has not."""
    terminated = _terminated(pod)
    if not has_ended(pod) and not terminated:
        return None
    by = disruption(pod)
    if not terminated.get("startedAt"):
        status = pod["status"]
        what = by or " ".join(str(status[k]) for k in ("reason", "message") if status.get(k)) or "never ran"
        return Ended(name(pod), None, what, disrupted=bool(by), index=index(pod))
    code = int(terminated["exitCode"])
    killed = terminated.get("reason") == "OOMKilled"
    cause = f"exit {code}: {'out of memory' if killed else meaning(code)}"
    error = last_error(str(terminated.get("message") or ""))
    at = str(terminated.get("finishedAt") or "")
    return Ended(name(pod), code, f"{by}; {cause}" if by else cause, error, bool(by), killed, at, index(pod))


def meaning(code: int) -> str:
    """Returns the meaning of an exit code."""
    return _MEANINGS.get(code, "an exit code that is not the trainer's")


def last_error(message: str) -> str:
    """Returns the trainer's error in a termination message, which is its own JSON or the last lines of its log."""
    try:
        document = json.loads(message)
        return str(document.get("reason", "")) if isinstance(document, dict) else ""
    except ValueError:
        pass
    lines = [line for line in message.splitlines() if not line.startswith('{"kfit"')]
    starts = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b", line)]
        return errors[-1] if errors else ""
    first, *rest = lines[starts[-1] :]
    details = takewhile(lambda line: line.startswith("  "), rest)
    return "\n".join([first.removeprefix("error: "), *details])


def kubectl(of: Object) -> str:
    """Returns the first words of a command about an object, for a person whose current namespace may be another."""
    namespace = of["metadata"].get("namespace")
    return f"kubectl -n {namespace}" if namespace else "kubectl"


def waiting(pod: Object, events: Iterable[Object] = ()) -> Waiting | None:
    """Returns why the pod's trainer does not run yet; None where it does, or has."""
    if has_ended(pod) or has_started(pod) or _terminated(pod):
        return None
    if (by := disruption(pod)) and pod["metadata"].get("deletionTimestamp"):
        return Waiting("disrupted", f"pod {name(pod)}: {by} before it ran")
    events = list(events)
    scheduled = condition(pod, "PodScheduled", status=None)
    if scheduled.get("status") != "True":
        return _not_placed(pod, scheduled)
    state = _trainer_state(pod).get("waiting") or {}
    reason, message = str(state.get("reason", "")), str(state.get("message", ""))
    if reason in _IMAGE:
        return _no_image(pod, reason, message)
    if reason in _CONFIG:
        return Waiting(f"config:{message}", f"the container cannot start: {message}", _config_remedy(message))
    if mount := newest(events, "FailedMount", "FailedAttachVolume"):
        return Waiting(f"mount:{mount['message']}", f"a volume cannot be mounted: {mount['message']}")
    if sandbox := newest(events, "FailedCreatePodSandBox"):
        return Waiting("sandbox", f"the node cannot start the pod: {sandbox['message']}")
    node = pod.get("spec", {}).get("nodeName", "?")
    pulled = any(e.get("reason") == "Pulled" for e in events)
    doing = "creating its container" if pulled else f"pulling its image {_image(pod)}"
    return Waiting(f"starting:{name(pod)}:{pulled}", f"pod {name(pod)} starts on {node}: {doing}")


def _not_placed(pod: Object, scheduled: Mapping[str, Any]) -> Waiting:
    if scheduled.get("reason") == "SchedulingGated":
        return Waiting("gated", "held by a scheduling gate", "whoever set the gate on the pod must remove it")
    message = str(scheduled.get("message", ""))
    if not message:
        return Waiting("unplaced", "waits for the scheduler")
    total = re.match(r"(\d+)/(\d+) nodes are available: ", message)
    causes = _NODES.findall(message[total.end() :].partition(" preemption:")[0]) if total else []
    if total is None or not causes:
        return Waiting(f"scheduler:{message}", f"no node yet: {message}")
    short = sorted(c.removeprefix("Insufficient ") for _, c in causes if c.startswith("Insufficient "))
    reasons = [f"{n} of {total[2]} too little {c.removeprefix('Insufficient ')}"
               if c.startswith("Insufficient ") else f"{n} {c.strip()}" for n, c in causes]  # fmt: skip
    asks = ", ".join(f"{_asked(pod, r)} {r}" for r in short)
    text = f"no node fits: {'; '.join(reasons)}" + (f" (the pod asks for {asks})" if asks else "")
    return Waiting("nodes:" + ",".join(sorted(c for _, c in causes)), text, _place_remedy(short))


def _place_remedy(short: list[str]) -> str:
    if not short:
        return "see nodeSelector, tolerations and affinity in the job file; `kubectl get nodes --show-labels`"
    keys = {"cpu": "resources.cpu", "memory": "resources.memory", "ephemeral-storage": "resources.shm"}
    settings = " and ".join(dict.fromkeys(keys.get(r, "resources.gpus") for r in short))
    return f"wait for a free node, add one, or ask for less: {settings} in the job file"


def _asked(pod: Object, resource: str) -> str:
    containers = pod.get("spec", {}).get("containers") or []
    return str(next((c["resources"]["requests"][resource] for c in containers
                     if resource in (c.get("resources", {}).get("requests") or {})), "?"))  # fmt: skip


def _no_image(pod: Object, reason: str, message: str) -> Waiting:
    lower = message.lower()
    if "not found" in lower or "notfound" in lower or reason in ("InvalidImageName", "ErrImageNeverPull"):
        why, remedy = "there is no such image", "image.repository and image.tag in the job file name it"
    elif any(word in lower for word in ("unauthorized", "denied", "forbidden", "authentication")):
        why, remedy = "the registry requires credentials", "imagePullSecrets in the job file names the Secret with them"
    else:
        why = re.sub(r'^Back-off pulling image "[^"]*":? ?', "", message).replace("ErrImagePull: ", "") or reason
        remedy = "can the node reach the registry? `kubectl get events` tells more"
    return Waiting(f"image:{_image(pod)}", f"image {_image(pod)} cannot be pulled: {why}", remedy)


def _config_remedy(message: str) -> str:
    missing = re.search(r'(secret|configmap) "([^"]+)" not found', message)
    if missing is None:
        return "`kubectl describe pod` tells more"
    return f"kubectl create {missing[1]} {'generic ' if missing[1] == 'secret' else ''}{missing[2]}"


def _image(pod: Object) -> str:
    containers = pod.get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", "?"))


def event_time(event: Object) -> str:
    """Returns when an event was last seen, RFC 3339."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
               or event["metadata"].get("creationTimestamp") or "")  # fmt: skip


def moment(text: str) -> datetime | None:
    """Returns a time as the API writes it; None for an empty text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
