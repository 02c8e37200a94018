"""Which runs stay and which go."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.nightly import runs
from trainer import storage
from trainer.config import KeepRuns
from trainer.nightly import history, production, retention
from trainer.nightly.history import Night

NOW = datetime(2013, 3, 31, tzinfo=UTC)


def night(day: int, status: str = "succeeded") -> Night:
    return Night(f"r{day}", status, f"2013-03-{day:02}T02:00:00Z" if status != "unfinished" else "")


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


def test_prune_deletes_whole_folders_but_never_what_serves_or_served_before(output):
    for day in range(1, 8):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    seen = None
    for run in ("r1", "r2", "r3"):
        seen = production.move(output, run, seen=seen, why="")
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
    seen = production.move(output, "r4", seen=None, why="")
    seen = production.move(output, "r5", seen=seen, why="")
    real = storage.delete_folder

    def somebody_rolls_back(uri: str) -> None:
        monkeypatch.setattr(storage, "delete_folder", real)
        production.move(output, "r2", seen=seen, why="urgent", action="rollback")
        real(uri)

    monkeypatch.setattr(storage, "delete_folder", somebody_rolls_back)
    gone = retention.prune(output, KeepRuns(count=1), now=NOW)
    assert [n.run for n in gone] == ["r1", "r3"]
    assert production.read(output).run == "r2"


def test_rules_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="give count, age or both"):
        KeepRuns()
