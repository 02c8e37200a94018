"""`kfit logs`: the trainer's log, from one pod or from all."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import run_or_newest
from k8s.commands.options import DURATION, Target, examples, place_options, target_options
from k8s.errors import AccessError, ClusterError, NotFound, WaitCode
from k8s.status.pods import created, has_started, index, name
from trainer.progress import terminal

if TYPE_CHECKING:
    from k8s.api.client import Cluster
    from k8s.follow.loop import LogOptions
    from k8s.status.job_state import Seen
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
@place_options("--file")
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
    output_uri: str,
    target: Target,
) -> None:
    """Print the logs of RUN, of the newest pod of each worker.

    With several workers every line says whose it is. Without RUN a terminal is asked which.

    After its Job is gone, prints what worker 0 kept in storage: its own lines, of all its pods, without those of your
    code. --file JOB or --output-uri says where, unless another Job of the same file is still there.
    """
    from k8s.actions.lookup import job_name
    from k8s.commands.watch.wait import wait_for_end
    from k8s.follow.log_stream import rfc3339
    from k8s.follow.loop import LogOptions
    from k8s.follow.watcher import look

    options = LogOptions(
        pod=pod,
        tail=None if tail == -1 else tail,
        since="" if since is None else rfc3339(time.time() - since),
        timestamps=timestamps,
        raw=raw,
    )
    try:
        cluster = target.open()
        job = job_name(cluster, run)
    except (NotFound, AccessError, ClusterError) as away:
        if not output_uri and not isinstance(away, NotFound):
            raise
        _print_stored(target, run, output_uri, options, follow)
        return
    seen, state = look(cluster, job)
    skipped = _skipped(seen.pods, all_pods or pod is not None, previous, follow)
    options = replace(options, skip=frozenset(map(name, skipped)))
    if follow:
        wait_for_end(target, cluster, job, show_logs=True, timeout_s=None, logs=options)
    chosen = [p for p in seen.pods if options.wants(name(p), index(p))]
    if not chosen:
        raise _no_pod(seen, job, pod, previous)
    _print(cluster, chosen, options, state.why)


def _no_pod(seen: Seen, job: str, pod: str | None, previous: bool) -> NotFound:
    from k8s.chart.yaml_documents import annotation, run_id
    from k8s.status.stored_run import run_uri

    there = ", ".join(map(name, seen.pods)) or "none"
    if previous and seen.job and (output := annotation(seen.job, "output-uri")):
        there += f"; one that is gone left its lines in {run_uri(output, run_id(seen.job))}/log.txt"
    what = "no pod before the newest" if previous else f"no pod {pod or ''}".rstrip()
    return NotFound(what, where=job, remedy=f"its pods: {there}; kfit why {job} tells more")


def _print_stored(target: Target, run: str, output_uri: str, options: LogOptions, follow: bool) -> None:
    """Prints the log of a run whose Job is gone; with --follow ends with the run's exit code."""
    from k8s.actions.run_place import find_place
    from k8s.actions.stored_files import read_log
    from k8s.follow import views
    from k8s.status import stored_run

    place = find_place(target.open, run, output_uri, verb="logs")
    lines = read_log(place, tail=options.tail, since=options.since)
    if options.pod not in (None, "0"):
        raise NotFound(
            f"no log of pod {options.pod}: only worker 0 keeps one in storage", where=place.uri, remedy="remove --pod"
        )
    terminal.echo(f"the Job of {place.run} is gone; what worker 0 kept in {place.uri}:", err=True)
    view = views.Plain(sys.stdout, sys.stderr)
    for line in lines:
        if (text := options.printed(line)) is not None:
            view.line(0, text)
    if follow:
        result = stored_run.read(place.output, place.run).result
        sys.exit(int(result.get("exit_code") or 0) if result else WaitCode.CANCELLED)


def _skipped(pods: Sequence[Object], all_pods: bool, previous: bool, follow: bool) -> list[Object]:
    """Returns the pods left out: by default those that were replaced, with --previous all but the last replaced."""
    by_worker: dict[int, list[Object]] = {}
    for pod in sorted(pods, key=created):
        by_worker.setdefault(index(pod), []).append(pod)
    if previous:
        return [pod for own in by_worker.values() for pod in [*own[:-2], *([] if follow else own[-1:])]]
    return [] if all_pods else [pod for own in by_worker.values() for pod in own[:-1]]


def _print(cluster: Cluster, pods: Sequence[Object], options: LogOptions, why: str) -> None:
    from k8s.follow import views
    from k8s.follow.log_stream import read

    several = len({index(p) for p in pods}) > 1
    view = views.Plain(sys.stdout, sys.stderr, raw=options.raw, several=several)
    for pod in sorted(pods, key=created):
        if not has_started(pod):
            terminal.echo(f"{name(pod)}: {why}", err=True)
        for line in read(cluster, name(pod), tail=options.tail, since=options.since):
            if (text := options.printed(line)) is not None:
                view.line(index(pod), text)
