"""History from storage alone: right with and without its index, on both kinds of store."""

from __future__ import annotations

import json

from tests.nightly import runs
from trainer import storage
from trainer.nightly import history

DECISION = {
    "promoted": True,
    "why": "auc gains",
    "metrics": {"auc": 0.71, "loss": 0.5},
    "gain": {"metric": "auc", "gain": 0.01, "low": 0.002, "high": 0.02},
}
WINDOWS = {"train": {"first": "2013-02-01", "last": "2013-02-28", "days": 28, "missing": []}}


def test_a_run_in_short():
    result = runs.result("r", decision=DECISION, windows=WINDOWS, date="2013-03-01", digest="d")
    assert history.summarize(result) == history.RunSummary(
        run="r",
        status="succeeded",
        finished="2013-03-01T02:00:00Z",
        date="2013-03-01",
        first="2013-02-01",
        last="2013-02-28",
        metric="auc",
        value=0.71,
        duration_s=20.0,
        rows=1000,
        promoted=True,
        why="auc gains",
        gain=0.01,
        low=0.002,
        high=0.02,
        digest="d",
        exit_code=0,
        metrics={"auc": 0.71, "loss": 0.5},
    )


def test_without_a_gate_validation_stands_for_the_run():
    summary = history.summarize(runs.result("r"))
    assert (summary.metric, summary.value, summary.promoted) == ("auc", 0.75, False)


def index(output: str) -> list[str]:
    return [entry["run"] for entry in json.loads(storage.read(storage.join(output, "history.json")))["runs"]]


def test_the_index_is_a_cache_that_may_lack_lie_or_break(output):
    runs.leave(output, "b", finished="2013-03-02T00:00:00Z", decision=DECISION)
    runs.leave(output, "a", finished="2013-03-01T00:00:00Z")
    runs.leave(output, "failing", finished="2013-03-03T00:00:00Z", status="failed", exit_code=65, reason="bad shard")
    storage.write(storage.join(output, "runs", "running", "config.json"), b"{}")
    expected = [("a", "succeeded"), ("b", "succeeded"), ("failing", "failed"), ("running", "unfinished")]

    def found() -> list[tuple[str, str]]:
        return [(night.run, night.status) for night in history.read(output)]

    assert found() == expected
    first = history.read(output)
    assert history.write_index(output) == first
    assert index(output) == ["a", "b"]  # a failed run may be tried again under its id
    assert history.read(output) == first

    # A retry that succeeds is seen although the index was written before it.
    runs.leave(output, "failing", finished="2013-03-04T00:00:00Z")
    assert found()[2] == ("failing", "succeeded")
    # A run that was deleted is gone although the index still has it.
    storage.delete_folder(storage.join(output, "runs", "a"))
    assert [run for run, _ in found()] == ["b", "failing", "running"]
    # A broken index costs time and nothing else.
    for broken in (b"{", b"[]", b'{"format": 99, "runs": [{"run": "b", "status": "skipped"}]}', b'{"runs": 3}'):
        storage.write(storage.join(output, "history.json"), broken)
        assert [run for run, _ in found()] == ["b", "failing", "running"]


def test_a_place_without_runs_has_an_empty_history(output):
    assert history.read(output) == []


def test_a_thousand_runs_cost_a_listing_and_one_read(s3, monkeypatch):
    """What makes it quick, without a clock: no run's own file is read once the index has it."""
    output = f"s3://{s3.bucket}/many"
    nights = [history.summarize(runs.result(f"r{i:04}")) for i in range(40)]
    for night in nights:
        runs.leave(output, night.run, model=False)
    history.write_index(output)
    reads: list[str] = []
    real = storage.read
    monkeypatch.setattr(storage, "read", lambda uri, *a: (reads.append(uri), real(uri, *a))[1])
    assert [night.run for night in history.read(output)] == [night.run for night in nights]
    assert reads == [f"{output}/history.json"]


def test_the_same_work_is_found_by_its_digest():
    nights = [
        history.RunSummary("a", "succeeded", digest="x"),
        history.RunSummary("b", "succeeded", digest="y"),
        history.RunSummary("c", "failed", digest="x"),
        history.RunSummary("d", "skipped", digest="x"),
    ]
    assert history.find(nights, "x") == nights[0]
    assert history.find(nights, "z") is None
    assert history.find(nights, "") is None
