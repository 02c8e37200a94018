"""A run that may begin with fewer workers than it asked for, because its queue had room for no more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.workers.peers import close, join, ranks
from trainer.errors import ConfigError, PeerLost
from trainer.workers.rank import Rank, rank_from
from trainer.workers.rendezvous import Rendezvous

LAST_CALL_S = 1.0


def elastic(workers: int, fewest: int) -> list[Rank]:
    return [replace(rank, min_workers=fewest) for rank in ranks(workers)]


def met(*who: Rank, **changes: float) -> list[Rendezvous]:
    with ThreadPoolExecutor(len(who)) as pool:
        return list(pool.map(lambda rank: join(rank, last_call_s=LAST_CALL_S, **changes), who))


def test_it_begins_with_those_that_came_before_the_last_call_was_over() -> None:
    first, second, _ = elastic(3, 2)
    began_s = time.monotonic()
    ranks = met(first, second)
    assert time.monotonic() - began_s >= LAST_CALL_S
    assert [(m.rank.index, m.rank.workers, len(m.rank.hosts)) for m in ranks] == [(0, 2, 2), (1, 2, 2)]
    assert ranks[0].addresses == ranks[1].addresses
    assert len(ranks[0].addresses) == 2
    close(*ranks)


def test_worker_0_may_begin_alone() -> None:
    ranks = met(elastic(2, 1)[0])
    assert (ranks[0].rank.workers, ranks[0].connections) == (1, {})
    close(*ranks)


def test_with_all_workers_there_nobody_waits_for_the_last_call() -> None:
    first, second = elastic(2, 1)
    began_s = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        ranks = list(pool.map(lambda rank: join(rank, last_call_s=60.0), (first, second)))
    assert time.monotonic() - began_s < 30
    assert {m.rank.workers for m in ranks} == {2}
    close(*ranks)


def test_too_few_workers_end_as_before() -> None:
    first, second, *_ = elastic(4, 3)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(join, first, deadline_s=3.0, last_call_s=0.5), pool.submit(join, second)]
        for each in waiting:
            with pytest.raises(PeerLost, match="worker 2, worker 3 did not come within 3 s"):
                each.result(20)


def test_a_worker_beyond_a_gap_is_sent_away() -> None:
    first, second, _, fourth = elastic(4, 2)
    with ThreadPoolExecutor(3) as pool:
        late = pool.submit(join, fourth, last_call_s=LAST_CALL_S)
        found = [pool.submit(join, rank, last_call_s=LAST_CALL_S) for rank in (first, second)]
        assert [each.result(20).rank.workers for each in found] == [2, 2]
        with pytest.raises(PeerLost, match="the run began with 2 of 4 workers"):
            late.result(20)
    close(*(each.result() for each in found))


def test_the_fewest_workers_are_read_from_the_environment() -> None:
    environ = {
        "KFIT_NODES": "3",
        "KFIT_MIN_NODES": "2",
        "JOB_COMPLETION_INDEX": "1",
        "KFIT_JOB": "j",
        "KFIT_SERVICE": "s",
        "KFIT_JOB_UID": "u",
    }
    assert rank_from(environ).min_workers == 2
    for wrong in ("0", "4"):
        with pytest.raises(ConfigError, match=f"KFIT_MIN_NODES {wrong} is not between 1 and KFIT_NODES 3"):
            rank_from(environ | {"KFIT_MIN_NODES": wrong})
