"""Which runs stay and which go."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.nightly import runs
from trainer import storage
from trainer.config import KeepRuns
from trainer.errors import DataError
from trainer.nightly import history, production, retention
from trainer.nightly.history import RunSummary

NOW = datetime(2013, 3, 31, tzinfo=UTC)


def night(day: int, status: str = "succeeded") -> RunSummary:
    return RunSummary(f"r{day}", status, f"2013-03-{day:02}T02:00:00Z" if status != "unfinished" else "")


NIGHTS = [night(d) for d in (1, 2)] + [night(3, "skipped"), night(4, "failed"), night(5), night(6)]


@pytest.mark.parametrize(
    ("keep", "protected", "gone"),
    [
        ({"count": 2}, (), ["r1", "r2", "r3", "r4"]),
        ({"count": 3}, (), ["r1"]),  # a skipped or failed night stays as long as the oldest model kept
        ({"count": 9}, (), []),
        ({"count": 1}, ("r1", "r5"), ["r2", "r3", "r4"]),
        ({"age": "27d"}, (), ["r1", "r2", "r3"]),
        ({"age": "90d"}, (), []),
        # Both: what either keeps stays.
        ({"count": 2, "age": "28d"}, (), ["r1", "r2"]),
        ({"count": 3, "age": "1d"}, (), ["r1"]),
    ],
)
def test_count_and_age(keep, protected, gone):
    assert [n.run for n in retention.expired(KeepRuns(**keep), NIGHTS, protected, NOW)] == gone


def test_a_run_that_has_not_finished_stays():
    nights = [night(1, "unfinished"), night(2), night(3)]
    assert [n.run for n in retention.expired(KeepRuns(count=1), nights, (), NOW)] == ["r2"]


def test_a_preempted_run_stays_since_it_can_go_on():
    runs_of = [night(1, "preempted"), night(2), night(3), night(4)]
    for rules in ({"count": 1}, {"age": "1d"}):
        gone = retention.expired(KeepRuns(**rules), runs_of, (), NOW)
        assert "r1" not in [n.run for n in gone]
        assert gone


def test_prune_leaves_links_and_what_they_point_to_alone(tmp_path):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for day in range(1, 5):
        runs.leave(str(output), f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    runs.leave(str(elsewhere), "mine", finished="2013-03-01T00:00:00Z")
    foreign = elsewhere / "runs" / "mine"
    (output / "runs" / "linked").symlink_to(foreign)
    (foreign / "checkpoints").mkdir()
    (foreign / "checkpoints" / "precious").write_text("x")
    (output / "runs" / "r1" / "checkpoints").symlink_to(foreign / "checkpoints")
    before = {p.relative_to(elsewhere): p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()}
    said: list[str] = []
    gone = retention.prune(str(output), KeepRuns(count=1), now=NOW, warn=said.append)
    assert [n.run for n in gone] == ["r1", "r2", "r3"]
    assert said == [f"{output}/runs/linked is a symbolic link and is left alone"]
    assert sorted(p.name for p in (output / "runs").iterdir()) == ["linked", "r4"]
    assert {p.relative_to(elsewhere): p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("named", ["r1/", "../out/runs/r1", "r1/../r1", "", ".."])
def test_what_serves_is_not_deleted_where_the_pointer_is_ill_formed(tmp_path, named):
    """`r1/` of an older `kfit promote`: what serves is not known, so nothing goes."""
    output = str(tmp_path / "out")
    for day in range(1, 4):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    storage.write(storage.join(output, "production.json"), json.dumps({"run": named}).encode())
    with pytest.raises(DataError, match="is not a pointer to a run"):
        retention.prune(output, KeepRuns(count=1), now=NOW)
    assert len(history.read(output)) == 3


DAMAGED = (b"", b"{", b"\xff\xfe", b"[]", b"3", b"[" * 5000, b'{"status": "succeeded", "finished": "yesterday"}')
MISSHAPEN = tuple(
    json.dumps({"status": "succeeded", "finished": "2013-03-01T02:00:00Z", **part}).encode()
    for part in (
        {"decision": [1]},
        {"metrics": {"validation": {"auc": "high"}}},
        {"metrics": 3},
        {"ledger_s": {"fit": "long"}},
        {"rows": {"train": "many"}},
        {"windows": {"train": "w"}},
        {"finished": 5},
    )
)


@pytest.mark.parametrize("damage", [*DAMAGED, *MISSHAPEN])
def test_a_damaged_result_of_one_run_hides_that_run_alone_and_is_named(tmp_path, damage):
    output = str(tmp_path / "out")
    for day in range(1, 4):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    broken = storage.join(output, "runs", "r1", "result.json")
    storage.write(broken, damage)
    said: list[str] = []
    assert [n.run for n in history.write_index(output, warn=said.append)] == ["r2", "r3"]
    assert said == [f"{broken} is damaged; r1 is left out. Delete the file, or the run's folder"]
    assert [n.run for n in retention.prune(output, KeepRuns(count=1), now=NOW, warn=said.append)] == ["r2"]
    assert storage.read(broken) == damage


def test_a_damaged_config_of_an_unfinished_run_hides_that_run_alone(tmp_path):
    output = str(tmp_path / "out")
    runs.leave(output, "r1")
    broken = storage.join(output, "runs", "begun", "config.json")
    storage.write(broken, b"{")
    said: list[str] = []
    assert [n.run for n in history.read(output, warn=said.append)] == ["r1"]
    assert said[0].startswith(f"{broken} is damaged")


def test_prune_deletes_whole_folders_but_never_what_serves_or_served_before(output):
    for day in range(1, 8):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    seen = None
    for run in ("r1", "r2", "r3"):
        seen = production.move(output, run, current=seen, why="")
    rules = KeepRuns(count=2)
    would = retention.prune(output, rules, now=NOW, dry_run=True)
    assert [n.run for n in would] == ["r1", "r4", "r5"]
    assert len(history.read(output)) == 7
    assert retention.prune(output, rules, now=NOW, spare="r4") == [n for n in would if n.run != "r4"]
    assert [n.run for n in history.read(output)] == ["r2", "r3", "r4", "r6", "r7"]
    left = {o.name.partition("/")[0] for o in storage.list_objects(storage.join(output, "runs"))}
    assert left == {"r2", "r3", "r4", "r6", "r7"}
    assert production.read(output).run == "r3"


def test_a_run_that_is_rolled_back_to_meanwhile_is_spared(output, monkeypatch):
    for day in range(1, 6):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    seen = production.move(output, "r4", current=None, why="")
    seen = production.move(output, "r5", current=seen, why="")
    real = storage.delete_folder

    def somebody_rolls_back(uri: str) -> None:
        monkeypatch.setattr(storage, "delete_folder", real)
        production.move(output, "r2", current=seen, why="urgent", action="rollback")
        real(uri)

    monkeypatch.setattr(storage, "delete_folder", somebody_rolls_back)
    gone = retention.prune(output, KeepRuns(count=1), now=NOW)
    assert [n.run for n in gone] == ["r1", "r3"]
    assert production.read(output).run == "r2"


def test_rules_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="give count, age or both"):
        KeepRuns()
