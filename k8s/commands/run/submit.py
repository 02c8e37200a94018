"""`kfit render` and `kfit submit`: a job file's objects, printed or sent. The same ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.options import (
    Target,
    examples,
    follow_option,
    output_option,
    set_option,
    target_options,
    timeout_option,
)

if TYPE_CHECKING:
    from k8s.actions.apply import Submitted
    from k8s.api.client import Cluster

#: Job files sent at a time: one waits for an answer while the other is written.
_SENDERS = 2
#: Up to so many job files have each of their names looked up; for more all names are listed.
_LOOK_UP_EACH = 5


@click.command(
    epilog=examples(
        "kfit render job.yaml | kubectl apply -f -",
        "kfit render job.yaml --kube-version 1.34 --set run.fit.epochs=3",
    )
)
@click.argument("job", type=click.Path(dir_okay=False))
@set_option
@click.option("--again", is_flag=True, help="The manifests of `submit --again`; every time others.")
@click.option("--kube-version", default="", help="Render for this version. Default: ask the cluster, if there is one.")
@target_options
def render(job: str, overrides: tuple[str, ...], again: bool, kube_version: str, target: Target) -> None:
    """Print what `submit` sends, as YAML that kubectl applies."""
    from k8s.chart.yaml_documents import to_yaml
    from k8s.errors import AccessError, ClusterError

    if not kube_version:
        try:
            kube_version = target.open().version()
        except (AccessError, ClusterError) as away:
            click.echo(f"note: rendered for helm's own version, no cluster was asked ({away.what})", err=True)
    click.echo(to_yaml(manifests(job, overrides, kube_version, again=again)), nl=False)


@click.command(
    epilog=examples(
        "kfit submit job.yaml --follow                # send it, follow it, end with its exit code",
        "kfit submit job.yaml --dry-run=server        # let admission and quota check it",
    )
)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@set_option
@click.option("--again", is_flag=True, help="Make another Job of the same file.")
@follow_option
@click.option("--wait", "wait_for", is_flag=True, help="Wait for its end quietly; exit code as of `kfit wait`.")
@timeout_option
@click.option(
    "--dry-run",
    type=click.Choice(["client", "server"]),
    help="client: only say what would be sent; server: let the cluster check it, quota and admission included.",
)
@output_option("table", "json", "yaml", "name")
@target_options
def submit(
    jobs: tuple[str, ...],
    overrides: tuple[str, ...],
    again: bool,
    follow: bool,
    wait_for: bool,
    timeout: float | None,
    dry_run: str | None,
    form: str,
    target: Target,
) -> None:
    """Send JOB to the cluster: a Job, or a CronJob where it has a schedule.

    The same file twice makes nothing new; a changed file is a new Job.
    """
    from k8s.commands.watch.wait import wait_for_end
    from k8s.output import tables

    if (follow or wait_for) and (len(jobs) > 1 or dry_run):
        raise click.UsageError("--follow and --wait need one job file and no --dry-run")
    if dry_run == "client":
        tables.planned(_rendered(jobs, overrides, "", again), form)
        return
    cluster = target.open()
    rendered = _rendered(jobs, overrides, cluster.version(), again)
    if follow or wait_for:
        _check_has_an_end(rendered[0])
    results = _send_all(cluster, rendered, dry_run == "server")
    tables.submitted(results, form, cluster.namespace, dry_run=dry_run is not None)
    if follow or wait_for:
        wait_for_end(target, cluster, results[0].name, show_logs=follow, timeout_s=timeout)
    elif form == "table" and not dry_run:
        tables.next_steps(results, target.words())


def manifests(
    job: str, overrides: Sequence[str], kube_version: str, *, again: bool = False, run_id: str = "", tag: str = ""
) -> list[dict[str, Any]]:
    """Returns the objects of a job file, checked by its model first: that names the line and the nearest right key.

    Args:
        job: The job file.
        overrides: `--set` expressions.
        kube_version: The cluster's version; empty for helm's own.
        again: Make a Job of its own, every time another.
        run_id: Continue this run.
        tag: Tells this Job from others of the same values.

    Raises:
        ConfigError: The file is wrong.
    """
    from k8s.chart import render
    from k8s.chart.values import JobFile
    from k8s.chart.yaml_documents import helm_sets

    JobFile.load(job, list(overrides))
    words = helm_sets(overrides)
    tag = f"{time.time_ns():x}" if again else tag
    words += ["--set-string", f"again={tag}"] if tag else []
    words += ["--set-string", f"runId={run_id}"] if run_id else []
    return render.render(job, words, kube_version=kube_version)


def _rendered(
    jobs: Sequence[str], overrides: Sequence[str], kube_version: str, again: bool
) -> list[list[dict[str, Any]]]:
    from concurrent.futures import ThreadPoolExecutor

    from k8s.chart.render_many import render_many
    from k8s.chart.values import JobFile
    from k8s.chart.yaml_documents import helm_sets

    if len(jobs) == 1 or again:
        return [manifests(job, overrides, kube_version, again=again) for job in jobs]
    with ThreadPoolExecutor(1) as pool:
        rendering = pool.submit(render_many, jobs, helm_sets(overrides), kube_version)
        for job in jobs:  # while helm works; a fault here has the better message and comes first
            JobFile.load(job, list(overrides))
        return rendering.result()


def _send_all(cluster: Cluster, rendered: Sequence[list[dict[str, Any]]], dry_run: bool) -> list[Submitted]:
    """Sends every file; all were rendered before the first is sent."""
    import itertools
    from concurrent.futures import ThreadPoolExecutor

    from k8s.actions.apply import submit as apply
    from k8s.actions.apply import taken_names

    taken = taken_names(cluster, itertools.chain(*rendered)) if len(rendered) > _LOOK_UP_EACH else None
    with ThreadPoolExecutor(_SENDERS) as pool:
        return list(pool.map(lambda objects: apply(cluster, objects, dry_run=dry_run, taken=taken), rendered))


def _check_has_an_end(objects: Sequence[dict[str, Any]]) -> None:
    from k8s.chart.yaml_documents import workload
    from trainer.errors import ConfigError

    made = workload(objects)
    if made["kind"] != "Job":
        name = made["metadata"]["name"]
        raise ConfigError(
            "a schedule has no end to wait for",
            where=f"CronJob {name}",
            remedy=f"kfit submit JOB, then kfit trigger {name} --follow",
        )
