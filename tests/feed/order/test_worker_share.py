"""Shares of several workers against the order of one: the same rows in the same batches, and each read once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.feed.order.test_shuffle import plan_for
from trainer.feed.order.shuffle import LANES, row_order, windows_of
from trainer.feed.order.worker_share import Worker, own_rows, share_of

PLANS = {
    "many units, several windows": ([[25] * 4] * 16, 500),
    "one window": ([[20] * 3] * 16, 10_000),
    "uneven units": ([[7, 31, 12], [50], [3] * 9, [24, 24]] * 4, 150),
    "one unit": ([[90]], 1000),
}


def batches_of(plan, *, batch_size, epoch, shuffle=True, lanes=False):
    """The oracle: step -> rows as (read unit, row in it), of one worker."""
    stream = []
    for part in windows_of(plan, 5, epoch, shuffle=shuffle, lanes=lanes):
        order = row_order(plan, part, seed=5, epoch=epoch, batch_size=batch_size, shuffle=shuffle, lanes=lanes)
        names = [(int(p), r) for p in part.units for r in range(int(plan.rows[p]))]
        stream += [names[i] for i in order]
    return [stream[i : i + batch_size] for i in range(0, len(stream), batch_size)]


def share_batches(plan, worker, *, batch_size, epoch, shuffle=True, lanes=False, step=0):
    """The share of one of several workers, step -> the rows that it gives, and the read units that it reads."""
    windows = windows_of(plan, 5, epoch, shuffle=shuffle, lanes=lanes)
    share = share_of(plan, windows, batch_size, worker)
    given: dict[int, list[tuple[int, int]]] = {}
    read: set[int] = set()
    before = 0
    for part in windows:
        if part.start + part.rows <= step * batch_size:
            continue
        order = row_order(plan, part, seed=5, epoch=epoch, batch_size=batch_size, shuffle=shuffle, lanes=lanes)
        skip = max(0, step * batch_size - part.start)
        own, counts, before = own_rows(plan, part, order, skip, batch_size, share, before)
        units = part.units[np.isin(part.lanes, share.lanes)]
        read |= set(units.tolist())
        names = [(int(p), r) for p in units for r in range(int(plan.rows[p]))]
        batches = np.repeat(np.arange(len(counts)) + (part.start + skip) // batch_size, counts)
        for row, batch in zip(own.tolist(), batches.tolist(), strict=True):
            given.setdefault(batch, []).append(names[row])
    return share, given, read


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize(("shuffle", "lanes"), [(True, False), (False, False), (False, True)])
def test_workers_together_give_the_global_batches(name, workers, shuffle, lanes):
    groups, window = PLANS[name]
    plan = plan_for(groups, window)
    for epoch, batch_size in ((0, 48), (1, 48), (0, 49)):
        expected = batches_of(plan, batch_size=batch_size, epoch=epoch, shuffle=shuffle, lanes=lanes)
        shares = [
            share_batches(plan, Worker(i, workers, 1), batch_size=batch_size, epoch=epoch, shuffle=shuffle, lanes=lanes)
            for i in range(workers)
        ]
        assert len({(share.rows, share.factor) for share, _, _ in shares}) == 1
        for step, batch in enumerate(expected):
            assert sorted(row for _, given, _ in shares for row in given.get(step, [])) == sorted(batch)
        for share, given, _ in shares:
            assert all(len(rows) <= share.rows for rows in given.values())


def test_no_unit_is_read_by_two_workers():
    plan = plan_for([[25] * 4] * 40, 2000)
    for workers, how in ((2, {}), (4, {}), (8, {}), (2, {"shuffle": False, "lanes": True})):
        places = [Worker(i, workers, 2) for i in range(workers)]
        reads = [share_batches(plan, place, batch_size=240, epoch=0, **how)[2] for place in places]
        assert sum(map(len, reads)) == len(plan) == len(set.union(*reads))


def test_more_workers_than_lanes_read_a_lane_together():
    plan = plan_for([[25] * 4] * 40, 2000)
    reads = [share_batches(plan, Worker(i, 16, 1), batch_size=480, epoch=0)[2] for i in range(16)]
    assert sum(map(len, reads)) == 2 * len(plan)
    assert len(set.union(*reads)) == len(plan)


@pytest.mark.parametrize("workers", [2, 4])
def test_parts_are_filled_up_by_little_and_lanes_are_even(workers):
    plan = plan_for([[25] * 4] * 40, 2000)
    share = share_of(plan, windows_of(plan, 5, 0, shuffle=True), 240, Worker(0, workers, 1))
    assert len(share.lanes) == LANES // workers
    assert 240 / workers <= share.rows <= 1.25 * 240 / workers


def test_a_share_opens_anywhere():
    plan = plan_for([[25] * 4] * 16, 500)
    for index in range(2):
        _, whole, _ = share_batches(plan, Worker(index, 2, 1), batch_size=48, epoch=1)
        for step in (1, 7, 20, 33):
            _, rest, _ = share_batches(plan, Worker(index, 2, 1), batch_size=48, epoch=1, step=step)
            assert rest == {k: v for k, v in whole.items() if k >= step}
