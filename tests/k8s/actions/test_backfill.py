"""A run for each of many days, a few at a time."""

from __future__ import annotations

import time
from datetime import date
from types import SimpleNamespace

import pytest

from k8s.actions.backfill import Backfill, days_between
from k8s.status.job_state import Phase
from tests.k8s.ends import JOBS, Ends
from tests.k8s.objects import schedule

DAYS = days_between(date(2013, 2, 27), date(2013, 3, 3))


@pytest.fixture
def fill(server, cluster, monkeypatch):
    """A backfill whose runs end while it waits, by the exit codes of their days."""

    def begin(codes=None, parallel=1):
        ends = Ends(server, codes)
        monkeypatch.setattr("k8s.actions.backfill.time", SimpleNamespace(sleep=ends, monotonic=time.monotonic))
        return Backfill(cluster, schedule(), DAYS, parallel), ends

    return begin


def test_every_day_gets_a_run_the_oldest_first_and_no_more_than_asked_for_at_a_time(fill):
    work, ends = fill(parallel=2)
    told = list(work.run())
    assert [d.day for d in told if d.state is None] == DAYS
    assert [d.day for d in told if d.state] == DAYS
    assert all(d.state.phase is Phase.SUCCEEDED for d in told if d.state)
    assert len({d.name for d in told}) == len(DAYS)
    assert ends.most == 2


def test_a_bad_day_does_not_keep_the_others_from_their_runs(fill):
    told = list(fill({DAYS[1]: 65})[0].run())
    assert [d.state.exit_code for d in told if d.state] == [0, 65, 0, 0, 0]


def test_a_day_whose_run_is_cancelled_ends_and_the_others_go_on(server, fill):
    work, _ = fill()
    told = []
    for day in work.run():
        told.append(day)
        if day.state is None and day.day == DAYS[1]:
            del server.behind.objects[f"{JOBS}/{day.name}"]
    assert [d.state.exit_code for d in told if d.state] == [0, 4, 0, 0, 0]


@pytest.mark.parametrize("code", [64, 70])
def test_what_would_fail_on_every_day_is_not_tried_on_every_day(fill, code):
    work, _ = fill({DAYS[1]: code})
    told = list(work.run())
    assert [d.state.exit_code for d in told if d.state] == [0, code]
    assert work.stopped_before == DAYS[2]
