"""Decides what to say about a followed Job: observed states in, actions out. Pure; `loop` has the threads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from k8s.status import pods
from k8s.status.job_state import Phase, Seen, State, read
from k8s.status.pods import Ended

#: Seconds that a reason must last before it is worth a line: a pod is created and scheduled within that.
SETTLE_S = 1.0


@dataclass(frozen=True)
class Say:
    """Say one line."""

    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Open:
    """Show a pod's log."""

    pod: str
    index: int


@dataclass(frozen=True)
class Over:
    """The Job has ended."""

    state: State


Action = Say | Open | Over


@dataclass
class Follower:
    """Remembers what was said about a Job.

    Attributes:
        started: Whether the trainer was seen to run in any pod.
        state: The latest state.
    """

    started: bool = False
    state: State | None = None
    _opened: set[str] = field(default_factory=set)
    _last_key: str = ""
    _key: str = ""
    _since_s: float = 0.0
    _reported: set[str] = field(default_factory=set)
    _ended: dict[str, tuple[Ended, float]] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether the Job waits for what more than its own object and pods explain: before its start, or in a queue."""
        return not self.started or (self.state is not None and self.state.phase is Phase.QUEUED)

    def step(self, seen: Seen, now_s: float) -> list[Action]:
        """Returns the actions for what is seen now. To be called within `SETTLE_S` even when nothing changes."""
        if seen.job is None and self.state is not None and self.state.exit_code is not None:
            return []  # its TTL deleted a Job that had ended
        self.started = self.started or any(pods.has_started(p) for p in seen.pods)
        state = self.state = read(replace(seen, ran=self.started))
        actions: list[Action] = self._replaced(state, now_s)
        for pod in sorted(seen.pods, key=pods.index):
            name = pods.name(pod)
            if pods.has_started(pod) and name not in self._opened:
                self._opened.add(name)
                actions.append(Open(name, pods.index(pod)))
        actions += self._reason(state, now_s)
        if state.phase.over and state.exit_code is not None:
            actions.append(Over(state))
        return actions

    def _replaced(self, state: State, now_s: float) -> list[Action]:
        """Returns a line for each pod that ended while the Job goes on; whether it does is known a moment later."""
        if state.phase.over or state.ending:
            return []
        # Remembered: an evicted pod is gone from the cluster soon after its end.
        for end in state.ended:
            if end.code != 0:
                self._ended.setdefault(end.pod, (end, now_s))
        fresh = [
            end
            for end, since_s in self._ended.values()
            if end.pod not in self._reported and (state.current or now_s - since_s >= SETTLE_S)
        ]
        self._reported |= {e.pod for e in fresh}
        return [Say(f"pod {e.pod} ended: {e.cause}{_because(e)}; a replacement starts") for e in fresh]

    def _reason(self, state: State, now_s: float) -> list[Action]:
        if state.phase.over or state.phase is Phase.RUNNING:
            self._key = self._last_key = ""
            return []
        if state.key != self._key:
            self._key, self._since_s = state.key, now_s
        # `_replaced` has said that a replacement starts.
        said_before = state.key.startswith("replace:") or (state.key == "unmade" and bool(self._ended))
        if state.key == self._last_key or said_before or now_s - self._since_s < SETTLE_S:
            return []
        self._last_key = state.key
        return [Say(f"{state.phase.value.lower()}: {state.why}", state.remedy)]


def _because(end: Ended) -> str:
    """Returns the trainer's error, where the exit code does not say everything."""
    return f" ({end.error.splitlines()[0]})" if end.error and end.code not in (75, 76) else ""
