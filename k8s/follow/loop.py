"""Follows a Job in a real cluster: threads that watch and read logs, and one loop that tells a view."""

from __future__ import annotations

import queue
import time
from typing import Protocol

from k8s.api.client import Cluster
from k8s.errors import WaitCode
from k8s.follow import log_stream
from k8s.follow.narrator import SETTLE_S, Follower, Open, Over, Say
from k8s.follow.watcher import Watch, look
from k8s.status.job_state import State
from trainer.errors import KfitError

#: Logs that are not at their end so long after the Job's are left.
_LOGS_S = 10.0
_POD_EVENTS_S = 3.0


class View(Protocol):
    """Where following is shown."""

    def say(self, text: str, remedy: str = "", *, waits: bool = False) -> None:
        """One line about the Job; `waits`: until something else is said."""

    def opened(self, pod: str, index: int) -> None:
        """From now on lines of this pod come."""

    def line(self, index: int, text: str) -> None:
        """A line of a pod's log."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


class TimedOut(Exception):
    """Waiting took longer than was asked for."""


def follow(cluster: Cluster, name: str, view: View, *, show_logs: bool = True, timeout_s: float | None = None) -> State:
    """Follows a Job to its end.

    Args:
        cluster: Where it is.
        name: The Job.
        view: Told what there is to tell.
        show_logs: Read the pods' logs.
        timeout_s: Wait no longer; for ever by default.

    Returns:
        The last state; its exit code is set.

    Raises:
        NotFound: There is no such Job.
        TimedOut: It goes on, and the time is over.
        KfitError: The cluster says no, or nothing for long.
    """
    inbox: queue.Queue[tuple[str, int, str]] = queue.Queue()
    watch = Watch(cluster, name, lambda: inbox.put(("seen", 0, "")))
    watch.start()
    try:
        return _loop(cluster, watch, inbox, view, show_logs, timeout_s)
    finally:
        watch.stop()
        view.close()


def _loop(
    cluster: Cluster,
    watch: Watch,
    inbox: queue.Queue[tuple[str, int, str]],
    view: View,
    show_logs: bool,
    timeout_s: float | None,
) -> State:
    follower, reading = Follower(), 0
    over: State | None = None
    began_s = looked_s = time.monotonic()
    left_s = 0.0
    while True:
        try:
            kind, index, text = inbox.get(timeout=SETTLE_S / 2)
        except queue.Empty:
            kind, index, text = "seen", 0, ""
        now_s = time.monotonic()
        if kind == "line":
            view.line(index, text)
            continue
        if kind == "end":
            reading -= 1
            if text:
                view.say(text)
        if over is not None and (reading <= 0 or now_s > left_s):
            return over
        seen = watch.seen()
        for action in follower.step(seen, now_s) if seen and over is None else []:
            if isinstance(action, Say):
                view.say(action.text, action.remedy, waits=True)
            elif isinstance(action, Open) and show_logs:
                view.opened(action.pod, action.index)
                reading += 1
                _read(cluster, action, inbox)
            elif isinstance(action, Over):
                over, left_s = _certain(cluster, watch.name, action.state), now_s + _LOGS_S
                inbox.put(("seen", 0, ""))
        if over is None and timeout_s is not None and now_s - began_s > timeout_s:
            raise TimedOut
        if not follower.started and now_s - looked_s > _POD_EVENTS_S:
            looked_s = now_s
            watch.look_closer()


def _certain(cluster: Cluster, name: str, state: State) -> State:
    """The last state, read again with the events of pods that are gone where none was seen to run."""
    if state.exit_code != WaitCode.NEVER_STARTED:
        return state
    try:
        return look(cluster, name)[1]
    except KfitError:
        return state


def _read(cluster: Cluster, pod: Open, inbox: queue.Queue[tuple[str, int, str]]) -> None:
    def line(text: str) -> None:
        inbox.put(("line", pod.index, text))

    def over(fault: KfitError | None) -> None:
        inbox.put(("end", pod.index, f"the log of {pod.pod} cannot be read: {fault}" if fault else ""))

    log_stream.Stream(cluster, pod.pod, line, over)
