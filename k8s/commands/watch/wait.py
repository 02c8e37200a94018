"""`kfit wait`: waits for a run's end and returns its exit code; the one way in which any verb waits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from k8s.commands.arguments import run_argument
from k8s.commands.options import Target, examples, target_options, timeout_option
from k8s.errors import WaitCode

if TYPE_CHECKING:
    from k8s.api.client import Cluster
    from k8s.follow.loop import LogOptions


@click.command(
    epilog=examples(
        "kfit wait flights && kfit promote flights-1a2b3c4d -f job.yaml",
        "kfit wait flights-1a2b3c4d --timeout 1h30m",
    )
)
@run_argument
@timeout_option
@target_options
def wait(run: str, timeout: float | None, target: Target) -> None:
    """Wait for RUN to end; exit with the trainer's code.

    Beside the trainer's codes: 3 not found, 4 cancelled, 5 no pod ever ran, 124 --timeout is over,
    130 interrupted (the run goes on).
    """
    from k8s.actions.lookup import job_name

    cluster = target.open()
    wait_for_end(target, cluster, job_name(cluster, run), show_logs=False, timeout_s=timeout)


def wait_for_end(
    target: Target,
    cluster: Cluster,
    name: str,
    *,
    show_logs: bool,
    timeout_s: float | None,
    logs: LogOptions | None = None,
) -> NoReturn:
    """Waits for a Job's end, reports it on stderr, and exits with its code.

    Args:
        target: The flags that named the cluster, for the commands that are shown.
        cluster: The Job's namespace.
        name: The Job.
        show_logs: Print the pods' logs meanwhile.
        timeout_s: Wait no longer, then exit 124; for ever by default.
        logs: Which lines to print, and how.
    """
    from k8s.follow import views
    from k8s.follow.loop import LogOptions, TimedOut, follow
    from k8s.output import tables

    logs = logs or LogOptions()
    come_back = f"kfit {'logs -f' if show_logs else 'wait'} {name}{target.words()}"
    try:
        view = views.choose(show_logs, logs)
        state = follow(cluster, name, view, logs if show_logs else None, timeout_s=timeout_s)
    except KeyboardInterrupt:
        cancel = f"kfit cancel {name}{target.words()}"
        click.echo(f"detached; {name} goes on. Come back: {come_back}   Cancel: {cancel}", err=True)
        sys.exit(WaitCode.INTERRUPTED)
    except TimedOut:
        click.echo(f"{name} goes on after {tables.ago(timeout_s)}. Come back: {come_back}", err=True)
        sys.exit(WaitCode.TIMED_OUT)
    tables.ended(name, state)
    sys.exit(int(state.exit_code or 0))
