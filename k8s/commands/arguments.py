"""RUN and SCHEDULE on a command line: completed by the shell, and offered on a terminal where they are missing."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from k8s.commands.options import Target
from k8s.errors import NotFound
from trainer.errors import KfitError

F = TypeVar("F", bound=Callable[..., Any])

#: How many runs are offered.
_OFFERED = 9


def _completion(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Returns what completes names of Jobs or CronJobs; with none where the cluster does not answer at once."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from k8s.api.client import OURS, Cluster

        given: dict[str, str] = {}
        for level in (context.parent, context):
            given |= {k: v for k, v in (level.params if level else {}).items() if v}
        try:
            cluster = Cluster.open(
                given.get("kubeconfig"), given.get("context"), given.get("namespace"), patience_s=1.0
            )
            objects = cluster.select(kind, labels=OURS)
            cluster.close()
        except KfitError:
            return []
        return [n for item in objects if (n := str(item["metadata"]["name"])).startswith(incomplete)]

    return complete


complete_runs, complete_schedules = _completion("Job"), _completion("CronJob")
run_argument = click.argument("run", shell_complete=complete_runs)
schedule_argument = click.argument("schedule", shell_complete=complete_schedules)


def run_or_newest(function: F) -> F:
    """Adds RUN to a verb that only reads; without it a terminal is asked which, the newest run first.

    Stands below `target_options`, which gives it the `target` to ask.
    """

    @functools.wraps(function)
    def with_run(*args: Any, run: str | None, target: Target, **kwargs: Any) -> Any:
        return function(*args, run=_ask(target) if run is None else run, target=target, **kwargs)

    decorated: Any = click.argument("run", required=False, shell_complete=complete_runs)(with_run)
    return decorated  # type: ignore[no-any-return]


def _ask(target: Target) -> str:
    """Returns the run that a person chooses.

    Raises:
        click.UsageError: Nobody can be asked.
        NotFound: There is no run to choose.
    """
    if not _is_terminal():
        raise click.UsageError("Missing argument 'RUN': a Job's name, or the `name:` of a job file.")
    from k8s.api.client import OURS
    from k8s.output.tables import offered
    from k8s.status.job_state import Seen, read
    from k8s.status.summary import of_jobs, summary

    cluster = target.open()
    now = datetime.now(UTC)
    newest = of_jobs(cluster.select("Job", labels=OURS), cluster.select("Pod", labels=OURS))[:_OFFERED]
    runs = [summary(job, read(Seen(job, pods)), now) for job, pods in newest]
    if not runs:
        raise NotFound(
            "no runs", where=f"namespace {cluster.namespace}", remedy="kfit submit JOB starts one; -n names a namespace"
        )
    number = 1
    if len(runs) > 1:
        offered(runs)
        number = click.prompt("Run", default=1, type=click.IntRange(1, len(runs)), err=True)
    return str(runs[number - 1]["name"])


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
