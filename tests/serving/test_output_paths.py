"""Where predictions go: never onto an input, never two shards onto one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer import storage
from trainer.errors import ConfigError
from trainer.serving.output_paths import canonical, plan_outputs


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders that hold files of the same names; the working folder is their parent."""
    for day in ("day1", "day2"):
        for part in ("part-0.parquet", "dt=1/part-1.parquet"):
            file = tmp_path / day / part
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(day.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(data: str | list[str], output: str) -> dict[str, str]:
    return plan_outputs(data, storage.expand(data), output)


def test_shards_keep_their_names(days):
    assert plan("day1", "out") == {
        "day1/dt=1/part-1.parquet": "out/dt=1/part-1.parquet",
        "day1/part-0.parquet": "out/part-0.parquet",
    }


def test_shards_of_the_same_name_keep_their_paths_apart(days):
    targets = plan(["day1", f"{days}/day2/"], "out")
    assert sorted(targets.values()) == [
        "out/day1/dt=1/part-1.parquet",
        "out/day1/part-0.parquet",
        "out/day2/dt=1/part-1.parquet",
        "out/day2/part-0.parquet",
    ]
    objects = [storage.StoredObject(f"s3://{b}/x/p.parquet", "p.parquet", 1, "") for b in ("a", "b")]
    assert plan_outputs(["s3://a/x", "s3://b/x"], objects, "s3://c/out") == {
        "s3://a/x/p.parquet": "s3://c/out/a/x/p.parquet",
        "s3://b/x/p.parquet": "s3://c/out/b/x/p.parquet",
    }


def test_a_file_that_is_named_twice_is_taken_once(days):
    (days / "link").symlink_to(days / "day1")
    ways = ["day1", f"{days}/day1", f"file://{days}/day1/", "link", "day1/*.parquet", "./day2/../day1"]
    assert len(plan(ways, "out")) == 2


@pytest.mark.parametrize(
    ("data", "output"),
    [
        ("day1", "day1"),
        ("day1", "./day1/"),
        ("day1", "{here}/day1"),
        ("day1", "file://{here}/day1"),
        ("file://{here}/day1", "day1"),
        ("{here}/day1/", "day2/../day1"),
        ("day1", "link"),
        ("link", "day1"),
        ("day1", "link/deeper/yet"),
        ("day1", "day1/predictions"),
        ("day1/part-0.parquet", "day1"),
        ("day1/part-0.parquet", "day1/part-0.parquet"),
        ("day1/*.parquet", "day1"),
        ("{here}/day*/*.parquet", "."),
        ("{here}/**/part-*.parquet", "out"),
        ("{here}/day1/*.parquet", "link"),
        (".", "out"),
        ("hard/part-0.parquet", "day1"),
    ],
)
def test_an_output_that_is_an_input_or_inside_one_is_refused(days, data, output):
    (days / "link").symlink_to(days / "day1")
    (days / "hard").mkdir()
    os.link(days / "day1/part-0.parquet", days / "hard/part-0.parquet")
    before = {file: file.read_bytes() for file in days.rglob("*.parquet")}
    with pytest.raises(ConfigError, match=r"is the input|inside the input|would find"):
        plan(data.format(here=days), output.format(here=days))
    assert {file: file.read_bytes() for file in days.rglob("*.parquet")} == before


@pytest.mark.parametrize(("data", "output"), [("day1", "day1-out"), ("day1/*.parquet", "day1/out"), ("day1", "day2")])
def test_an_output_beside_the_inputs_is_taken(days, data, output):
    assert plan(data, output)


def test_object_stores_are_compared_by_bucket_and_key():
    objects = [storage.StoredObject("s3://lake/d1/p.parquet", "p.parquet", 1, "")]
    for output in ("s3://lake/d1", "s3://lake/d1/", "s3a://lake/d1", "s3://lake/d1/out"):
        with pytest.raises(ConfigError, match="input"):
            plan_outputs("s3://lake/d1", objects, output)
    assert plan_outputs("s3://lake/d1", objects, "s3://lake/d10") == {
        "s3://lake/d1/p.parquet": "s3://lake/d10/p.parquet"
    }
    assert canonical("s3a://lake/d1/") == canonical("s3://lake/d1")
