"""A job that trains every night, on a real cluster: what each kind of night does to production.

The flights of 2013 are moved so that today lies 20 days before their end: nights to come have their days.
One after the other, since each night is compared with what the nights before it left.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.cluster.conftest import Team, until
from tests.cluster.night_rows import NIGHTS
from trainer import storage

LAKE = "s3://lake/year"
YEAR_ENDS = date(2013, 12, 31)
AHEAD = 20
#: Of every night: days that train, days that decide.
TRAIN, HOLDOUT = 21, 7


class Nights:
    """The schedule, and what it did to production so far."""

    def __init__(self, team: Team, job: Path, name: str) -> None:
        self.team, self.job, self.name = team, job, name
        self.output = f"{team.store.models}/{name}"
        self.today = datetime.now(UTC).date()

    def day(self, ahead: int) -> date:
        return self.today + timedelta(days=ahead)

    def production(self) -> dict[str, Any]:
        try:
            return dict(json.loads(storage.read(f"{self.output}/production.json")))
        except storage.NotFound:
            return {"run": "–", "generation": 0}

    def trigger(self, ahead: int, code: int = 0) -> str:
        """A night, to its end."""
        words = ("--date", self.day(ahead).isoformat(), "-o", "name")
        name = self.team.kfit("trigger", self.name, *words).out.strip().rpartition("/")[2]
        self.team.kfit("wait", name, code=code)
        return name

    def result(self, run: str) -> dict[str, Any]:
        return dict(json.loads(storage.read(f"{self.output}/runs/{run}/result.json")))

    def shown(self, run: str) -> str:
        """What `kfit history` shows of a run, from its state on."""
        lines = self.team.kfit("history", "--output-uri", self.output).out.splitlines()
        line = next(line for line in lines if line.startswith(run))
        _, _, state, *_, message = [part.strip() for part in line.split("  ") if part.strip()]
        return f"{state}: {message}" if message != state else state

    @contextmanager
    def reported(self, night: str) -> Iterator[list[str]]:
        """Notes a line of the table; the runs it is about are put into the list."""
        if not NIGHTS:
            NIGHTS.append(("night", "production before", "after", "exit", "kfit history"))
        before, runs = self.production(), []
        yield runs
        after = self.production()
        for index, run in enumerate(runs):
            pointers = (_pointer(before), _pointer(after)) if not index else ("", "")
            code = str(self.result(run)["exit_code"])
            NIGHTS.append((night if not index else "", *pointers, code, f"{run}  {self.shown(run)}"))
        if not runs:
            NIGHTS.append((night, _pointer(before), _pointer(after), "0", ""))


def _pointer(production: dict[str, Any]) -> str:
    return f"{production['generation']}: {production['run'].rpartition('-')[2]}"


def _uri(day: date) -> str:
    return f"{LAKE}/dt={day}/part-0.parquet"


@contextmanager
def changed(days: Iterable[date], change: Callable[[pa.Table], pa.Table]) -> Iterator[None]:
    """Days of the lake are others for a while."""
    before = {_uri(day): storage.read(_uri(day)) for day in days}
    try:
        for uri, data in before.items():
            packed = io.BytesIO()
            pq.write_table(change(pq.read_table(io.BytesIO(data))), packed, row_group_size=256)
            storage.write(uri, packed.getvalue())
        yield
    finally:
        for uri, data in before.items():
            storage.write(uri, data)


@pytest.fixture(scope="module")
def year(team: Team, flights: Path) -> Iterator[None]:
    """All days of the year, moved; afterwards the schedule is gone."""
    by = datetime.now(UTC).date() + timedelta(days=AHEAD) - YEAR_ENDS

    def upload(file: Path) -> None:
        day = date.fromisoformat(file.parent.name.removeprefix("dt=")) + by
        storage.write(_uri(day), file.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, flights.glob("dt=*/part-0.parquet")))
    yield
    team.kfit("schedule", "delete", "nights")


@pytest.fixture
def nights(team: Team, job_file: Callable[..., Path], year: None) -> Nights:
    """The job of all nights; its schedule is there, suspended."""
    uri = f"{LAKE}/dt={{date}}/*.parquet"
    job = job_file(
        "nights",
        schedule={"cron": "* * * * *", "suspend": True},
        run={
            "data": {
                "train": {"uri": uri, "last": f"{TRAIN}d", "until": f"-{HOLDOUT + 1}d"},
                "holdout": {"uri": uri, "last": f"{HOLDOUT}d", "until": "-1d"},
                "checks": {"psi": 0.25, "columns": {"temp": {"psi": None}}},
            },
            "fit": {"epochs": 60},
            "promote": {"metric": "auc", "max_loss": 0.08, "limits": {"auc": 0.5}},
        },
    )
    team.kfit("schedule", "apply", str(job))
    return Nights(team, job, "nights")


def test_by_schedule(nights: Nights) -> None:
    """a night that fires by schedule is promoted, the first by its limits"""
    team = nights.team
    with nights.reported("by schedule, the first") as runs:
        team.kfit("schedule", "resume", "nights")
        fired = until(lambda: team.get("jobs", "-l", "kfit.dev/cronjob=nights")["items"], timeout_s=75)
        team.kfit("schedule", "suspend", "nights")
        run = fired[0]["metadata"]["name"]
        team.kfit("wait", run)
        runs.append(run)
        assert nights.result(run)["date"] == nights.today.isoformat()
        assert nights.production()["run"] == run
        assert nights.production()["who"] == f"job/{run}"


def test_unchanged(nights: Nights) -> None:
    """a night with the same data does nothing, in seconds"""
    with nights.reported("unchanged data") as runs:
        before = nights.production()
        run = nights.trigger(0)
        runs.append(run)
        result = nights.result(run)
        assert result["status"] == "skipped"
        assert result["unchanged_since"] == before["run"]
        assert nights.production() == before


def test_damaged_shard(nights: Nights) -> None:
    """a damaged shard is exit 65 and named; production stays"""
    with nights.reported("a damaged shard") as runs:
        before, uri = nights.production(), _uri(nights.day(-10))
        whole = storage.read(uri)
        storage.write(uri, whole[: len(whole) // 2])
        try:
            run = nights.trigger(0, code=65)
        finally:
            storage.write(uri, whole)
        runs.append(run)
        assert uri in nights.result(run)["reason"]
        assert nights.production() == before


def test_drift(nights: Nights) -> None:
    """data that drifted is exit 65 with a table, before training; production stays"""

    def farther(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("distance")
        return table.set_column(at, "distance", pc.multiply(table.column("distance"), 3).cast(pa.int32()))

    with nights.reported("drifted data") as runs:
        before = nights.production()
        with changed((nights.day(-n) for n in range(HOLDOUT + 1, HOLDOUT + 1 + TRAIN)), farther):
            run = nights.trigger(0, code=65)
        runs.append(run)
        result = nights.result(run)
        assert {c["column"] for c in result["checks"]["breached"]} == {"distance"}
        assert result["checks"]["against"] == before["run"]
        assert "psi    distance" in nights.team.kfit("logs", run).out
        assert nights.production() == before


def test_evicted(nights: Nights) -> None:
    """a night evicted in mid-run goes on in another pod and is judged as any other"""
    team = nights.team
    team.kfit("schedule", "apply", str(nights.job), "--set", "run.output.checkpoint.every=1s")
    with nights.reported("evicted in mid-run") as runs:
        words = ("--date", nights.day(1).isoformat(), "-o", "name")
        run = team.kfit("trigger", "nights", *words).out.strip().rpartition("/")[2]

        def past_the_third_epoch() -> str | None:
            status = json.loads(team.kfit("status", run, "-o", "json").out)
            pods = team.get("pods", "-l", f"batch.kubernetes.io/job-name={run}")["items"]
            return str(pods[0]["metadata"]["name"]) if status["epoch"] > 3 and pods else None

        pod = until(past_the_third_epoch)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
        team.kubectl("create", "-f", "-", "--raw", path, given=json.dumps(eviction))
        team.kfit("wait", run)
        runs.append(run)
        status = json.loads(team.kfit("status", run, "-o", "json").out)
        assert (status["phase"], status["restarts"]) == ("Succeeded", 1)
        result = nights.result(run)
        assert result["date"] == nights.day(1).isoformat()
        assert result["decision"]["promoted"]
        assert nights.production()["run"] == run


def test_worse(nights: Nights) -> None:
    """a night whose labels belong to other rows is worse and not promoted, and says by how much"""
    rng = np.random.default_rng(0)

    def noisy(table: pa.Table) -> pa.Table:
        # As many are late as before, or the checks would end the night.
        mixed = pa.array(rng.permutation(table.column("late").to_numpy()), pa.int8())
        return table.set_column(table.schema.get_field_index("late"), "late", mixed)

    with nights.reported("worse than production") as runs:
        before = nights.production()
        with changed((nights.day(2 - n) for n in range(HOLDOUT + 1, HOLDOUT + 1 + TRAIN)), noisy):
            run = nights.trigger(2)
        runs.append(run)
        decision = nights.result(run)["decision"]
        assert decision["champion"] == before["run"]
        assert not decision["promoted"]
        assert decision["gain"]["high"] < 0
        assert nights.production() == before


def test_two_at_once(nights: Nights) -> None:
    """of two at once one moves production and the other says so"""
    team = nights.team
    for ahead in range(3, AHEAD, 2):  # they must meet: both read production before either moves it
        with nights.reported("two at once") as runs:
            before = nights.production()
            words = ("--from", nights.day(ahead).isoformat(), "--to", nights.day(ahead + 1).isoformat())
            done = team.kfit("trigger", "nights", *words, "--parallel", "2", "-o", "name")
            runs += [line.rpartition("/")[2] for line in done.out.split()]
            decisions = {run: nights.result(run)["decision"] for run in runs}
        lost = [run for run, d in decisions.items() if d["passed"] and not d["promoted"]]
        won = [run for run, d in decisions.items() if d["promoted"]]
        assert nights.production()["generation"] == before["generation"] + len(won)
        assert nights.production()["run"] in won, decisions
        if lost:
            assert f"production was moved to {won[0]} by job/{won[0]} meanwhile" in decisions[lost[0]]["why"]
            return
    pytest.fail("in no try did both read production before either moved it")


def test_rollback(nights: Nights) -> None:
    """rollback moves production to the run before, without the cluster"""
    with nights.reported("rollback") as _:
        before = nights.production()
        looked = nights.team.kfit("rollback", "--output-uri", nights.output, "--dry-run", kubeconfig=Path("/nowhere"))
        assert before["previous"] in looked.out + looked.err
        assert nights.production() == before
        nights.team.kfit("rollback", "--output-uri", nights.output, kubeconfig=Path("/nowhere"))
        after = nights.production()
        assert (after["run"], after["previous"]) == (before["previous"], before["run"])
        assert (after["action"], after["generation"]) == ("rollback", before["generation"] + 1)
