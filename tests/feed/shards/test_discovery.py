"""Every kind of bad shard is one error that names the shard, or one that is left out and counted."""

from __future__ import annotations

import os
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from tests.feed.conftest import table_of
from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.feed.packing.remote_ranges import chunk_ranges, merged
from trainer.feed.shards.discovery import scan
from trainer.feed.shards.footers import BadShard, read_footer
from trainer.feed.statistics.prepare import inspect, prepare


def spoil_pages(path):
    """Overwrites data pages and leaves the footer whole."""
    content = bytearray(path.read_bytes())
    pages = len(content) - pq.read_metadata(path).serialized_size - 8
    content[4:pages] = b"\xff" * (pages - 4)
    path.write_bytes(content)


def replace_column(path, name, values):
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), path)


FAULTS = {
    "zero bytes": (lambda p: p.write_bytes(b""), r"the file is empty \(0 bytes\)"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-40]), "truncated: it begins as Parquet"),
    "not Parquet": (lambda p: p.write_text("a,b\n1,2\n" * 10), "not a Parquet file"),
    "encrypted footer": (lambda p: p.write_bytes(b"PARE" + p.read_bytes()[4:-4] + b"PARE"), "footer is encrypted"),
    "spoilt footer": (
        lambda p: p.write_bytes(p.read_bytes()[:-60] + b"\xff" * 52 + p.read_bytes()[-8:]), "cannot be parsed"),
    "footer too long": (lambda p: p.write_bytes(p.read_bytes()[:-8] + b"\xff\xff\xff\x7fPAR1"), "its footer says"),
    "missing column": (lambda p: pq.write_table(pq.read_table(p).drop_columns(["digit"]), p),
                       "column 'digit' is missing; expected int32"),
    "int turned float": (lambda p: replace_column(p, "digit", pa.array([0.5] * 30)),
                         "column 'digit' is double; expected int32"),
    "string turned int": (lambda p: replace_column(p, "word", pa.array([1] * 30)),
                          "column 'word' is int64; expected string"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_shard_is_named(fault, write_set, configure):
    folder = write_set((30, 30, 30))
    spoil, message = FAULTS[fault]
    spoil(folder / "part-1.parquet")
    with pytest.raises(DataError, match=message) as error:
        inspect(configure(folder))
    assert error.value.where == f"{folder}/part-1.parquet"


def test_a_page_that_cannot_be_decoded_is_named(write_set, configure):
    folder = write_set((30, 30, 30))
    spoil_pages(folder / "part-1.parquet")
    with pytest.raises(DataError, match="row group 0 cannot be decoded") as error:
        prepare(configure(folder))
    assert error.value.where == f"{folder}/part-1.parquet"


@pytest.mark.parametrize("spoil", [spoil_pages, lambda p: p.write_bytes(b"")])
def test_bad_shards_are_left_out_and_counted_where_the_operator_says_so(spoil, write_set, configure):
    folder = write_set((30, 30, 30))
    spoil(folder / "part-1.parquet")
    prepared = prepare(configure(folder, on_bad_shard="skip"))
    assert prepared.rows == {"train": 60}
    assert [b.partition(": ")[0] for b in prepared.bad_shards] == [f"{folder}/part-1.parquet"]
    assert [s.name for s in prepared.shards] == ["part-0.parquet", "part-2.parquet"]


def test_one_bad_shard_too_many_ends_the_run(write_set, configure):
    folder = write_set((30, 30, 30))
    for name in ("part-0", "part-1"):
        (folder / f"{name}.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 bad shards, data.max_bad_shards allows 1"):
        inspect(configure(folder, on_bad_shard="skip", max_bad_shards=1))


def test_the_odd_shard_is_the_minority_even_when_it_comes_first(write_set, configure):
    folder = write_set((30, 30, 30))
    replace_column(folder / "part-0.parquet", "digit", pa.array([0.5] * 30))
    with pytest.raises(DataError) as error:
        inspect(configure(folder))
    assert error.value.where == f"{folder}/part-0.parquet"


def test_extra_columns_and_empty_shards_are_fine(write_set, configure):
    folder = write_set((30, 0, 30))
    table = table_of(30).append_column("extra", pa.array(range(30)))
    pq.write_table(table, folder / "part-1b.parquet")
    inspection = inspect(configure(folder))
    assert inspection.rows == {"train": 90}
    assert inspection.warnings == ("columns not used: extra, id, weight",)


def test_encodings_of_a_string_are_one_type(write_set, configure):
    folder = write_set((30, 30))
    for name, kind in (("part-0", pa.dictionary(pa.int8(), pa.string())), ("part-1", pa.large_string())):
        path = folder / f"{name}.parquet"
        replace_column(path, "word", pq.read_table(path)["word"].cast(kind))
    assert prepare(configure(folder)).statistics["train"].columns["word"].values == (("a", 16), ("b", 16), ("c", 16))


def test_an_empty_set_has_no_rows(write_set, configure):
    with pytest.raises(DataError, match="the dataset has no rows"):
        inspect(configure(write_set((0, 0))))


def test_a_folder_that_is_not_there_is_named(configure, tmp_path):
    with pytest.raises(DataError, match="no such path") as error:
        inspect(configure(tmp_path / "nowhere"))
    assert "nowhere" in error.value.where


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ({"numbr": {"kind": "numeric"}}, DataError, "did you mean 'number'"),
        ({"word": {"kind": "numeric"}}, DataError, "column 'word' is string; kind numeric takes"),
        ({"number": {"kind": "categorical"}}, DataError, "set kind: numeric"),
        ({"number": {"kind": "vector", "size": 3}}, DataError, "kind vector takes a list"),
        ({"vector": {"kind": "vector", "size": 4}}, ConfigError, "the data has vectors of 3"),
    ],
)
def test_a_feature_that_does_not_fit_its_column_is_named(features, error, message, write_set, configure):
    with pytest.raises(error, match=message):
        inspect(configure(write_set(), features=features))


