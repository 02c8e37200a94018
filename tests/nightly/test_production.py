"""production.json moves by compare-and-swap: locally and on a real S3 server."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest

from tests.nightly import runs
from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.nightly import production
from trainer.nightly.production import Lost


def pointer(output: str) -> dict:
    return json.loads(storage.read(storage.join(output, "production.json")))


def test_it_says_who_when_why_and_what_was_before(output):
    for run in ("a", "b"):
        runs.leave(output, run)
    assert production.read(output) is None
    when = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)
    first = production.move(output, "a", current=None, why="the first", who="job/flights-1", when=when)
    second = production.move(output, "b", current=first, why="better", who="job/flights-2", when=when)
    written = pointer(output)
    token = written.pop("token")
    assert len(token) == 16
    assert written == {
        "run": "b",
        "generation": 2,
        "who": "job/flights-2",
        "when": "2013-03-01T02:30:00Z",
        "why": "better",
        "action": "promote",
        "previous": "a",
        "before": [
            {
                "run": "a",
                "generation": 1,
                "who": "job/flights-1",
                "when": "2013-03-01T02:30:00Z",
                "why": "the first",
                "action": "promote",
                "previous": None,
            }
        ],
    }
    assert production.read(output) == second


def test_a_decision_on_what_has_moved_since_is_refused_and_names_who(output):
    for run in ("a", "b", "c"):
        runs.leave(output, run)
    seen = production.move(output, "a", current=None, why="first")
    production.move(output, "b", current=seen, why="nightly", who="job/night")
    with pytest.raises(Lost, match=r"production was moved to b by job/night meanwhile \(nightly\); c was not promoted"):
        production.move(output, "c", current=seen, why="also better")
    assert pointer(output)["run"] == "b"


@pytest.mark.parametrize("empty", [True, False])
def test_of_many_at_once_one_wins_and_all_others_say_so(output, empty):
    names = [f"run-{i}" for i in range(6)]
    for run in ("base", *names):
        runs.leave(output, run)
    seen = None if empty else production.move(output, "base", current=None, why="first")
    start, won, lost = threading.Barrier(len(names)), [], []

    def promote(run: str) -> None:
        start.wait()
        try:
            won.append(production.move(output, run, current=seen, why="at once").run)
        except Lost as error:
            lost.append(error.what)

    threads = [threading.Thread(target=promote, args=(run,)) for run in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == len(names) - 1
    assert pointer(output)["run"] == won[0]
    assert all(f"moved to {won[0]}" in what for what in lost)


def test_a_write_whose_answer_was_lost_is_known_as_ones_own(output, monkeypatch):
    """The store has taken the pointer, the client tries again and is refused by its own first try."""
    for run in ("a", "b"):
        runs.leave(output, run)
    seen = production.move(output, "a", current=None, why="first")
    real = storage.replace

    def taken_twice(uri: str, data: bytes, version: str | None) -> None:
        real(uri, data, version)
        real(uri, data, version)

    monkeypatch.setattr(storage, "replace", taken_twice)
    assert production.move(output, "b", current=seen, why="better").run == "b"


def test_a_run_without_a_published_model_is_never_promoted(output):
    runs.leave(output, "broken", model=False)
    with pytest.raises(ConfigError, match="no published model"):
        production.move(output, "broken", current=None, why="")
    assert production.read(output) is None


@pytest.mark.parametrize("name", ["", "a/", "b/../a", "../runs/a", "./a"])
def test_a_path_to_a_published_model_is_no_run_id(output, name):
    runs.leave(output, "a")
    with pytest.raises(ConfigError, match="is not a run id"):
        production.move(output, name, current=None, why="")
    assert production.read(output) is None


def test_a_pointer_that_is_none_is_an_error_and_not_a_first_run(output):
    storage.write(storage.join(output, "production.json"), b"[]")
    with pytest.raises(DataError, match="not a pointer"):
        production.read(output)


def moves(*steps: tuple[str, str]) -> production.Production:
    """Production after a list of (action, run), without a store."""
    seen: production.Production | None = None
    for generation, (action, run) in enumerate(steps, 1):
        before = (production._short(seen), *seen.before) if seen else ()
        seen = production.Production(run, generation, "", "", "", action, seen.run if seen else None, before)
    assert seen is not None
    return seen


@pytest.mark.parametrize(
    ("steps", "goal"),
    [
        ([("promote", "a"), ("promote", "b")], "a"),
        ([("promote", "a"), ("promote", "b"), ("promote", "c")], "b"),
        # What was rolled back from is not gone back to.
        ([("promote", "a"), ("promote", "b"), ("promote", "c"), ("rollback", "b")], "a"),
        ([("promote", "a"), ("promote", "b"), ("rollback", "a"), ("promote", "c")], "a"),
        # Promoted again since, it is as good as any.
        ([("promote", "a"), ("promote", "b"), ("rollback", "a"), ("promote", "b"), ("promote", "c")], "b"),
    ],
)
def test_rollback_goes_to_the_newest_run_that_was_not_left_for_a_reason(steps, goal):
    assert production.rollback_target(moves(*steps), None, "") == goal


@pytest.mark.parametrize("steps", [[("promote", "a")], [("promote", "a"), ("promote", "b"), ("rollback", "a")]])
def test_rollback_without_a_run_before_says_so(steps):
    with pytest.raises(ConfigError, match="a has no run before it"):
        production.rollback_target(moves(*steps), None, "")


def test_production_its_predecessor_and_the_goal_of_a_rollback_are_protected():
    assert production.protected(None) == set()
    assert production.protected(moves(("promote", "a"))) == {"a"}
    assert production.protected(moves(("promote", "a"), ("promote", "b"), ("promote", "c"))) == {"b", "c"}
    after = moves(("promote", "a"), ("promote", "b"), ("promote", "c"), ("rollback", "b"))
    assert production.protected(after) == {"a", "b", "c"}
