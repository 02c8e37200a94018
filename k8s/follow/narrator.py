"""Follows a Job: what is seen of it in, what a person is told out. Pure; `follow.py` has the threads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from k8s.status import pods
from k8s.status.job_state import Phase, Seen, State, read
from k8s.status.pods import Ended

#: How long one reason may stand before it is worth a line: a pod is made and placed within that.
SETTLE_S = 1.0


@dataclass(frozen=True)
class Say:
    """Tell a person one line."""

    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Open:
    """Show a pod's log."""

    pod: str
    index: int


@dataclass(frozen=True)
class Over:
    """Nothing more will come."""

    state: State


Action = Say | Open | Over


@dataclass
class Follower:
    """Remembers what was told.

    Attributes:
        started: Whether any pod's trainer was seen to run.
        state: The latest state.
    """

    started: bool = False
    state: State | None = None
    _opened: set[str] = field(default_factory=set)
    _told: str = ""
    _key: str = ""
    _since_s: float = 0.0
    _left: set[str] = field(default_factory=set)
    _ends: dict[str, tuple[Ended, float]] = field(default_factory=dict)

    def step(self, seen: Seen, now_s: float) -> list[Action]:
        """What to do about what is seen now. Called again within `SETTLE_S` when nothing changes."""
        if seen.job is None and self.state is not None and self.state.exit_code is not None:
            return []  # TTL took away what was over
        self.started = self.started or any(pods.has_started(p) for p in seen.pods)
        state = self.state = read(replace(seen, ran=self.started))
        actions: list[Action] = self._hops(state, now_s)
        for pod in sorted(seen.pods, key=pods.index):
            name = pods.name(pod)
            if pods.has_started(pod) and name not in self._opened:
                self._opened.add(name)
                actions.append(Open(name, pods.index(pod)))
        actions += self._reason(state, now_s)
        if state.phase.over and state.exit_code is not None:
            actions.append(Over(state))
        return actions

    def _hops(self, state: State, now_s: float) -> list[Action]:
        """One line for each pod that ended while the Job goes on; whether it does is known a moment later."""
        if state.phase.over or state.ending:
            return []
        # Remembered: an evicted pod is gone from the cluster soon after its end.
        for end in state.ended:
            if end.code != 0:
                self._ends.setdefault(end.pod, (end, now_s))
        fresh = [
            end
            for end, since_s in self._ends.values()
            if end.pod not in self._left and (state.current or now_s - since_s >= SETTLE_S)
        ]
        self._left |= {e.pod for e in fresh}
        return [Say(f"pod {e.pod} is over: {e.cause}{_because(e)}; a replacement comes") for e in fresh]

    def _reason(self, state: State, now_s: float) -> list[Action]:
        if state.phase.over or state.phase is Phase.RUNNING:
            self._key = self._told = ""
            return []
        if state.key != self._key:
            self._key, self._since_s = state.key, now_s
        # A replacement's coming was said by the hop.
        hop = state.key.startswith("replace:") or (state.key == "unmade" and bool(self._ends))
        if state.key == self._told or hop or now_s - self._since_s < SETTLE_S:
            return []
        self._told = state.key
        return [Say(f"{state.phase.value.lower()}: {state.why}", state.remedy)]


def _because(end: Ended) -> str:
    """The trainer's own word, where the exit code does not say it all."""
    return f" ({end.said.splitlines()[0]})" if end.said and end.code not in (75, 76) else ""
