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
    target_options,
    timeout_option,
)
from trainer.job_options import JobSource, job_files, job_path, job_source, one_source, override_options

if TYPE_CHECKING:
    from k8s.actions.apply import Submitted
    from k8s.api.client import Cluster
    from trainer.config.job_document import JobDocument

#: Job files sent at a time: most of sending is waiting for answers.
_SENDERS = 8
#: Up to so many job files have each of their names looked up; for more all names are listed.
_LOOK_UP_EACH = 5


@click.command(
    epilog=examples(
        "kfit render job.yaml | kubectl apply -f -",
        "cat job.yaml | kfit render - --kube-version 1.34 --set run.fit.epochs=3",
    )
)
@job_source
@click.option("--again", is_flag=True, help="The manifests of `submit --again`; every time others.")
@click.option("--kube-version", default="", help="Render for this version. Default: ask the cluster, if there is one.")
@target_options
def render(job: JobSource, again: bool, kube_version: str, target: Target) -> None:
    """Print what `submit` sends, as YAML that kubectl applies."""
    from k8s.chart.yaml_documents import to_yaml
    from k8s.errors import AccessError, ClusterError

    namespace = target.namespace or ""
    try:
        cluster = target.open()
        namespace = cluster.namespace
        kube_version = kube_version or cluster.version()
    except (AccessError, ClusterError) as away:
        if not kube_version:
            click.echo(f"note: rendered for helm's own version, no cluster was asked ({away.what})", err=True)
    click.echo(to_yaml(manifests(job, kube_version, again=again, namespace=namespace)), nl=False)


@click.command(
    epilog=examples(
        "kfit submit job.yaml --follow                            # send it, follow it, end with its exit code",
        "kfit submit -f base.yaml -f prod.yaml --dry-run=server   # one job of two files: only check it",
    )
)
@click.argument("jobs", metavar="[JOB]...", nargs=-1, type=job_path)
@job_files("A job file, merged over each JOB or in place of one.")
@override_options
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
    files: tuple[str, ...],
    overrides: tuple[tuple[str, str], ...],
    again: bool,
    follow: bool,
    wait_for: bool,
    timeout: float | None,
    dry_run: str | None,
    form: str,
    target: Target,
) -> None:
    """Send JOB to the cluster.

    It becomes a Job, or a CronJob where it has a schedule. Several JOBs are as many jobs. The same file twice makes
    nothing new; a changed file is a new Job.
    """
    from k8s.chart.render_many import render_many
    from k8s.commands.watch.wait import wait_for_end
    from k8s.output import tables

    if (follow or wait_for) and (len(jobs) > 1 or dry_run):
        raise click.UsageError("--follow and --wait need one job file and no --dry-run")
    documents = [_checked(job, again=again) for job in _sources(jobs, files, overrides)]
    if dry_run == "client":
        tables.planned(render_many(documents, "", target.namespace or ""), form)
        return
    cluster = target.open()
    rendered = render_many(documents, cluster.version(), cluster.namespace)
    if follow or wait_for:
        _check_has_an_end(rendered[0])
    results = _send_all(cluster, rendered, dry_run == "server")
    tables.submitted(results, form, cluster.namespace, dry_run=dry_run is not None)
    if follow or wait_for:
        wait_for_end(target, cluster, results[0].name, show_logs=follow, timeout_s=timeout)
    elif form == "table" and not dry_run:
        tables.next_steps(results, target.words())


def _sources(jobs: Sequence[str], files: tuple[str, ...], overrides: tuple[tuple[str, str], ...]) -> list[JobSource]:
    """Returns the job files of the command line: each JOB with all `-f` over it, or all `-f` as one."""
    if len(jobs) > 1 and "-" in (*jobs[1:], *files):
        raise click.UsageError("- is stdin, which can be read once: give it as the only JOB.")
    return [one_source(job, files, overrides) for job in jobs] or [one_source(None, files, overrides)]


def manifests(
    job: JobSource, kube_version: str, *, namespace: str = "", again: bool = False, run_id: str = "", tag: str = ""
) -> list[dict[str, Any]]:
    """Returns the objects of a job file, checked by its model first: that names the line and the nearest right key.

    Args:
        job: The job file.
        kube_version: The cluster's version; empty for helm's own.
        namespace: Where they are sent; empty for `default`.
        again: Make a Job of its own, every time another.
        run_id: Continue this run.
        tag: Tells this Job from others of the same values.

    Raises:
        ConfigError: The file is wrong.
    """
    from k8s.chart.render import render

    return render(_checked(job, again=again, run_id=run_id, tag=tag), kube_version=kube_version, namespace=namespace)


def _checked(job: JobSource, *, again: bool = False, run_id: str = "", tag: str = "") -> JobDocument:
    """Returns a job file, checked before a cluster is asked; the arguments are those of `manifests`."""
    from k8s.chart.values import JobFile
    from trainer.config import load_document

    document = load_document(job.files, job.overrides)
    JobFile.from_document(document)
    tag = f"{time.time_ns():x}" if again else tag
    return document.with_keys(**{name: value for name, value in (("again", tag), ("runId", run_id)) if value})


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
