"""A warning where windows are too small to mix sorted rows, and what it advises."""

from __future__ import annotations

import pytest

from trainer.feed.pipeline.source import mixing_warnings
from trainer.feed.statistics.prepare import prepare

MIB = 1024**2


def warnings_of(configure, folder, shuffle):
    return mixing_warnings(prepare(configure(folder, shuffle=shuffle)))


@pytest.mark.parametrize(
    ("rows", "group", "shuffle", "units"),
    [((120_000,), 120_000, 2, 2), ((60_000, 60_000), 10_000, 2, 4), ((60_000, 60_000), 1200, 0.5, 10)],
)
def test_a_window_of_few_read_units_is_a_warning_and_its_advice_fixes_it(
    rows, group, shuffle, units, write_set, configure
):
    folder = write_set(rows, group=group)
    (warning,) = warnings_of(configure, folder, int(shuffle * MIB))
    assert f"{shuffle} MiB draws from {units} row groups" in warning
    advised = int(warning.partition("set it to ")[2].partition("MiB")[0])
    assert warnings_of(configure, folder, advised * MIB) == ()


@pytest.mark.parametrize(("group", "shuffle"), [(1000, MIB), (120_000, 64 * MIB), (120_000, False)])
def test_many_read_units_one_window_or_no_shuffle_give_no_warning(group, shuffle, write_set, configure):
    assert warnings_of(configure, write_set((120_000,), group=group), shuffle) == ()
