"""`kfit trigger`: a run of a schedule, now; or one for each day of a range."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click

from k8s.commands.options import Target, complete_schedules, output_option, target_options

if TYPE_CHECKING:
    from k8s.actions.backfill import Day
    from k8s.api.client import Cluster
    from k8s.status.pods import Object

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("schedule", shell_complete=complete_schedules)
@click.option("--date", "day", type=_DAY, help="The day it is for. Default: today, there.")
@click.option("--from", "first", type=_DAY, help="Backfill: a run for each day from this one, the oldest first ...")
@click.option("--to", "last", type=_DAY, help="... to this one.")
@click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="Runs of a backfill at a time.")
@click.option("--follow", is_flag=True, help="Follow it to its end; exit code as of `kfit wait`.")
@output_option("table", "json", "yaml", "name")
@target_options
def trigger(
    schedule: str,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    parallel: int,
    follow: bool,
    form: str,
    target: Target,
) -> None:
    """Start a run of SCHEDULE now, beside its times.

    With --from and --to, a run for each of those days; waits for them and ends with the code of the first
    that failed.
    """
    if (first is None) != (last is None):
        raise click.UsageError("--from and --to go together")
    if first is not None and (day is not None or follow):
        raise click.UsageError("a backfill (--from, --to) has days of its own and is always followed")
    cluster = target.open()
    cronjob = cluster.get("CronJob", schedule.rpartition("/")[2])
    if first is not None and last is not None:
        if last < first:
            raise click.BadParameter("is before --from", param_hint="--to")
        sys.exit(_backfill(cluster, cronjob, first.date(), last.date(), parallel, form, target))
    from k8s.actions.apply import Done, Submitted
    from k8s.actions.schedules import triggered
    from k8s.commands.wait import wait_for_end
    from k8s.output import tables

    job = cluster.create(triggered(cronjob, datetime.now(UTC), day.date() if day else None))
    result = Submitted(job, Done.CREATED, {f"Job/{job['metadata']['name']}": Done.CREATED})
    tables.submitted(result, form, cluster.namespace, dry_run=False)
    if follow:
        wait_for_end(target, cluster, result.name, show_logs=True, timeout=None)
    elif form == "table":
        tables.next_steps([result], target.words())


def _backfill(
    cluster: Cluster, cronjob: Object, first: date, last: date, parallel: int, form: str, target: Target
) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from k8s.actions.backfill import Backfill, days_between
    from k8s.errors import WaitCode
    from k8s.output import tables

    days = days_between(first, last)
    work = Backfill(cluster, cronjob, days, parallel)
    ended: list[Day] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(str(cronjob["metadata"]["name"]), total=len(days))
        try:
            for found in work.run():
                if found.state is None:
                    bar.console.print(f"{found.day}  {found.name}  started", highlight=False)
                    continue
                ended.append(found)
                bar.advance(task)
                bar.console.print(f"{found.day}  {found.name}  {_words(found)}", highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            bar.stop()
            schedule, words = cronjob["metadata"]["name"], target.words()
            going = ", ".join(r.name for r in work.running) or "no run"
            rest = f"; the rest: kfit trigger {schedule} --from {work.waiting[0]} --to {last}" if work.waiting else ""
            click.echo(f"detached; {going} goes on{rest}{words if rest else ''}", err=True)
            return int(WaitCode.INTERRUPTED)
    if work.stopped_before is not None:
        click.echo(f"stopped before {work.stopped_before}: what failed is the job, not the day", err=True)
    tables.backfilled(sorted(ended, key=lambda d: d.day), form)
    return next((int(d.state.exit_code) for d in ended if d.state is not None and d.state.exit_code), 0)


def _words(found: Day) -> str:
    assert found.state is not None
    why = found.state.why
    return found.state.phase.value.lower() + (f": {why}" if why not in ("", "done") else "")
