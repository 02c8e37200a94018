"""`kfit wait`: waits for a run's end and returns its exit code; the one way in which any verb waits."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from k8s.commands.options import Target, run_argument, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@run_argument
@click.option("--timeout", metavar="TIME", help="Wait no longer than 90s, 10m, 2h; then exit 124. Default: for ever.")
@target_options
def wait(run: str, timeout: str | None, target: Target) -> None:
    """Wait for RUN to end; exit with the trainer's code.

    Beside the trainer's codes: 3 not found, 4 cancelled, 5 no pod ever ran, 124 --timeout is over,
    130 interrupted (the run goes on).
    """
    from k8s.actions.lookup import job_name

    cluster = target.open()
    wait_for_end(target, cluster, job_name(cluster, run), show_logs=False, timeout=timeout)


def wait_for_end(target: Target, cluster: Cluster, name: str, *, show_logs: bool, timeout: str | None) -> NoReturn:
    """Waits for a Job's end, tells it, and leaves with its exit code."""
    from k8s.errors import WaitCode
    from k8s.follow import views
    from k8s.follow.loop import TimedOut, follow

    again = f"kfit {'logs -f' if show_logs else 'wait'} {name}{target.words()}"
    try:
        state = follow(cluster, name, views.choose(show_logs), show_logs=show_logs, timeout_s=seconds(timeout))
    except KeyboardInterrupt:
        _say(f"detached; {name} goes on. Come back: {again}   Cancel: kfit cancel {name}{target.words()}")
        sys.exit(WaitCode.INTERRUPTED)
    except TimedOut:
        _say(f"{name} goes on after {timeout}. Come back: {again}")
        sys.exit(WaitCode.TIMED_OUT)
    told = f"{name} {state.phase.value.lower()}"
    told += f": {state.why}" if state.why not in ("", "done") else ""
    _say("\n  ".join([told, *filter(None, [*state.said.splitlines(), state.remedy])]))
    sys.exit(int(state.exit_code or 0))


def seconds(text: str | None) -> float | None:
    """`90s`, `10m`, `2h`, `1d` or plain seconds.

    Raises:
        click.BadParameter: It is none of these.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no time; write it like 90s, 10m or 2h", param_hint="--timeout")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _say(text: str) -> None:
    click.echo(text, err=True)
