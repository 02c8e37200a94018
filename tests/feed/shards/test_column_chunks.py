"""A damaged footer is a fault of one shard: nothing that Arrow aborts the process on is asked before it was checked."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.feed.shards.column_chunks import check_chunks, find_fatal_statistics, leaf_indices, statistics_of
from trainer.feed.shards.discovery import scan
from trainer.feed.shards.footers import BadShard
from trainer.feed.statistics.prepare import inspect

LEAST = 0x1122334455667788


def with_footer(raw, change):
    """The file with another footer."""
    length = int.from_bytes(raw[-8:-4], "little")
    footer = change(bytearray(raw[-8 - length : -8]))
    return raw[: -8 - length] + bytes(footer) + len(footer).to_bytes(4, "little") + b"PAR1"


def shorten_statistics(footer):
    """The least value of a column of int64 has 7 bytes."""
    at = footer.rindex(b"\x08" + struct.pack("<q", LEAST))
    footer[at : at + 2] = b"\x07"
    return footer


def footer_of(raw):
    return pq.read_metadata(pa.BufferReader(raw))


def spoil_sizes(raw):
    """The first single bit whose flip makes a size histogram one too long."""
    length = int.from_bytes(raw[-8:-4], "little")
    for bit in range(length * 8):

        def flip(footer, bit=bit):
            footer[bit // 8] ^= 1 << bit % 8
            return footer

        odd = with_footer(raw, flip)
        try:
            check_chunks(footer_of(odd), len(odd), range(footer_of(odd).num_columns))
        except (pa.ArrowException, OSError) as error:
            if "histogram size mismatch" in str(error):
                return odd
    raise AssertionError("no flip does")


@pytest.fixture
def table():
    return pa.table({"id": [LEAST + i for i in range(40)], "label": [i % 2 for i in range(40)]})


@pytest.fixture
def spoilt(tmp_path, table):
    """A folder whose second file is damaged as a function says."""

    def make(damage):
        folder = tmp_path / "set"
        folder.mkdir()
        for part in range(3):
            pq.write_table(table, folder / f"part-{part}.parquet")
        path = folder / "part-1.parquet"
        path.write_bytes(damage(path.read_bytes()))
        return folder

    return make


def test_a_damaged_size_histogram_is_a_fault_of_its_shard(spoilt):
    folder = spoilt(spoil_sizes)
    with pytest.raises(BadShard, match="histogram size mismatch") as fault:
        scan(str(folder), ["id", "label"])
    assert fault.value.where.endswith("part-1.parquet")
    assert [s.name for s in scan(str(folder), ["id", "label"], skip=1).shards] == ["part-0.parquet", "part-2.parquet"]


def test_statistics_that_arrow_aborts_on_are_a_fault_of_their_shard_under_a_filter(spoilt, configure):
    folder = spoilt(lambda raw: with_footer(raw, shorten_statistics))
    job = {"features": {"id": {"kind": "numeric"}}, "filter": {"id": {"at_least": LEAST}}}
    with pytest.raises(BadShard, match="statistics in its footer are damaged: Unexpected end of stream") as fault:
        inspect(configure(folder, **job))
    assert fault.value.where.endswith("part-1.parquet")
    assert len(scan(str(folder), ["id"], skip=1, filtered_by=["id"]).shards) == 2
    assert len(scan(str(folder), ["id"]).shards) == 3, "nobody reads them without a filter"


def test_arrow_aborts_on_these_statistics(spoilt):
    """Where this fails, Arrow raises by now, and the process for statistics is no longer needed."""
    path = spoilt(lambda raw: with_footer(raw, shorten_statistics)) / "part-1.parquet"
    code = f"import pyarrow.parquet as p; p.read_metadata({str(path)!r}).row_group(0).column(0).statistics"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == -6


def test_every_fatal_footer_among_sound_ones_is_found(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    sound, odd = footer_of(sink.getvalue()), footer_of(with_footer(sink.getvalue(), shorten_statistics))
    asked = [(sound, (0, 1)), (odd, (0,)), (odd, (1,)), (sound, (0,)), (odd, (0, 1))]
    assert list(find_fatal_statistics(asked)) == [(1, "Unexpected end of stream"), (4, "Unexpected end of stream")]
    assert list(find_fatal_statistics(asked[2:4])) == []


def test_a_type_that_contradicts_the_schema_leaves_the_statistics_out(table):
    """A chunk's type is its first field, (tag 0x15) zigzag 4 for INT64; FLOAT in its place."""
    sink = io.BytesIO()
    pq.write_table(table, sink)

    def other_type(footer):
        at = footer.index(b"\x1c\x15\x04")
        footer[at + 2] = 0x08
        return footer

    odd = footer_of(with_footer(sink.getvalue(), other_type))
    assert odd.row_group(0).column(0).physical_type == "FLOAT"
    assert statistics_of(odd, 0, 0) is None
    assert statistics_of(odd, 0, 1).min == 0


@pytest.mark.parametrize("groups", [1, 7])
def test_sound_files_of_all_shapes_pass_without_a_page_being_read(groups):
    rows = 70
    columns = {
        "a.b": pa.array(range(rows)),
        "list": pa.array([[1, 2], [], None, [3], [4]] * (rows // 5)),
        "struct": pa.array([{"x": i, "y": {"z": "a"}} for i in range(rows)]),
        "map": pa.array([[("k", 1)], None] * (rows // 2), pa.map_(pa.string(), pa.int64())),
        "text": pa.array(["ä", None] * (rows // 2)).dictionary_encode(),
        "fixed": pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32(), 2)),
        "nulls": pa.nulls(rows),
        "decimal": pa.array([1] * rows, pa.decimal128(38, 2)),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=rows // groups, write_page_index=True)
    raw = sink.getvalue()
    length = int.from_bytes(raw[-8:-4], "little") + 8
    metadata = footer_of(raw[-length:])  # the pages are nowhere
    check_chunks(metadata, len(raw), range(metadata.num_columns))
    assert list(find_fatal_statistics([(metadata, range(metadata.num_columns))])) == []
    leaves = leaf_indices(metadata)
    assert leaves["struct"] == (leaves["struct.x"][0], leaves["struct.y.z"][0])
    assert leaves["a.b"] == leaves["a"] == (0,)
