"""Columns become rows: every width takes its own way, and all give the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trainer.feed.packing.transpose import Turner


@pytest.mark.parametrize("rows", [0, 1, 255, 70_001])
@pytest.mark.parametrize("width", [1, 15, 16, 33, 300])
@pytest.mark.parametrize("share", [None, 0.0, 0.1, 1.0])
def test_columns_become_rows(rows: int, width: int, share: float | None) -> None:
    random = np.random.default_rng(width)
    rows = rows if width < 100 else min(rows, 9_001)
    types = [np.float32, np.float64, np.int8, np.int64]
    columns = [random.integers(-100, 100, rows).astype(types[at % len(types)]) for at in range(width)]
    pick = None if share is None else np.flatnonzero(random.random(rows) < share)
    expected = np.array(columns, np.float32).T if pick is None else np.array(columns, np.float32).T[pick]
    out = np.full((rows if pick is None else len(pick), width), np.nan, np.float32)
    Turner()(list(enumerate(columns)), out, pick)
    np.testing.assert_array_equal(out, expected)


def test_a_vector_lies_between_single_columns() -> None:
    random = np.random.default_rng(0)
    vector, before, after = random.random((5000, 20)), random.random(5000), random.random(5000)
    out = np.empty((5000, 22), np.float32)
    Turner()([(0, before), (1, vector), (21, after)], out, None)
    np.testing.assert_array_equal(out, np.column_stack([before, vector, after]).astype(np.float32))


def test_threads_do_not_share_a_stage() -> None:
    random = np.random.default_rng(0)
    turn = Turner()

    def wrong(size: int) -> int:
        columns = random.integers(0, 1000, (size, 40_000), dtype=np.int32)
        out = np.empty((40_000, size), np.int32)
        turn(list(enumerate(columns)), out, None)
        return int((out != columns.T).sum())

    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(wrong, [16, 40, 24, 32] * 8))
