"""`kfit logs`: the trainer's log, from one pod or from all."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import run_or_newest
from k8s.commands.options import DURATION, Target, examples, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster
    from k8s.follow.loop import LogOptions
    from k8s.status.pods import Object


@click.command(
    epilog=examples(
        "kfit logs -f flights                             # to the run's end, through evictions",
        "kfit logs flights --since 10m --timestamps --all-pods",
    )
)
@click.option("-f", "--follow", is_flag=True, help="Go on to the run's end; exit code as of `kfit wait`.")
@click.option("--pod", help="Only this pod's, by name or by index.")
@click.option("--all-pods", is_flag=True, help="Also the pods that were replaced.")
@click.option("-p", "--previous", is_flag=True, help="The pod before the newest of each worker: why it was replaced.")
@click.option("--since", type=DURATION, metavar="DURATION", help="Only lines newer than 5s, 10m, 1h30m.")
@click.option("--tail", type=click.IntRange(min=-1), metavar="N", help="Only the newest N lines of each pod; -1: all.")
@click.option("--timestamps", is_flag=True, help="Print each line's time before it.")
@click.option("--raw", is_flag=True, help="Print the trainer's JSON events too.")
@target_options
@run_or_newest
def logs(
    run: str,
    follow: bool,
    pod: str | None,
    all_pods: bool,
    previous: bool,
    since: float | None,
    tail: int | None,
    timestamps: bool,
    raw: bool,
    target: Target,
) -> None:
    """Print the logs of RUN: of the newest pod of each worker; with several every line says whose it is."""
    from k8s.actions.lookup import job_name
    from k8s.commands.watch.wait import wait_for_end
    from k8s.errors import NotFound
    from k8s.follow.log_stream import rfc3339
    from k8s.follow.loop import LogOptions
    from k8s.follow.watcher import look
    from k8s.status.pods import index, name

    cluster = target.open()
    job = job_name(cluster, run)
    seen, state = look(cluster, job)
    skipped = _skipped(seen.pods, all_pods or pod is not None, previous, follow)
    options = LogOptions(
        pod=pod,
        skip=frozenset(map(name, skipped)),
        tail=None if tail == -1 else tail,
        since="" if since is None else rfc3339(time.time() - since),
        timestamps=timestamps,
        raw=raw,
    )
    if follow:
        wait_for_end(target, cluster, job, show_logs=True, timeout_s=None, logs=options)
    chosen = [p for p in seen.pods if options.wants(name(p), index(p))]
    if not chosen:
        there = ", ".join(map(name, seen.pods)) or "none"
        what = "no pod before the newest" if previous else f"no pod {pod or ''}".rstrip()
        raise NotFound(what, where=job, remedy=f"its pods: {there}; kfit why {job} tells more")
    _print(cluster, chosen, options, state.why)


def _skipped(pods: Sequence[Object], all_pods: bool, previous: bool, follow: bool) -> list[Object]:
    """Returns the pods left out: by default those that were replaced, with --previous all but the last replaced."""
    from k8s.status.pods import index

    by_worker: dict[int, list[Object]] = {}
    for pod in sorted(pods, key=_created):
        by_worker.setdefault(index(pod), []).append(pod)
    if previous:
        return [pod for own in by_worker.values() for pod in [*own[:-2], *([] if follow else own[-1:])]]
    return [] if all_pods else [pod for own in by_worker.values() for pod in own[:-1]]


def _print(cluster: Cluster, pods: Sequence[Object], options: LogOptions, why: str) -> None:
    from k8s.follow import views
    from k8s.follow.log_stream import read
    from k8s.status.pods import has_started, index, name
    from trainer.progress import terminal

    several = len({index(p) for p in pods}) > 1
    view = views.Plain(sys.stdout, sys.stderr, raw=options.raw, several=several)
    for pod in sorted(pods, key=_created):
        if not has_started(pod):
            terminal.echo(f"{name(pod)}: {why}", err=True)
        for line in read(cluster, name(pod), tail=options.tail, since=options.since):
            if (text := options.printed(line)) is not None:
                view.line(index(pod), text)


def _created(pod: Object) -> str:
    return str(pod["metadata"].get("creationTimestamp"))
