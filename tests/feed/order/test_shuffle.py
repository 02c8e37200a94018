"""The order of rows is a pure function that loses nothing, opens anywhere, and mixes well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.feed.order.plan import make_plan
from trainer.feed.order.shuffle import LANES, cumulative_lane_counts, row_order, windows_of

SETS = st.lists(st.lists(st.integers(0, 40), max_size=5), min_size=1, max_size=12).filter(
    lambda s: sum(map(sum, s)) > 0
)


def stream_of(plan, *, seed, epoch, batch_size, shuffle=True):
    """(read unit, row of the read unit) for every place of an epoch's stream."""
    out = []
    for part in windows_of(plan, seed, epoch, shuffle=shuffle):
        rows = [(int(p), r) for p in part.units for r in range(int(plan.rows[p]))]
        order = row_order(plan, part, seed=seed, epoch=epoch, batch_size=batch_size, shuffle=shuffle)
        assert part.start == len(out)
        out += [rows[i] for i in order]
    return out


def plan_for(groups, window):
    return make_plan(groups, groups, window_rows=window)


@settings(max_examples=60, deadline=None)
@given(SETS, st.integers(1, 200), st.integers(0, 5), st.integers(0, 3), st.integers(1, 30), st.booleans())
def test_every_row_comes_exactly_once_an_epoch(groups, window, seed, epoch, batch, shuffle):
    plan = plan_for(groups, window)
    actual = stream_of(plan, seed=seed, epoch=epoch, batch_size=batch, shuffle=shuffle)
    assert sorted(actual) == [(p, r) for p in range(len(plan)) for r in range(int(plan.rows[p]))]


@settings(max_examples=40, deadline=None)
@given(SETS, st.integers(1, 200))
def test_slices_of_a_large_row_group_cover_it_once(groups, window):
    plan = plan_for(groups, window)
    units = zip(plan.shard, plan.group, plan.start, plan.stop, strict=True)
    actual = [(int(s), sum(groups[s][:g]) + r) for s, g, a, b in units for r in range(a, b)]
    assert actual == [(s, r) for s, shard in enumerate(groups) for r in range(sum(shard))]
    assert plan.total_rows == len(actual)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=LANES, max_size=LANES))
def test_lane_counts_never_fall_and_always_add_up(lanes):
    rows = np.array(lanes, np.int64)
    positions = np.arange(rows.sum() + 1)
    counts = cumulative_lane_counts(positions, rows)
    assert (counts.sum(axis=1) == positions).all()
    assert (np.diff(counts, axis=0) >= 0).all()
    assert (counts[-1] == rows).all()
    assert np.abs(counts - positions[:, None] * rows / max(1, rows.sum())).max() <= 3


def test_batches_take_from_every_lane_in_proportion():
    plan = plan_for([[25] * 4] * 16, 800)
    part = windows_of(plan, 0, 0, shuffle=True)[0]
    order = row_order(plan, part, seed=0, epoch=0, batch_size=80, shuffle=True)
    lane_of = np.repeat(part.lanes, plan.rows[part.units])[order]
    for start in range(0, part.rows - 80, 80):
        assert np.abs(np.bincount(lane_of[start : start + 80], minlength=LANES) - 10).max() <= 3


def test_order_changes_with_seed_and_epoch_and_with_nothing_else():
    plan = plan_for([[20] * 3] * 10, 150)
    first = stream_of(plan, seed=1, epoch=0, batch_size=16)
    assert stream_of(plan, seed=1, epoch=0, batch_size=16) == first
    assert stream_of(plan, seed=2, epoch=0, batch_size=16) != first
    assert stream_of(plan, seed=1, epoch=1, batch_size=16) != first


def test_without_shuffle_rows_come_in_file_order():
    plan = plan_for([[5, 3], [0], [7]], 6)
    actual = stream_of(plan, seed=0, epoch=3, batch_size=4, shuffle=False)
    assert actual == sorted(actual)


@pytest.mark.parametrize("within_shards", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_label_sorted_shards_mix_as_a_true_shuffle_does(within_shards, share):
    """Four row groups a lane: of 200 batches no more lie outside the 99.9 % band than chance explains."""
    shards, per_shard, group, batch = 20, 16, 200, 256
    plan = plan_for([[group] * per_shard] * shards, 4 * LANES * group)
    place = np.arange(per_shard * group) if within_shards else np.arange(shards * per_shard * group)
    label = place >= (1 - share) * len(place)
    labels = np.tile(label, shards) if within_shards else label
    by_unit = labels.reshape(-1, group)
    actual = np.array([by_unit[p, r] for p, r in stream_of(plan, seed=0, epoch=0, batch_size=batch)], float)
    shares = actual[: len(actual) // batch * batch].reshape(-1, batch).mean(axis=1)
    band = 3.29 * np.sqrt(share * (1 - share) / batch)
    assert np.abs(shares - share).max() <= band
    assert abs(np.corrcoef(np.arange(len(shares)), shares)[0, 1]) < 0.3


def test_small_row_groups_of_a_shard_are_read_together():
    plan = plan_for([[10, 0, 20, 5000, 8000, 100], [3] * 4], 64 * 8192)
    actual = [tuple(map(int, p)) for p in zip(plan.shard, plan.group, plan.groups, plan.rows, strict=True)]
    assert actual == [(0, 0, 1, 10), (0, 2, 2, 5020), (0, 4, 2, 8100), (1, 0, 4, 12)]


def test_a_window_holds_no_more_read_units_than_mixing_needs():
    many = plan_for([[1000]] * 2000, 1_500_000)
    assert {len(r.units) for r in windows_of(many, 0, 0, shuffle=True)} == {250}
    all_fits = plan_for([[1000]] * 2000, 2_000_000)
    assert [len(r.units) for r in windows_of(all_fits, 0, 0, shuffle=True)] == [2000]


def test_slices_of_a_large_row_group_come_in_its_own_order():
    plan = plan_for([[1000], [30, 30], [700]], 100)
    for epoch in range(3):
        seen: dict[int, list[int]] = {}
        for part in windows_of(plan, 0, epoch, shuffle=True):
            for unit in part.units:
                seen.setdefault(int(plan.shard[unit]), []).append(int(plan.start[unit]))
        assert seen[0] == list(range(0, 1000, 50))
        assert seen[2] == list(range(0, 700, 50))


def test_the_worked_example_of_cumulative_lane_counts():
    counts = cumulative_lane_counts(np.array([0, 3, 6, 8]), np.array([4, 2, 1, 1]))
    assert counts.tolist() == [[0, 0, 0, 0], [1, 1, 0, 1], [2, 2, 1, 1], [4, 2, 1, 1]]
