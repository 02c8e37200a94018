"""Runs of a schedule for days that have passed, a few at a time, the oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from k8s.actions.schedules import triggered
from k8s.api.client import Cluster
from k8s.errors import AlreadyExists, ClusterError, NotFound
from k8s.follow.watcher import GIVE_UP_S, look
from k8s.status.job_state import Seen, State, read
from k8s.status.pods import Object
from trainer.errors import ExitCode

#: What is wrong on every day: further days would only cost.
_OF_THE_JOB = (ExitCode.CONFIG, ExitCode.PROGRAM)


@dataclass(frozen=True)
class Day:
    """A day's run.

    Attributes:
        day: What it is for.
        name: Its Job.
        state: How it ended; None while it goes on.
    """

    day: date
    name: str
    state: State | None = None


def days_between(first: date, last: date) -> list[date]:
    """All days, both ends inside."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


class Backfill:
    """Starts and watches the runs.

    Args:
        cluster: Where they run.
        cronjob: The schedule.
        days: What for, in order.
        parallel: Runs at a time.
        pause_s: Seconds between two looks.
    """

    def __init__(
        self, cluster: Cluster, cronjob: Object, days: Sequence[date], parallel: int, pause_s: float = 2.0
    ) -> None:
        self._cluster, self._cronjob, self._parallel, self._pause_s = cluster, cronjob, parallel, pause_s
        #: Days that no run was started for yet.
        self.waiting = list(days)
        #: Runs that go on.
        self.running: list[Day] = []
        #: The first day that no run was started for, since what failed before it would fail again.
        self.stopped_before: date | None = None

    def run(self) -> Iterator[Day]:
        """Gives each day when its run is started, and again when it is over.

        After a run that ended by a fault of the job itself (64, 70) no further day is started.

        Raises:
            KfitError: The cluster says no, or nothing for long; runs that were started go on.
        """
        heard_s = time.monotonic()
        while self.running or self.waiting:
            while self.waiting and len(self.running) < self._parallel:
                day = self._start(self.waiting[0])
                del self.waiting[0]
                self.running.append(day)
                yield day
            time.sleep(self._pause_s)
            try:
                over = self._over()
                heard_s = time.monotonic()
            except ClusterError:
                if time.monotonic() - heard_s > GIVE_UP_S:
                    raise
                continue
            for day in over:
                self.running = [r for r in self.running if r.name != day.name]
                if self.waiting and day.state is not None and day.state.exit_code in _OF_THE_JOB:
                    self.stopped_before = self.waiting[0]
                    self.waiting.clear()
                yield day

    def _start(self, day: date) -> Day:
        now = datetime.now(UTC)
        while True:
            try:
                made = self._cluster.create(triggered(self._cronjob, now, day))
            except AlreadyExists:  # its name ends in the second
                now += timedelta(seconds=1)
            else:
                return Day(day, str(made["metadata"]["name"]))

    def _over(self) -> list[Day]:
        found = [Day(day.day, day.name, self._state(day.name)) for day in self.running]
        return [day for day in found if day.state is not None and day.state.phase.over]

    def _state(self, name: str) -> State:
        try:
            return look(self._cluster, name)[1]
        except NotFound:  # somebody cancelled it
            return read(Seen(None))
