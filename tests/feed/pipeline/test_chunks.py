"""Chunks of several workers hold the batches of one, weighted so that the loss is the same."""

from __future__ import annotations

import pytest

from tests.feed.pipeline.streams import ID, ROW_BYTES, WITH_ID, batches, opened
from trainer.feed.order.worker_share import Worker
from trainer.feed.statistics.prepare import prepare


@pytest.fixture
def prepared(write_set, configure):
    """203 rows in windows of about 50, which divide neither into batches nor into lanes evenly."""
    return prepare(configure(write_set((90, 0, 1, 112), group=10), features=WITH_ID, shuffle=50 * ROW_BYTES))


def weights_by_id(part):
    """Id -> weight of the rows that count; of a batch that holds the same row twice, their sum."""
    x, _, w = part
    weights: dict[int, float] = {}
    for row, weight in zip(x["numbers"][:, ID].astype(int).tolist(), w[:, 0].tolist(), strict=True):
        if weight:
            weights[row] = weights.get(row, 0.0) + weight
    return weights


@pytest.mark.parametrize("workers", [2, 3, 16])
@pytest.mark.parametrize("batch_size", [17, 100])
def test_each_batch_of_one_worker_is_dealt_to_several_with_the_same_mean(workers, batch_size, prepared):
    with opened(prepared, batch_size=batch_size) as feed:
        expected = batches(feed)
    parts = []
    for index in range(workers):
        with opened(prepared, batch_size=batch_size, worker=Worker(index, workers)) as feed:
            parts.append(batches(feed))
    for step, whole in enumerate(expected):
        of_step = [part[step] for part in parts]
        (rows,) = {len(w) for _, _, w in of_step}
        together = [weights_by_id(part) for part in of_step]
        alone = weights_by_id(whole)
        assert sorted(row for weights in together for row in weights) == sorted(alone)
        for weights in together:
            for row, weight in weights.items():
                assert weight / (rows * workers) == pytest.approx(alone[row] / batch_size, rel=1e-6)
        assert {float(fill) for _, _, w in of_step for fill in w[:, 1]} == {float(whole[2][0, 1])}


@pytest.mark.parametrize("worker", [Worker(), Worker(4, 16)])
@pytest.mark.parametrize("chunk_rows", [1, 33])
def test_batches_do_not_depend_on_how_many_a_chunk_holds(worker, chunk_rows, prepared, monkeypatch):
    def two_epochs(step=0):
        with opened(prepared, batch_size=17, worker=worker, step=step) as feed:
            read = [*batches(feed), *batches(feed)]
        # Which rows a part is filled up with counts nowhere.
        return [
            [values[w[:, 0] > 0].tobytes() for values in (x["numbers"], x["codes"], y)] + [w.tobytes()]
            for x, y, w in read
        ]

    expected = two_epochs()
    monkeypatch.setattr("trainer.feed.pipeline.chunks.CHUNK_BYTES", chunk_rows * ROW_BYTES)
    assert two_epochs() == expected
    assert two_epochs(step=5) == expected[5:]
