"""`kfit render` and `kfit submit`: a job file's objects, printed or sent. The same ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from k8s.commands.options import Target, job_argument, output_option, set_option, target_options

if TYPE_CHECKING:
    from k8s.actions.apply import Submitted, Taken
    from k8s.api.client import Cluster

_again = click.option("--again", is_flag=True, help="Another Job of the same file.")
#: Job files sent at a time: one waits for an answer while the other is written.
_SENDERS = 2
#: So many job files have each of their names looked up; for more all names are listed.
_ASK_EACH = 5


@click.command()
@job_argument
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


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@set_option
@_again
@click.option("--follow", is_flag=True, help="Follow it to its end; exit code as of `kfit wait`.")
@click.option("--wait", "wait_for", is_flag=True, help="Wait for its end quietly; exit code as of `kfit wait`.")
@click.option("--timeout", metavar="TIME", help="With --follow or --wait: no longer than 90s, 10m, 2h; then exit 124.")
@click.option(
    "--dry-run",
    type=click.Choice(["client", "server"]),
    help="client: only say what would be sent; server: have the cluster check it, quota and admission included.",
)
@output_option("table", "json", "yaml", "name")
@target_options
def submit(
    jobs: tuple[str, ...],
    overrides: tuple[str, ...],
    again: bool,
    follow: bool,
    wait_for: bool,
    timeout: str | None,
    dry_run: str | None,
    form: str,
    target: Target,
) -> None:
    """Send JOB to the cluster: a Job, or a CronJob where it has a schedule.

    The same file twice makes nothing new; a changed file is a new Job.
    """
    from k8s.output import tables

    if (follow or wait_for) and (len(jobs) > 1 or dry_run):
        raise click.UsageError("--follow and --wait go with one job file and no --dry-run")
    if dry_run == "client":
        for objects in _rendered(jobs, overrides, "", again):
            tables.planned(objects, form)
        return
    cluster = target.open()
    results = _sent(cluster, jobs, overrides, again, dry_run == "server")
    for result in results:
        tables.submitted(result, form, cluster.namespace, dry_run=dry_run is not None)
    if follow or wait_for:
        _follow(target, cluster, results[0], quiet=wait_for and not follow, timeout=timeout)
    elif form == "table" and not dry_run:
        tables.next_steps(results, target.words())


def manifests(
    job: str, overrides: Sequence[str], kube_version: str, *, again: bool = False, run_id: str = "", tag: str = ""
) -> list[dict[str, Any]]:
    """The objects of a job file, checked by its model first: that names the line and the nearest right key.

    Args:
        job: The job file.
        overrides: `--set` expressions.
        kube_version: The cluster's version.
        again: Make a Job of its own, every time another.
        run_id: Go on with this run.
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


def send(
    cluster: Cluster, objects: Sequence[dict[str, Any]], *, dry_run: bool = False, taken: Taken | None = None
) -> Submitted:
    """Sends one job file's objects; job files that an older version of a schedule left go."""
    from k8s.actions.apply import submit as bring
    from k8s.actions.schedules import prune

    result = bring(cluster, objects, dry_run=dry_run, taken=taken)
    if result.workload["kind"] == "CronJob" and not dry_run:
        prune(cluster, result.workload)
    return result


def _sent(
    cluster: Cluster, jobs: Sequence[str], overrides: Sequence[str], again: bool, dry_run: bool
) -> list[Submitted]:
    """Sends every file; all are rendered before the first is sent."""
    import itertools
    from concurrent.futures import ThreadPoolExecutor

    from k8s.actions.apply import taken_names

    rendered = _rendered(jobs, overrides, cluster.version(), again)
    taken = taken_names(cluster, itertools.chain(*rendered)) if len(jobs) > _ASK_EACH else None
    with ThreadPoolExecutor(_SENDERS) as pool:
        return list(pool.map(lambda objects: send(cluster, objects, dry_run=dry_run, taken=taken), rendered))


def _follow(target: Target, cluster: Cluster, result: Submitted, *, quiet: bool, timeout: str | None) -> NoReturn:
    from k8s.commands.wait import wait_for_end
    from trainer.errors import ConfigError

    if result.workload["kind"] != "Job":
        raise ConfigError(
            "a schedule has no end to follow", where=result.name, remedy=f"kfit trigger {result.name} --follow"
        )
    wait_for_end(target, cluster, result.name, show_logs=not quiet, timeout=timeout)
