"""Runs of a schedule for days that have passed, a few at a time, the oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from k8s.actions.schedules import triggered
from k8s.api.client import Cluster
from k8s.errors import AlreadyExists, ClusterError, NotFound
from k8s.follow.watcher import GIVE_UP_S, look
from k8s.status.job_state import Seen, State, read
from k8s.status.pods import Object
from trainer.errors import ExitCode

#: Between two polls.
_PAUSE_S = 2.0
#: Exit codes of faults that every day shares: further days would only cost money.
_SAME_EVERY_DAY = (ExitCode.CONFIG, ExitCode.PROGRAM)


@dataclass(frozen=True)
class Day:
    """The run of one logical date: its Job, and how the run ended; None while it goes on."""

    day: date
    name: str
    state: State | None = None


def days_between(first: date, last: date) -> list[date]:
    """Returns all days from the first to the last, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


class Backfill:
    """Starts a run of a schedule for each logical date, in their order, `parallel` at a time, and watches them."""

    def __init__(self, cluster: Cluster, cronjob: Object, days: Sequence[date], parallel: int) -> None:
        self._cluster, self._cronjob, self._parallel = cluster, cronjob, parallel
        #: Days whose run has not started yet.
        self.waiting = list(days)
        #: Runs under way.
        self.running: list[Day] = []
        #: The first day that was not started because a fault that every day shares ended an earlier one; else None.
        self.stopped_before: date | None = None

    def run(self) -> Iterator[Day]:
        """Yields each day when its run starts, and again when the run has ended.

        After a run that ended by a fault of the job itself (64, 70) no further day is started.

        Raises:
            KfitError: The cluster refuses, or has not answered for long; runs that were started go on.
        """
        answered_s = time.monotonic()
        while self.running or self.waiting:
            while self.waiting and len(self.running) < self._parallel:
                day = self._start(self.waiting[0])
                del self.waiting[0]
                self.running.append(day)
                yield day
            time.sleep(_PAUSE_S)
            try:
                ended = self._ended()
                answered_s = time.monotonic()
            except ClusterError:
                if time.monotonic() - answered_s > GIVE_UP_S:
                    raise
                continue
            for day in ended:
                self.running = [r for r in self.running if r.name != day.name]
                if self.waiting and day.state is not None and day.state.exit_code in _SAME_EVERY_DAY:
                    self.stopped_before = self.waiting[0]
                    self.waiting.clear()
                yield day

    def _start(self, day: date) -> Day:
        now = datetime.now(UTC)
        while True:
            try:
                job = self._cluster.create(triggered(self._cronjob, now, day))
            except AlreadyExists:  # the name ends with the second
                now += timedelta(seconds=1)
            else:
                return Day(day, str(job["metadata"]["name"]))

    def _ended(self) -> list[Day]:
        days = [replace(day, state=self._state(day.name)) for day in self.running]
        return [day for day in days if day.state is not None and day.state.phase.over]

    def _state(self, name: str) -> State:
        try:
            return look(self._cluster, name)[1]
        except NotFound:  # somebody cancelled it
            return read(Seen(None))