@pytest.mark.parametrize(("task", "message"), [("binary", "multiclass"), ("regression", "multiclass")])
def test_a_label_of_strings_needs_multiclass(task, message, write_set, configure):
    with pytest.raises(DataError, match=message):
        inspect(configure(write_set(), label="word", features={"number": {"kind": "numeric"}}, task=task))


def test_ranges_of_wanted_columns_merge_with_their_neighbours(write_set):
    (shard,) = scan(str(write_set((50,))), ["number", "vector"]).shards
    ranges = chunk_ranges(shard, 0, ["number", "vector"])
    assert len(ranges) == 2
    assert all(stop - start > 0 for start, stop in ranges)
    assert merged([(0, 10), (12, 20), (100, 110)], gap=5) == [(0, 20), (100, 110)]


def test_shards_whose_types_differ_for_arrow_alone_are_told_apart(tmp_path):
    """Parquet's own schema of vectors of 3 and of 2 is the same."""
    for part, size in enumerate((3, 3, 2)):
        vectors = pa.array([[1.0] * size] * 6, pa.list_(pa.float32(), size))
        pq.write_table(pa.table({"v": vectors}), tmp_path / f"part-{part}.parquet")
    with pytest.raises(BadShard, match=r"'v' is fixed_size_list<item: float>\[2\]; expected .*\[3\]") as fault:
        scan(str(tmp_path), ["v"])
    assert fault.value.where.endswith("part-2.parquet")


def test_footers_are_kept_between_runs_for_objects_that_did_not_change(write_set, tmp_path):
    folder = write_set((5, 6, 7))
    first = scan(str(folder), ["number"], cache=tmp_path / "cache")
    read_footer.cache_clear()
    for file in folder.glob("*.parquet"):
        stat = file.stat()
        file.write_bytes(b"x" * stat.st_size)  # what is kept must do, so nothing of the file is looked at
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert scan(str(folder), ["number"], cache=tmp_path / "cache") == first
    os.utime(folder / "part-1.parquet")
    with pytest.raises(BadShard, match="not a Parquet file"):
        scan(str(folder), ["number"], cache=tmp_path / "cache")


def test_a_broken_cache_of_footers_is_no_obstacle(write_set, tmp_path):
    folder = write_set((5, 6))
    first = scan(str(folder), ["number"], cache=tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    for broken in (b"", b"not JSON\n", cached.read_bytes()[:-1]):
        cached.write_bytes(broken)
        assert scan(str(folder), ["number"], cache=tmp_path / "cache") == first


TABLE_LOGS = ["_delta_log/00000000000000000000.json", "metadata/00000-6f1c.metadata.json", "_delta_log/"]


@pytest.mark.parametrize("log", TABLE_LOGS)
@pytest.mark.parametrize("glob", ["", "/*.parquet", "/**/*.parquet"])
def test_a_table_of_a_table_format_is_no_folder_of_parquet(log, glob, write_set, configure):
    folder = write_set((30, 30))
    (folder / log.partition("/")[0]).mkdir()
    if not log.endswith("/"):
        (folder / log).write_text("{}")
    with pytest.raises(DataError, match=r"is a (Delta|Iceberg) table") as error:
        inspect(configure(f"{folder}{glob}"))
    assert "list the files of one version" in error.value.remedy
    files = [str(folder / f"part-{n}.parquet") for n in range(2)]
    assert inspect(configure(folder, train=files)).rows == {"train": 60}


@pytest.mark.parametrize("log", TABLE_LOGS)
@pytest.mark.parametrize("glob", ["", "/*.parquet"])
def test_a_table_of_a_table_format_in_object_storage_is_no_folder_of_parquet(log, glob, write_set, s3):
    """Object stores hold an empty folder as an object whose name ends in a slash."""
    folder = f"{s3.bucket}/tables/{uuid.uuid4().hex}"
    storage.write(f"s3://{folder}/part-0.parquet", (write_set((30,)) / "part-0.parquet").read_bytes())
    assert len(scan(f"s3://{folder}{glob}", ["number"]).shards) == 1
    s3fs.S3FileSystem().call_s3("put_object", Bucket=s3.bucket, Key=f"{folder.partition('/')[2]}/{log}", Body=b"")
    with pytest.raises(DataError, match=r"is a (Delta|Iceberg) table"):
        scan(f"s3://{folder}{glob}", ["number"])


def test_globs_are_relative_to_the_working_folder_or_absolute(tmp_path, write_set, configure, monkeypatch):
    folder = write_set((30, 30))
    monkeypatch.chdir(folder)
    relative = inspect(configure("part-*.parquet"))
    assert [s.uri for s in relative.shards] == ["part-0.parquet", "part-1.parquet"]
    monkeypatch.chdir(tmp_path)
    assert [s.uri for s in inspect(configure("s*/part-?.parquet")).shards] == [
        "set/part-0.parquet",
        "set/part-1.parquet",
    ]
    first, *rest = tmp_path.parts[1:]
    absolute = inspect(configure(f"/{first[:2]}*/{'/'.join(rest)}/set/part-0.parquet"))
    assert [s.uri for s in absolute.shards] == [f"{folder}/part-0.parquet"]
    assert [s.uri for s in inspect(configure(f"file://{tmp_path}/*/part-1.parquet")).shards] == [
        f"file://{folder}/part-1.parquet"
    ]
    with pytest.raises(DataError, match="glob matches nothing"):
        inspect(configure("/no-such-folder*/part-*.parquet"))
