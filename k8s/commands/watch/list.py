"""`kfit list`: the runs of a namespace."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.options import Target, examples, output_option, target_options
from k8s.errors import AccessError

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object


#: As `status.job_state.Phase`, which `--help` does not import; a test compares them.
_PHASES = ("Queued", "Suspended", "Pending", "Running", "Restarting", "Succeeded", "Failed", "Cancelled")
_WATCH_PAUSE_S = 2.0


@click.command(
    "list",
    epilog=examples("kfit list flights -o wide", "kfit list -A --phase failed -l team=forecast -w"),
)
@click.argument("job", required=False)
@click.option("--phase", type=click.Choice(_PHASES, case_sensitive=False), help="Only runs in this phase.")
@click.option("-l", "--selector", metavar="KEY=VALUE", help="Only runs whose Job has these labels.")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="In all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Then print each run again whenever it changes.")
@output_option("table", "wide", "json", "yaml", "name")
@target_options
def list_runs(
    job: str | None, phase: str | None, selector: str | None, everywhere: bool, watch: bool, form: str, target: Target
) -> None:
    """List the runs whose Jobs are in the cluster, the newest first.

    With JOB, the `name:` of a job file, only the runs of that file. Runs whose Job is gone are in storage:
    `kfit history`.
    """
    from k8s.output import tables

    if watch and form in ("json", "yaml"):
        raise click.UsageError("--watch prints lines: use -o table, wide or name")
    cluster = target.open()
    labels = _labels(job, selector)
    shown = _runs(cluster, labels, phase, everywhere)
    namespace = "" if everywhere else cluster.namespace
    tables.runs(shown, form, namespace)
    has_heads = bool(shown)
    while watch:
        time.sleep(_WATCH_PAUSE_S)
        latest = _runs(cluster, labels, phase, everywhere)
        before = {_name(run): _state(run) for run in shown}
        changed = [run for run in latest if before.get(_name(run)) != _state(run)]
        if changed:
            tables.runs(changed, form, namespace, heads=not has_heads)
            has_heads = True
        shown = latest


def _labels(job: str | None, selector: str | None) -> str:
    """Returns the label selector of the runs.

    Raises:
        click.BadParameter: JOB is not a job file's name.
    """
    from k8s.api.client import OURS

    if job is not None and not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", job):
        raise click.BadParameter(f"{job[:80]!r} is not the `name:` of a job file", param_hint="JOB")
    parts = [OURS, f"app.kubernetes.io/instance={job}" if job else "", selector or ""]
    return ",".join(part for part in parts if part)


def _runs(cluster: Cluster, labels: str, phase: str | None, everywhere: bool) -> list[dict[str, Any]]:
    from k8s.api.client import OURS
    from k8s.follow import queue_reader
    from k8s.status.job_state import Seen, read
    from k8s.status.summary import of_jobs, summary

    jobs = cluster.select("Job", labels=labels, everywhere=everywhere)
    pods = cluster.select("Pod", labels=OURS, everywhere=everywhere)
    now = datetime.now(UTC)
    events, queued = _events(cluster, everywhere), queue_reader.read_all(cluster, jobs, everywhere=everywhere)
    runs = []
    for job, own in of_jobs(jobs, pods):
        view = queued.get(str(job["metadata"].get("uid")))
        seen = Seen(job, own, events.get(_name(job["metadata"]), ()), view)
        runs.append(summary(job, read(seen), now, view))
    return [run for run in runs if phase is None or run["phase"] == phase]


def _state(run: dict[str, Any]) -> tuple[Any, ...]:
    """Returns what makes a run worth another line; times change always."""
    return run["phase"], run["exit_code"], run["restarts"], run["why"]


def _name(of: Mapping[str, Any]) -> tuple[Any, Any]:
    return of.get("namespace"), of["name"]


def _events(cluster: Cluster, everywhere: bool) -> dict[tuple[Any, Any], list[Object]]:
    """Returns the events about Jobs, by the Job's namespace and name; none without the right to list them."""
    try:
        events = cluster.select("Event", fields="involvedObject.kind=Job", everywhere=everywhere)
    except AccessError:
        return {}
    by_job: dict[tuple[Any, Any], list[Object]] = {}
    for event in events:
        by_job.setdefault(_name(event["involvedObject"]), []).append(event)
    return by_job
