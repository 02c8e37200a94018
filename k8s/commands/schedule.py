"""`kfit schedule`: runs by the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from k8s.commands.options import Target, complete_schedules, output_option, set_option, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster

_DONE = {"suspend": " suspended", "resume": " goes on", "delete": " deleted"}


@click.command()
@click.argument("job", required=False, shell_complete=complete_schedules)
@set_option
@click.option("--suspend", "verb", flag_value="suspend", help="Start nothing until --resume.")
@click.option("--resume", "verb", flag_value="resume", help="Start again.")
@click.option("--delete", "verb", flag_value="delete", help="Remove it, and its Jobs; storage stays.")
@output_option("table", "json", "yaml", "name")
@target_options
def schedule(job: str | None, overrides: tuple[str, ...], verb: str | None, form: str, target: Target) -> None:
    """Create or change the schedule of JOB, a job file with `schedule:`; without JOB list all schedules.

    With --suspend, --resume or --delete JOB may also be the schedule's name.
    """
    from k8s.actions.apply import sweep
    from k8s.output import tables

    cluster = target.open()
    if job is None:
        if verb or overrides:
            raise click.UsageError("name a job file, or a schedule")
        _list(cluster, form)
    elif verb is None:
        _bring(cluster, job, overrides, form)
    else:
        name = _name(job)
        cluster.get("CronJob", name)
        if verb == "delete":
            cluster.delete("CronJob", name)
            sweep(cluster, f"kfit.dev/cronjob={name}")
        else:
            cluster.patch("CronJob", name, {"spec": {"suspend": verb == "suspend"}})
        click.echo(tables.kind_name("CronJob", name) + _DONE[verb])


def _list(cluster: Cluster, form: str) -> None:
    from k8s.actions.schedules import summary
    from k8s.api.client import OURS
    from k8s.output import tables

    now = datetime.now(UTC)
    tables.schedules([summary(c, now) for c in cluster.select("CronJob", labels=OURS)], form, cluster.namespace)


def _bring(cluster: Cluster, job: str, overrides: tuple[str, ...], form: str) -> None:
    from k8s.chart.yaml_documents import workload
    from k8s.commands.submit import manifests, send
    from k8s.output import tables
    from trainer.errors import ConfigError

    objects = manifests(job, overrides, cluster.version())
    if workload(objects)["kind"] != "CronJob":
        raise ConfigError("no `schedule:` in it", where=job, remedy='add schedule: {cron: "0 2 * * *"}')
    tables.submitted(send(cluster, objects), form, cluster.namespace, dry_run=False)


def _name(job: str) -> str:
    """The schedule's name: the word itself, or the `name:` of the job file it is the path of."""
    from pathlib import Path

    if not Path(job).is_file():
        return job.rpartition("/")[2]
    from trainer.config.yaml_file import load_yaml

    return str(load_yaml(Path(job))[0].get("name", ""))
