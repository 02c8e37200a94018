"""`kfit list`: the runs of a namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from k8s.commands.options import Target, output_option, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object


@click.command("list")
@click.argument("job", required=False)
@click.option("--phase", help="Only runs in this phase, as the column says it.")
@output_option("table", "wide", "json", "yaml", "name")
@target_options
def list_runs(job: str | None, phase: str | None, form: str, target: Target) -> None:
    """List the runs whose Jobs are in the namespace, the newest first; of JOB's name alone where it is given.

    Runs whose Job is gone are in storage: `kfit history`.
    """
    from k8s.api.client import OURS
    from k8s.output import tables
    from k8s.status.job_state import Seen, read
    from k8s.status.summary import of_jobs, summary

    cluster = target.open()
    labels = OURS + (f",app.kubernetes.io/instance={job}" if job else "")
    jobs, pods = cluster.select("Job", labels=labels), cluster.select("Pod", labels=labels)
    now = datetime.now(UTC)
    events = _events(cluster)
    found = [
        summary(j, read(Seen(j, own, events.get(j["metadata"]["name"], ()))), now) for j, own in of_jobs(jobs, pods)
    ]
    found = [run for run in found if phase is None or run["phase"].lower() == phase.lower()]
    tables.runs(found, form, cluster.namespace)


def _events(cluster: Cluster) -> dict[str, list[Object]]:
    """Events about Jobs, by Job: how many pods each has made, and why it could not; none without the right to them."""
    from k8s.errors import AccessError

    try:
        found = cluster.select("Event", fields="involvedObject.kind=Job")
    except AccessError:
        return {}
    by_job: dict[str, list[Object]] = {}
    for event in found:
        by_job.setdefault(event["involvedObject"]["name"], []).append(event)
    return by_job
