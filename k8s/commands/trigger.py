"""`kfit trigger`: a run of a schedule, now."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from k8s.commands.options import Target, complete_schedules, output_option, target_options


@click.command()
@click.argument("schedule", shell_complete=complete_schedules)
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="The day it is for. Default: today, there.")
@click.option("--follow", is_flag=True, help="Follow it to its end; exit code as of `kfit wait`.")
@output_option("table", "json", "yaml", "name")
@target_options
def trigger(schedule: str, day: datetime | None, follow: bool, form: str, target: Target) -> None:
    """Start a run of SCHEDULE now, beside its times."""
    from k8s import show
    from k8s.commands.wait import wait_for_end
    from k8s.schedule import triggered
    from k8s.submit import Done, Submitted

    cluster = target.open()
    cronjob = cluster.get("CronJob", schedule.rpartition("/")[2])
    job = cluster.create(triggered(cronjob, datetime.now(UTC), day.date() if day else None))
    result = Submitted(job, Done.CREATED, {f"Job/{job['metadata']['name']}": Done.CREATED})
    show.submitted(result, form, cluster.namespace, dry_run=False)
    if follow:
        wait_for_end(target, cluster, result.name, show_logs=True, timeout=None)
    elif form == "table":
        show.next_steps([result], target.words())
