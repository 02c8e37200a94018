"""What does not fit into memory is read in slices or refused with a remedy, and the split stays exact."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.feed.pipeline.streams import ROW_BYTES, WITH_ID, batches, flat, ids, opened
from trainer.errors import ConfigError
from trainer.feed.order.memory_budget import check_budget, groups_open_at_once
from trainer.feed.packing.decoder import Reader, SequentialDecoder
from trainer.feed.packing.memory_limit import default_budget
from trainer.feed.statistics.prepare import prepare
from trainer.feed.threads import BoundedQueue


def test_following_the_remedy_for_memory_is_enough(write_set, configure):
    folder = write_set((4000,), group=4000)
    data = {"features": WITH_ID, "shuffle": 100_000, "memory": 120 * 1024**2}
    with pytest.raises(ConfigError) as error:
        opened(prepare(configure(folder, **data)))
    raised = re.search(r"raise data.memory to (\d+)MiB", error.value.remedy)
    assert raised is not None
    opened(prepare(configure(folder, **data | {"memory": int(raised[1]) * 1024**2}))).close()


@pytest.mark.parametrize(
    ("budget", "whose", "besides"),
    [(100, "data.memory", ""), (None, "a third of the memory limit of 300 MiB", ", with a limit that has room for it")],
)
def test_what_does_not_fit_into_memory_names_the_shuffle_that_does(budget, whose, besides, monkeypatch):
    mib = 1024**2
    monkeypatch.setattr("trainer.feed.order.memory_budget.default_budget", lambda: 100 * mib)
    given = budget and budget * mib
    check_budget(given, 30 * mib, 40 * mib)
    with pytest.raises(ConfigError, match=f"needs 140 MiB and may hold 100 MiB, {whose}") as error:
        check_budget(given, 50 * mib, 40 * mib)
    assert error.value.remedy == f"set data.shuffle to at most 28MiB, or raise data.memory to 140MiB{besides}"


@pytest.mark.parametrize(("text", "expected"), [("3000", 1000), ("max", 4000), ("99999999", 4000), (None, 4000)])
def test_the_budget_follows_the_cgroup(text, expected, tmp_path):
    file = tmp_path / "memory.max"
    if text is not None:
        file.write_text(text + "\n")
    assert default_budget((str(file),), physical=12_000) == expected


def test_an_error_overtakes_what_is_queued():
    handoff = BoundedQueue(2)
    handoff.put(1)
    handoff.fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        handoff.get()


def test_a_row_group_larger_than_a_window_is_read_in_slices(write_set, configure):
    folder = write_set((200, 30), group=200)
    prepared = prepare(configure(folder, features=WITH_ID, shuffle=40 * ROW_BYTES))
    with opened(prepared) as feed:
        read = batches(feed)
        assert sorted(flat(ids(read))) == list(range(230))
        assert len(feed._source.windows(0)) > 4
    with opened(prepared, step=7) as feed:
        assert ids(batches(feed)) == ids(read)[7:]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_slices_hold_their_part_of_a_split_by_fraction(split, write_set, configure):
    folder = write_set((200, 30), group=200)
    both = {"validation": {"fraction": 0.3}, "features": WITH_ID}
    whole = prepare(configure(folder, **both))
    prepared = prepare(configure(folder, shuffle=40 * ROW_BYTES, **both))
    with opened(whole, split) as feed:
        expected = sorted(flat(ids(batches(feed))))
    with opened(prepared, split) as feed:
        read = sorted(flat(ids(batches(feed))))
        units = feed._source.plan
        assert int((units.stop - units.start).max()) <= 40
    assert len(expected) in (69, 161)
    assert read == expected


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(
    "rules",
    [
        {"validation": {"fraction": 0.3, "by": "id"}},
        {"validation": {"newest": 0.3, "by": "day"}},
        {"validation": {"fraction": 0.3}, "filter": {"digit": {"at_least": 1}}},
        {"validation": {"newest": 0.5, "by": "day"}, "filter": {"digit": {"at_least": 3}}},
    ],
)
def test_slices_hold_their_part_of_a_split_by_content(split, rules, write_set, configure, monkeypatch, tmp_path):
    """Where nobody knows which rows are a split's before they are read, the pass has counted them in blocks."""
    folder = write_set((200, 30), group=200)
    for shard in folder.glob("*.parquet"):
        table = pq.read_table(shard)
        days = pc.cast(pc.cast(pc.divide(table.column("id"), 23), pa.int32()), pa.date32())
        pq.write_table(table.append_column("day", days), shard, row_group_size=200)
    config = configure(folder, features=WITH_ID, **rules)
    with opened(prepare(config), split) as feed:
        expected = sorted(flat(ids(batches(feed))))
    monkeypatch.setattr("trainer.feed.shards.discovery._BLOCK_BYTES", 256)
    small = configure(folder, features=WITH_ID, shuffle=40 * ROW_BYTES, **rules)
    prepare(small, cache=tmp_path / "cache")
    prepared = prepare(small, cache=tmp_path / "cache")
    with opened(prepared, split) as feed:
        read = ids(batches(feed))
        units = feed._source.plan
        assert int((units.stop - units.start).max()) <= 40
    assert sorted(flat(read)) == expected
    assert 10 < len(expected) < 200
    with opened(prepared, split, step=2) as feed:
        assert ids(batches(feed)) == read[2:]


