"""`kfit why`: why a run waits, failed or is slow, in a few lines, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.options import Target, output_option, run_argument, target_options

if TYPE_CHECKING:
    from k8s.api.client import Cluster


@click.command()
@run_argument
@click.option("-f", "--file", "job_file", type=click.Path(dir_okay=False), help="Its job file: tells where it wrote.")
@click.option("--output-uri", help="Or the output.uri itself, for a run whose Job is gone.")
@output_option("table", "json", "yaml")
@target_options
def why(run: str, job_file: str | None, output_uri: str | None, form: str, target: Target) -> None:
    """Tell why RUN waits, failed or is slow, and the command that mends it.

    After its Job is gone it tells from what lies in storage: -f JOB or --output-uri says where, unless
    another Job of the same file is still there.
    """
    from k8s.output import tables

    given = output_uri or (_output_of(job_file) if job_file else "")
    told = _live(target, run, given) or _from_storage(target, run.rpartition("/")[2], given)
    if form == "table":
        tables.why(told)
    else:
        tables.documents([told], form, many=False)


def _live(target: Target, run: str, given: str) -> dict[str, Any] | None:
    """What the cluster knows; None where it knows nothing of the run."""
    from k8s.actions.lookup import job_name
    from k8s.chart.yaml_documents import annotation, run_id
    from k8s.errors import AccessError, ClusterError, NotFound
    from k8s.follow.watcher import look

    try:
        cluster = target.open()
        seen, state = look(cluster, job_name(cluster, run))
    except NotFound:
        return None
    except (AccessError, ClusterError):
        if given:
            return None  # storage may tell without a cluster
        raise
    assert seen.job is not None
    name = seen.job["metadata"]["name"]
    told = {"name": name, "phase": state.phase.value, "why": state.why, "remedy": state.remedy, "error": state.said}
    told["exit_code"] = None if state.exit_code is None else int(state.exit_code)
    told["earlier"] = [{"pod": e.pod, "cause": e.cause} for e in state.ended]
    if (first := state.first_failed) is not None:
        told["first"] = f"worker {first.index} (pod {first.pod}): {first.cause}"
    output = given or annotation(seen.job, "output-uri")
    if state.phase.over and output:
        told |= _stored(output, run_id(seen.job), told)
    elif state.phase.value == "Running":
        told["why"] = _pace(cluster, seen.pods)
    return told


def _pace(cluster: Cluster, pods: Any) -> str:
    from datetime import UTC, datetime

    from k8s.follow import log_stream
    from k8s.output import tables
    from k8s.status.pods import index, name, runs
    from k8s.status.summary import progress_document
    from k8s.status.training_progress import fold

    chief = [p for p in pods if runs(p) and index(p) == 0]
    if not chief:
        return "it runs"
    at = progress_document(fold(log_stream.read(cluster, name(chief[0]), tail=1000)), datetime.now(UTC))
    told = "it runs"
    if at["doing"]:
        told += f": {at['doing']}"
    elif at["epochs"]:
        told += f": epoch {at['epoch']}/{at['epochs']}, step {at['step']:,}/{at['steps']:,}"
        told += f", {at['rows_per_s']:,.0f} rows/s" if at["rows_per_s"] else ""
        told += f", {tables.ago(at['eta_s'])} to go" if at["eta_s"] is not None else ""
    silent_s = at["silent_s"] or 0
    return told + (f"; no word from the trainer for {tables.ago(silent_s)}" if silent_s > 60 else "")


def _from_storage(target: Target, run: str, given: str) -> dict[str, Any]:
    from k8s.errors import NotFound

    output = given or _sibling_output(target, run)
    where = target.open().namespace if not given else output
    if output:
        found = _stored(output, run, {})
        if found.get("began"):
            return {"name": run, "phase": "gone", "remedy": "", "error": "", "earlier": [], "exit_code": None} | found
        if found.get("fault"):
            raise NotFound(f"its Job is gone, and storage cannot be read: {found['fault']}", where=run)
    raise NotFound(
        f"no run {run!r}: neither its Job is there nor anything it left" + (f" in {output}" if output else ""),
        where=where,
        remedy="-f JOB (or --output-uri URI) tells where it wrote; -n names a namespace",
    )


def _sibling_output(target: Target, run: str) -> str:
    """Where other Jobs of the same job file write."""
    from k8s.api.client import OURS
    from k8s.chart.yaml_documents import annotation

    cluster = target.open()
    labels = f"{OURS},app.kubernetes.io/instance={run.rpartition('-')[0]}"
    for kind in ("Job", "CronJob"):
        for found in cluster.select(kind, labels=labels):
            if output := annotation(found, "output-uri"):
                return output
    return ""


def _stored(output: str, run: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """What result.json adds, or says alone where the Job is gone."""
    from k8s.status import stored_run
    from k8s.status.job_state import failure_remedy

    found = stored_run.read(output, run)
    told: dict[str, Any] = {"left": found.uri, "began": found.began}
    if found.fault:
        return told | {"fault": found.fault}
    result = found.result
    if not result:
        ended = "it began and left no result: killed before it could write one, or still at work"
        return (
            told if live else told | {"why": ended, "remedy": f"kfit resume {run} -f JOB goes on from its checkpoint"}
        )
    told["slow"] = _slow(result.get("ledger_s") or {})
    if live:
        return told | ({"error": live["error"] or str(result.get("reason", ""))} if live["exit_code"] else {})
    code = int(result.get("exit_code") or 0)
    told |= {
        "phase": result.get("status", ""),
        "exit_code": code,
        "error": str(result.get("reason", "")) if code else "",
    }
    from k8s.status.pods import meaning

    told["why"] = f"exit {code}: {meaning(code)}"
    return told | {"remedy": failure_remedy(code, run) if code else "", "finished": result.get("finished")}


def _slow(ledger: Mapping[str, float]) -> str:
    """Where the time went, where that explains something: the feed, the checkpoints."""
    fit = float(ledger.get("fit") or 0)
    told = []
    for key, words, remedy in (
        ("feed_wait", "waiting for data", "more CPUs (resources.cpu), or the store nearer"),
        ("checkpoint_stall", "taking checkpoints", "a longer run.output.checkpoint.every"),
    ):
        share = float(ledger.get(key) or 0) / fit if fit else 0.0
        if share > 0.2:
            told.append(f"{share:.0%} of the fit went into {words}; what helps: {remedy}")
    return "; ".join(told)


def _output_of(job_file: str) -> str:
    from trainer.config import Config

    return str(Config.load(job_file).output.uri)
