"""Follows a Job in a real cluster: threads that watch and read logs, and one loop that feeds a view."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from k8s.api.client import Cluster
from k8s.errors import WaitCode
from k8s.follow import log_stream
from k8s.follow.narrator import SETTLE_S, Action, Follower, Open, Over, Say
from k8s.follow.watcher import Watch, look
from k8s.status.job_state import State
from trainer.errors import KfitError

#: How long after the Job's end its logs may take to end.
_LOGS_S = 10.0
_POD_EVENTS_S = 3.0


@dataclass(frozen=True)
class LogOptions:
    """Which lines of which pods are printed, and how.

    Attributes:
        pod: Only this pod, by name or index; None for all.
        skip: Names of pods whose logs are left out.
        tail: Begin with the newest so many lines of each pod.
        since: Begin at this second, RFC 3339; empty for the beginning.
        timestamps: Print each line's time before it.
        raw: Print the trainer's JSON events too.
    """

    pod: str | None = None
    skip: frozenset[str] = frozenset()
    tail: int | None = None
    since: str = ""
    timestamps: bool = False
    raw: bool = False

    def wants(self, pod: str, index: int) -> bool:
        """Returns whether the log of a pod is printed."""
        return pod not in self.skip and self.pod in (None, pod, str(index))

    def printed(self, line: log_stream.Line) -> str | None:
        """Returns a line as it is printed; None for an event where only a drawing view or --raw takes it."""
        if not self.timestamps:
            return line.text
        return None if line.text.startswith(log_stream.EVENT) and not self.raw else f"{line.at} {line.text}"


class View(Protocol):
    """Shows what is followed."""

    def say(self, text: str, remedy: str = "", *, waits: bool = False) -> None:
        """Shows one line about the Job; `waits`: it holds until something else is said."""

    def opened(self, pod: str, index: int) -> None:
        """Announces that lines of this pod follow."""

    def line(self, index: int, text: str) -> None:
        """Shows a line of a pod's log."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


class TimedOut(Exception):
    """Waiting took longer than was asked for."""


def follow(
    cluster: Cluster, name: str, view: View, logs: LogOptions | None = LogOptions(), *, timeout_s: float | None = None
) -> State:
    """Follows a Job to its end.

    Args:
        cluster: The Job's namespace.
        name: The Job.
        view: Shows what happens.
        logs: Which log lines to show; None for none.
        timeout_s: Wait no longer; for ever by default.

    Returns:
        The last state; its exit code is set.

    Raises:
        NotFound: There is no such Job.
        TimedOut: The Job goes on, and the time is over.
        KfitError: The cluster refuses, or has not answered for long.
    """
    inbox: Inbox = queue.Queue()
    watch = Watch(cluster, name, lambda: inbox.put(("seen", 0, "")))
    watch.start()
    try:
        return _Loop(cluster, watch, inbox, view, logs).run(timeout_s)
    finally:
        watch.stop()
        view.close()


Inbox = queue.Queue[tuple[str, int, str]]


class _Loop:
    """Turns what the watch and the log readers put into the inbox into calls of the view."""

    def __init__(self, cluster: Cluster, watch: Watch, inbox: Inbox, view: View, logs: LogOptions | None) -> None:
        self._cluster, self._watch, self._inbox, self._view, self._logs = cluster, watch, inbox, view, logs
        self._follower = Follower()
        self._open_logs = 0
        self._final: State | None = None
        self._logs_until_s = 0.0

    def run(self, timeout_s: float | None) -> State:
        """Returns the final state once the logs have ended, or have had their time."""
        began_s = looked_s = time.monotonic()
        while True:
            try:
                kind, index, text = self._inbox.get(timeout=SETTLE_S / 2)
            except queue.Empty:
                kind, index, text = "seen", 0, ""
            now_s = time.monotonic()
            if kind == "line":
                self._view.line(index, text)
                continue
            if kind == "end":
                self._open_logs -= 1
                if text:
                    self._view.say(text)
            if self._final is not None and (self._open_logs <= 0 or now_s > self._logs_until_s):
                return self._final
            seen = self._watch.seen()
            if seen is not None and self._final is None:
                self._act(self._follower.step(seen, now_s), now_s)
            if self._final is None and timeout_s is not None and now_s - began_s > timeout_s:
                raise TimedOut
            if self._follower.waits and now_s - looked_s > _POD_EVENTS_S:
                looked_s = now_s
                self._watch.look_closer()

    def _act(self, actions: Sequence[Action], now_s: float) -> None:
        for action in actions:
            if isinstance(action, Say):
                self._view.say(action.text, action.remedy, waits=True)
            elif isinstance(action, Open) and self._logs is not None and self._logs.wants(action.pod, action.index):
                self._view.opened(action.pod, action.index)
                self._open_logs += 1
                self._read(action, self._logs)
            elif isinstance(action, Over):
                self._final = _final_state(self._cluster, self._watch.name, action.state)
                self._logs_until_s = now_s + _LOGS_S
                self._inbox.put(("seen", 0, ""))

    def _read(self, pod: Open, logs: LogOptions) -> None:
        def on_line(line: log_stream.Line) -> None:
            if (text := logs.printed(line)) is not None:
                self._inbox.put(("line", pod.index, text))

        def on_end(fault: KfitError | None) -> None:
            self._inbox.put(("end", pod.index, f"the log of {pod.pod} cannot be read: {fault}" if fault else ""))

        log_stream.Stream(self._cluster, pod.pod, on_line, on_end, tail=logs.tail, since=logs.since)


def _final_state(cluster: Cluster, name: str, state: State) -> State:
    """Returns the last state, read again with the events of deleted pods where none was seen to run."""
    if state.exit_code != WaitCode.NEVER_STARTED:
        return state
    try:
        return look(cluster, name)[1]
    except KfitError:
        return state