def test_open_decoders_are_as_many_as_the_budget_holds(write_set, configure, monkeypatch):
    monkeypatch.setattr("trainer.feed.packing.decoder._BATCH_ROWS", 7)
    mib = 1024**2
    folder = write_set((200,) * 14, group=200)
    data = {"features": WITH_ID, "shuffle": 100 * ROW_BYTES}
    with pytest.raises(ConfigError) as error:
        opened(prepare(configure(folder, memory=mib, **data)))
    needs = re.search(r"needs (\d+) MiB", str(error.value))
    columns = [*WITH_ID, "label"]
    open_decoders, plain = [], SequentialDecoder.take

    def noted(self, start, stop):
        open_decoders.append(sum(d.batches is not None for d in feed._source.reader._decoders.values()))
        return plain(self, start, stop)

    monkeypatch.setattr(SequentialDecoder, "take", noted)
    orders = []
    for more in (14, 2):
        memory = int(needs[1]) * mib + more * 3 * mib * len(columns)
        with opened(prepare(configure(folder, memory=memory, **data))) as feed:
            limit = min(14, feed._threads + more)
            assert groups_open_at_once(feed._source.plan, feed._source.windows(0)) == 14
            assert feed._source.reader.most_decoders == limit
            open_decoders.clear()
            orders.append(ids(batches(feed)))
        assert 2 < max(open_decoders) <= limit
    assert orders[0] == orders[1]
    assert sorted(flat(orders[0])) == list(range(14 * 200))
    assert max(open_decoders) < 14


def test_slices_in_ascending_order_are_decoded_once(write_set, configure, monkeypatch):
    openings = []
    plain = Reader._parquet

    def noted(self, source, shard):
        openings.append(shard.name)
        return plain(self, source, shard)

    monkeypatch.setattr(Reader, "_parquet", noted)
    monkeypatch.setattr("trainer.feed.packing.decoder._BATCH_ROWS", 7)
    (shard,) = prepare(configure(write_set((200,), group=200))).shards
    reader = Reader(["id"], {})
    openings.clear()

    def rows(*ranges):
        return [table["id"].to_pylist() for table in reader.slices(shard, 0, ranges)]

    assert rows((0, 20), (20, 45)) == [list(range(20)), list(range(20, 45))]
    assert rows((60, 61), (150, 200)) == [[60], list(range(150, 200))]
    assert len(openings) == 1
    assert rows((20, 30)) == [list(range(20, 30))]
    assert len(openings) == 2
