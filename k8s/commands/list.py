"""`kfit list`: the runs of a namespace."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from k8s.commands.options import Target, output_option, target_options


@click.command("list")
@click.argument("job", required=False)
@click.option("--phase", help="Only runs in this phase, as the column says it.")
@output_option("table", "wide", "json", "yaml", "name")
@target_options
def list_runs(job: str | None, phase: str | None, form: str, target: Target) -> None:
    """List the runs whose Jobs are in the namespace, the newest first; of JOB's name alone where it is given.

    Runs whose Job is gone are in storage: `kfit history`.
    """
    from k8s import show
    from k8s.cluster import OURS
    from k8s.state import Seen, read
    from k8s.summary import of_jobs, summary

    cluster = target.open()
    labels = OURS + (f",app.kubernetes.io/instance={job}" if job else "")
    jobs, pods = cluster.select("Job", labels=labels), cluster.select("Pod", labels=labels)
    now = datetime.now(UTC)
    found = [summary(one, read(Seen(one, own)), now) for one, own in of_jobs(jobs, pods)]
    found = [run for run in found if phase is None or run["phase"].lower() == phase.lower()]
    show.runs(found, form, cluster.namespace)
