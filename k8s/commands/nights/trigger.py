"""`kfit trigger`: a run of a schedule, now; or one for each day of a range."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import schedule_argument
from k8s.commands.options import Target, examples, follow_option, output_option, target_options, timeout_option
from k8s.errors import WaitCode

if TYPE_CHECKING:
    from k8s.actions.backfill import Backfill, Day
    from k8s.api.client import Cluster
    from k8s.status.pods import Object

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(
    epilog=examples(
        "kfit trigger nightly --date 2013-03-01 --follow",
        "kfit trigger nightly --from 2013-03-01 --to 2013-03-14 --parallel 2",
    )
)
@schedule_argument
@click.option("--date", "day", type=_DAY, help="The run's logical date. Default: today in the schedule's time zone.")
@click.option("--from", "first", type=_DAY, help="Backfill: a run for each day from this one, the oldest first ...")
@click.option("--to", "last", type=_DAY, help="... to this one.")
@click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="Runs of a backfill at a time.")
@follow_option
@timeout_option
@output_option("table", "json", "yaml", "name")
@target_options
def trigger(
    schedule: str,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    parallel: int,
    follow: bool,
    timeout: float | None,
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
    if first is not None and last is not None and last < first:
        raise click.BadParameter("is before --from", param_hint="--to")
    from k8s.actions.lookup import find_schedule

    cluster = target.open()
    cronjob = find_schedule(cluster, schedule)
    if first is not None and last is not None:
        sys.exit(_backfill(cluster, cronjob, first.date(), last.date(), parallel, form, target))
    from k8s.actions.apply import Outcome, Submitted
    from k8s.actions.schedules import triggered
    from k8s.commands.watch.wait import wait_for_end
    from k8s.output import tables

    job = cluster.create(triggered(cronjob, datetime.now(UTC), day.date() if day else None))
    result = Submitted(job, Outcome.CREATED, {f"Job/{job['metadata']['name']}": Outcome.CREATED})
    tables.submitted([result], form, cluster.namespace, dry_run=False)
    if follow:
        wait_for_end(target, cluster, result.name, show_logs=True, timeout_s=timeout)
    elif form == "table":
        tables.next_steps([result], target.words())


def _backfill(
    cluster: Cluster, cronjob: Object, first: date, last: date, parallel: int, form: str, target: Target
) -> int:
    """Runs the days and returns the exit code of the first that failed, 0 where none did."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from k8s.actions.backfill import Backfill, days_between
    from k8s.output import tables

    days = days_between(first, last)
    backfill = Backfill(cluster, cronjob, days, parallel)
    ended: list[Day] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(str(cronjob["metadata"]["name"]), total=len(days))
        try:
            for run in backfill.run():
                if run.state is not None:
                    ended.append(run)
                    bar.advance(task)
                line = f"{run.day}  {run.name}  {run.state.outcome if run.state else 'started'}"
                bar.console.print(line, highlight=False, soft_wrap=True, markup=False)
        except KeyboardInterrupt:
            bar.stop()
            _say_detached(backfill, str(cronjob["metadata"]["name"]), last, target)
            return int(WaitCode.INTERRUPTED)
    if backfill.stopped_before is not None:
        click.echo(f"stopped before {backfill.stopped_before}: the fault is the job's, not the day's", err=True)
    tables.backfilled(sorted(ended, key=lambda d: d.day), form)
    return next((int(d.state.exit_code) for d in ended if d.state is not None and d.state.exit_code), 0)


def _say_detached(backfill: Backfill, schedule: str, last: date, target: Target) -> None:
    running = ", ".join(run.name for run in backfill.running) or "no run"
    text = f"detached; {running} goes on"
    if backfill.waiting:
        text += f"; the rest: kfit trigger {schedule} --from {backfill.waiting[0]} --to {last}{target.words()}"
    click.echo(text, err=True)
