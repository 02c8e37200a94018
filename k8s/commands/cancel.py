"""`kfit cancel`: ends runs; what they left in storage stays."""

from __future__ import annotations

import time

import click

from k8s.commands.options import Target, complete_runs, target_options


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--wait", "wait_for", is_flag=True, help="Until the pods are gone, their last checkpoint saved.")
@target_options
def cancel(runs: tuple[str, ...], wait_for: bool, target: Target) -> None:
    """End RUN: its Job, its pods and all that belongs to them go. What it left in storage stays.

    The trainer saves a checkpoint first, so `kfit resume` can go on from there.
    """
    from k8s.actions.apply import sweep
    from k8s.chart.yaml_documents import annotation, run_id
    from k8s.status.stored_run import run_uri

    cluster = target.open()
    names = [run.rpartition("/")[2] for run in runs]
    # All are looked up first: a name that is wrong leaves the others alone.
    for job in [cluster.get("Job", name) for name in names]:
        name = job["metadata"]["name"]
        cluster.delete("Job", name, foreground=wait_for)
        sweep(cluster, f"kfit.dev/job={name}")
        while wait_for and cluster.find("Job", name) is not None:
            time.sleep(0.3)
        output = annotation(job, "output-uri")
        click.echo(f"job.batch/{name} cancelled")
        if output:
            click.echo(f"what it left stays: {run_uri(output, run_id(job))}", err=True)
