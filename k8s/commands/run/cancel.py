"""`kfit cancel`: ends runs; what they left in storage stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import complete_runs
from k8s.commands.options import Target, confirmed, examples, target_options, yes_option

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object


@click.command(
    epilog=examples(
        "kfit cancel flights-1a2b3c4d            # this run",
        "kfit cancel flights weather --dry-run   # the newest runs of two job files: only say which",
    )
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--wait", "wait_for", is_flag=True, help="Until the pods are gone, their last checkpoint saved.")
@click.option("--dry-run", is_flag=True, help="Say what would be cancelled; change nothing.")
@yes_option
@target_options
def cancel(runs: tuple[str, ...], wait_for: bool, dry_run: bool, yes: bool, target: Target) -> None:
    """End RUN after a last checkpoint; what it left in storage stays.

    Its Job, its pods and what belongs to them are deleted.

    RUN is a Job's name, or the `name:` of a job file, which means its newest Job. The trainer saves a checkpoint
    first, so `kfit resume` can continue from there. Asks first where several are named on a terminal.
    """
    from k8s.actions.lookup import check_made_by_kfit, find_job

    cluster = target.open()
    # All are looked up and checked first: one wrong name leaves the others alone.
    jobs = {str(job["metadata"]["name"]): job for job in [find_job(cluster, run) for run in runs]}
    for job in jobs.values():
        check_made_by_kfit(cluster, job)
    names = [f"job.batch/{name}" for name in jobs]
    if confirmed(names, "run", "cancel", "cancelled", dry_run=dry_run, yes=yes):
        for name, job in jobs.items():
            _cancel(cluster, name, job, wait_for)


def _cancel(cluster: Cluster, name: str, job: Object, wait_for: bool) -> None:
    from k8s.actions.apply import delete_workload
    from k8s.chart.yaml_documents import annotation, run_id
    from k8s.status.stored_run import run_uri

    delete_workload(cluster, job, foreground=wait_for)
    while wait_for and cluster.find("Job", name) is not None:
        time.sleep(0.3)
    click.echo(f"job.batch/{name} cancelled")
    if output := annotation(job, "output-uri"):
        click.echo(f"its files stay in {run_uri(output, run_id(job))}", err=True)
