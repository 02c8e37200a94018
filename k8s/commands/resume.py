"""`kfit resume`: a new Job that goes on with a run where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k8s.commands.options import Target, output_option, run_argument, set_option, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object

_OWN = ("ConfigMap", "Service", "NetworkPolicy")


@click.command()
@run_argument
@click.option("-f", "--file", "job_file", type=click.Path(dir_okay=False),
              help="Its job file: to give it other resources, or when its Job is gone.")  # fmt: skip
@set_option
@click.option("--follow", is_flag=True, help="Follow it to its end; exit code as of `kfit wait`.")
@output_option("table", "json", "yaml", "name")
@target_options
def resume(run: str, job_file: str | None, overrides: tuple[str, ...], follow: bool, form: str, target: Target) -> None:
    """Go on with RUN where it stopped, in a new Job.

    Without -f the new Job is the old one over again, as the cluster has it. The trainer goes on from the
    newest checkpoint, and refuses a job file that would train another model.
    """
    from k8s.actions.apply import submit
    from k8s.commands.submit import manifests as rendered
    from k8s.commands.wait import wait_for_end
    from k8s.output import tables
    from trainer.errors import ConfigError

    if overrides and not job_file:
        raise ConfigError("--set changes a job file", where="--set", remedy="name it: -f JOB")
    cluster = target.open()
    run = run.rpartition("/")[2]
    last = _last_job(cluster, run)
    if last is not None:
        _check_over(last, run)
    if job_file:
        run = _run_of(last, run)
        objects = rendered(job_file, overrides, cluster.version(), run_id=run, tag=_tag(last))
    else:
        objects = _again(cluster, last, run)
    result = submit(cluster, objects)
    tables.submitted(result, form, cluster.namespace, dry_run=False)
    if follow:
        wait_for_end(target, cluster, result.name, show_logs=True, timeout=None)
    elif form == "table":
        tables.next_steps([result], target.words())


def _last_job(cluster: Cluster, run: str) -> Object | None:
    """The newest Job that works or worked on the run."""
    from k8s.api.client import OURS
    from k8s.chart.yaml_documents import run_id

    jobs = [j for j in cluster.select("Job", labels=OURS) if run in (run_id(j), j["metadata"]["name"])]
    runs = {run_id(j) for j in jobs}
    if runs:  # a Job's name may have been given, and others went on with its run since
        jobs = [j for j in cluster.select("Job", labels=OURS) if run_id(j) in runs]
    return max(jobs, key=lambda j: str(j["metadata"]["creationTimestamp"]), default=None)


def _check_over(job: Object, run: str) -> None:
    from k8s.status.job_state import Phase, Seen, read
    from trainer.errors import ConfigError

    name = job["metadata"]["name"]
    state = read(Seen(job))
    if state.phase is Phase.SUCCEEDED:
        raise ConfigError("the run has succeeded; there is nothing to go on with", where=run)
    if not state.phase.over:
        raise ConfigError(
            f"Job {name} is at work on it", where=run, remedy=f"kfit logs -f {name}, or kfit cancel {name} first"
        )


def _again(cluster: Cluster, last: Object | None, run: str) -> list[dict[str, Any]]:
    from k8s.actions.continue_run import manifests
    from k8s.errors import NotFound

    if last is None:
        raise NotFound("its Job is gone", where=run, remedy=f"kfit resume {run} -f JOB goes on with its job file")
    name = last["metadata"]["name"]
    claims = last["spec"]["template"]["spec"].get("resourceClaims")
    kinds = (*_OWN, "ResourceClaimTemplate") if claims else _OWN
    found = (c for kind in kinds for c in cluster.select(kind, labels=f"kfit.dev/job={name}"))
    return manifests(last, list(found))


def _run_of(last: Object | None, run: str) -> str:
    from k8s.chart.yaml_documents import run_id

    return run_id(last) if last is not None else run


def _tag(last: Object | None) -> str:
    """Tells a second resumption from the first, and the same one asked for twice as the same."""
    return str(last["metadata"]["uid"])[:8] if last is not None else ""
