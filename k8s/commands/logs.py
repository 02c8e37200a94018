"""`kfit logs`: the trainer's words, from one pod or from all."""

from __future__ import annotations

import sys

import click

from k8s.commands.options import Target, run_argument, target_options


@click.command()
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on to the run's end; exit code as of `kfit wait`.")
@click.option("--pod", help="Only this pod's, by name or by index.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the newest lines.")
@click.option("--raw", is_flag=True, help="With the trainer's JSON events.")
@target_options
def logs(run: str, follow: bool, pod: str | None, tail: int | None, raw: bool, target: Target) -> None:
    """Print the logs of RUN; with several pods every line says whose it is."""
    from k8s.actions.lookup import job_name
    from k8s.commands.wait import wait_for_end
    from k8s.errors import NotFound
    from k8s.follow import views
    from k8s.follow.log_stream import EVENT, read
    from k8s.follow.watcher import look
    from k8s.status.pods import has_started, index, name

    cluster = target.open()
    job = job_name(cluster, run)
    if follow:
        wait_for_end(target, cluster, job, show_logs=True, timeout=None)
    seen, state = look(cluster, job)
    chosen = [p for p in seen.pods if pod in (None, name(p), str(index(p)))]
    if not chosen:
        there = ", ".join(map(name, seen.pods)) or "none"
        raise NotFound(f"no pod {pod or ''}".rstrip(), where=job, remedy=f"there: {there}; kfit why {job} tells more")
    chosen.sort(key=lambda p: str(p["metadata"].get("creationTimestamp")))
    for one in chosen:
        if not has_started(one):
            click.echo(f"{name(one)}: {state.why}", err=True)
        prefix = views.prefix(index(one)) if len({index(p) for p in chosen}) > 1 else ""
        for _, line in read(cluster, name(one), tail=tail):
            if raw or not line.startswith(EVENT):
                sys.stdout.write(f"{prefix}{line}\n")
