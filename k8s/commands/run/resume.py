"""`kfit resume`: a new Job that continues a run where it stopped."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.arguments import run_argument
from k8s.commands.options import Target, examples, follow_option, output_option, target_options, timeout_option
from k8s.errors import AccessError, NotFound
from k8s.status.pods import created
from trainer.errors import ConfigError
from trainer.job_options import JobSource, job_files, override_options
from trainer.run_id import check_run_id

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object

_COMPANIONS = ("Service", "NetworkPolicy")


@click.command(
    epilog=examples(
        "kfit resume flights --follow                                      # the newest run of the job file",
        "kfit resume flights-1a2b3c4d -f job.yaml --set resources.gpus=2   # with other resources",
    )
)
@run_argument
@job_files("Its job file: to give it other resources, or when its Job is gone.")
@override_options
@follow_option
@timeout_option
@click.option("--dry-run", is_flag=True, help="Let the cluster check the new Job; create nothing.")
@output_option("table", "json", "yaml", "name")
@target_options
def resume(
    run: str,
    files: tuple[str, ...],
    overrides: tuple[tuple[str, str], ...],
    follow: bool,
    timeout: float | None,
    dry_run: bool,
    form: str,
    target: Target,
) -> None:
    """Continue RUN where it stopped, in a new Job.

    RUN is a Job's name, a run's id, or the `name:` of a job file, which means its newest run. Without -f the new
    Job is a copy of the old one, as the cluster has it. The trainer continues from the newest checkpoint, and
    refuses a job file that would train another model.
    """
    from k8s.actions.apply import submit
    from k8s.commands.run.submit import manifests as rendered
    from k8s.commands.watch.wait import wait_for_end
    from k8s.output import tables

    if overrides and not files:
        flag = overrides[0][0]
        raise ConfigError(f"{flag} changes a job file, and none is named", where=flag, remedy="add -f JOB")
    if follow and dry_run:
        raise click.UsageError("--follow needs a Job; remove --dry-run")
    cluster = target.open()
    run, last = _find_run(cluster, run)
    if last is not None:
        _check_over(last, run)
    if files:
        job = JobSource(files, overrides)
        # Tells a second resumption from the first, and is the same where one is asked for twice.
        tag = str(last["metadata"]["uid"])[:8] if last is not None else ""
        objects = rendered(job, cluster.version(), namespace=cluster.namespace, run_id=run, tag=tag)
        if last is None:
            _check_stored(objects, run, files[0])
    else:
        objects = _copy(cluster, last, run)
    result = submit(cluster, objects, dry_run=dry_run)
    tables.submitted([result], form, cluster.namespace, dry_run=dry_run)
    if follow:
        wait_for_end(target, cluster, result.name, show_logs=True, timeout_s=timeout)
    elif form == "table" and not dry_run:
        tables.next_steps([result], target.words())


def _find_run(cluster: Cluster, word: str) -> tuple[str, Object | None]:
    """Returns the run's id, and the newest Job that works or worked on it; None where all its Jobs are gone."""
    from k8s.actions.lookup import check_made_by_kfit, object_name
    from k8s.api.client import OURS
    from k8s.chart.yaml_documents import label, run_id

    run = check_run_id(object_name("Job", word), "kfit resume RUN")
    jobs = cluster.select("Job", labels=OURS)
    named = [job for job in jobs if run in (run_id(job), job["metadata"]["name"])]
    named = named or [job for job in jobs if label(job, "app.kubernetes.io/instance") == run]
    if not named:
        return run, None
    run = run_id(max(named, key=created))
    # A Job's name may have been given, and other Jobs have continued its run since.
    last = max((job for job in jobs if run_id(job) == run), key=created)
    check_made_by_kfit(cluster, last)
    return run, last


def _check_stored(objects: list[dict[str, Any]], run: str, file: str) -> None:
    """Refuses a run whose Job is gone and that left nothing in storage: the trainer would begin a new one of that name.

    Raises:
        NotFound: There is no such run.
    """
    from k8s.chart.yaml_documents import annotation, workload
    from k8s.status import stored_run

    stored = stored_run.read(annotation(workload(objects), "output-uri"), run)
    if stored.fault:
        click.echo(f"note: cannot see from here whether {run} is in storage: {stored.fault}", err=True)
    elif not stored.began:
        raise NotFound(
            "no such run", where=stored.uri, remedy=f"`kfit history -f {file}` lists the runs of the job file"
        )


def _check_over(job: Object, run: str) -> None:
    from k8s.status.job_state import Phase, Seen, read

    name = job["metadata"]["name"]
    state = read(Seen(job))
    if state.phase is Phase.SUCCEEDED:
        raise ConfigError("the run has succeeded; there is nothing to continue", where=run)
    if not state.phase.over:
        raise ConfigError(
            f"Job {name} is at work on it", where=run, remedy=f"kfit logs -f {name}, or kfit cancel {name} first"
        )


def _copy(cluster: Cluster, last: Object | None, run: str) -> list[dict[str, Any]]:
    from k8s.actions.continue_run import manifests
    from k8s.api.client import OURS

    if last is None:
        raise NotFound("its Job is gone", where=run, remedy=f"kfit resume {run} -f JOB continues it with its job file")
    name = last["metadata"]["name"]
    claims = last["spec"]["template"]["spec"].get("resourceClaims")
    kinds = (*_COMPANIONS, "ResourceClaimTemplate") if claims else _COMPANIONS
    labels = f"{OURS},kfit.dev/job={name}"
    companions = [c for kind in kinds for c in cluster.select(kind, labels=labels)]
    with contextlib.suppress(AccessError):  # who may not list budgets did not make one
        companions += cluster.select("PodDisruptionBudget", labels=labels)
    return manifests(last, companions)
