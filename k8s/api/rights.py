"""Which rights each verb needs: `doctor` asks for them, docs/rights.md is checked against them.

A right is (verb, kind) or (verb, kind, subresource).
"""

from __future__ import annotations

from k8s.api.kinds import KINDS

Right = tuple[str, ...]

_LOOK: tuple[Right, ...] = (
    ("get", "Job"), ("list", "Job"), ("list", "Pod"), ("list", "Event"), ("get", "Pod", "log"),
)  # fmt: skip
_WATCH: tuple[Right, ...] = (
    ("get", "Job"), ("list", "Job"), ("watch", "Job"), ("get", "Pod"), ("list", "Pod"), ("watch", "Pod"),
    ("list", "Event"), ("watch", "Event"),
)  # fmt: skip
_OWN = ("Service", "NetworkPolicy")
_MAKE: tuple[Right, ...] = tuple((verb, kind) for kind in _OWN for verb in ("get", "create", "patch"))
_CHANGE: tuple[Right, ...] = (("update", "Service"), ("update", "NetworkPolicy"))
_SWEEP: tuple[Right, ...] = tuple((verb, kind) for kind in _OWN for verb in ("list", "delete"))

VERBS: dict[str, tuple[Right, ...]] = {
    "list": (("list", "Job"), ("list", "Pod")),
    "status": _LOOK,
    "why": _LOOK,
    "logs": _LOOK,
    "open": (("get", "Job"), ("list", "Job"), ("list", "CronJob")),
    "tensorboard": (("get", "Job"), ("list", "Job"), ("list", "CronJob")),
    "wait": _WATCH,
    "logs -f": (*_WATCH, ("get", "Pod", "log")),
    "submit": (("get", "Job"), ("create", "Job"), *_MAKE, *_CHANGE),
    "submit --dry-run=server": (("create", "Pod"),),
    "resume": (("get", "Job"), ("list", "Job"), ("create", "Job"), *_MAKE, *(("list", kind) for kind in _OWN)),
    "cancel": (("get", "Job"), ("delete", "Job"), *_SWEEP),
    "schedule": (
        ("get", "CronJob"), ("list", "CronJob"), ("create", "CronJob"), ("update", "CronJob"), ("patch", "CronJob"),
        ("delete", "CronJob"), ("list", "Job"), *_MAKE, *_CHANGE, *_SWEEP,
    ),
    "trigger": (("get", "CronJob"), ("create", "Job")),
}  # fmt: skip

#: What `status`, `why`, `wait` and following read of a run in a queue of Kueue's; without it they say so and go on.
QUEUE: tuple[Right, ...] = (("list", "Workload"), ("get", "LocalQueue", "pendingworkloads"))


def rule(right: Right) -> str:
    """The rule of a Role that grants a right, as YAML."""
    verb, kind, *sub = right
    where = KINDS[kind]
    return f'{{apiGroups: ["{where.group}"], resources: ["{"/".join([where.plural, *sub])}"], verbs: ["{verb}"]}}'


def role() -> list[tuple[str, str, list[str]]]:
    """All rights as rules: group, resource, verbs."""
    rules: dict[tuple[str, str], set[str]] = {}
    for rights in (*VERBS.values(), QUEUE):
        for verb, kind, *sub in rights:
            rules.setdefault((KINDS[kind].group, "/".join([KINDS[kind].plural, *sub])), set()).add(verb)
    return [(group, resource, sorted(verbs)) for (group, resource), verbs in sorted(rules.items())]
