"""`kfit why`: why a run waits, failed or is slow, in a few lines, and how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.arguments import run_or_newest
from k8s.commands.options import Target, examples, output_option, place_options, target_options
from k8s.errors import AccessError, ClusterError, NotFound, RefusedError
from k8s.status.pods import index, meaning, name, runs
from trainer.run_id import check_run_id

if TYPE_CHECKING:
    from k8s.api.client import Cluster


@click.command(
    epilog=examples("kfit why flights", "kfit why flights-1a2b3c4d -f job.yaml   # after its Job is gone, from storage")
)
@place_options()
@output_option("table", "json", "yaml")
@target_options
@run_or_newest
def why(run: str, output_uri: str, form: str, target: Target) -> None:
    """Say why RUN waits, failed or is slow, and what fixes it.

    After its Job is gone the answer comes from storage: -f JOB or --output-uri says where, unless another Job of
    the same file is still there.
    """
    from k8s.output import tables

    report = _live(target, run, output_uri) or _from_storage(target, run, output_uri)
    if form == "table":
        tables.why(report)
    else:
        tables.documents([report], form, many=False)


def _live(target: Target, run: str, given: str) -> dict[str, Any] | None:
    """Returns what the cluster knows; None where it does not know the run."""
    from k8s.actions.lookup import job_name
    from k8s.chart.yaml_documents import annotation, run_id
    from k8s.follow.watcher import look

    try:
        cluster = target.open()
        seen, state = look(cluster, job_name(cluster, run))
    except NotFound:
        return None
    except (AccessError, ClusterError, RefusedError):
        if given:
            return None  # storage may know without a cluster
        raise
    assert seen.job is not None
    report: dict[str, Any] = {
        "name": seen.job["metadata"]["name"],
        "phase": state.phase.value,
        "why": state.why,
        "remedy": state.remedy,
        "error": state.error,
        "exit_code": None if state.exit_code is None else int(state.exit_code),
        "earlier": [{"pod": end.pod, "cause": end.cause} for end in state.ended],
    }
    if (first := state.first_failed) is not None:
        report["first"] = f"worker {first.index} (pod {first.pod}): {first.cause}"
    output = given or annotation(seen.job, "output-uri")
    if state.phase.over and output:
        report |= _stored(output, run_id(seen.job), report)
    elif state.phase.value == "Running":
        report["why"] = _pace(cluster, seen.pods)
    return report


def _pace(cluster: Cluster, pods: Any) -> str:
    """Returns how far a running run is, and how fast."""
    from datetime import UTC, datetime

    from k8s.follow import log_stream
    from k8s.output import tables
    from k8s.status.summary import progress_document
    from k8s.status.training_progress import fold

    chief = [p for p in pods if runs(p) and index(p) == 0]
    if not chief:
        return "it runs"
    progress = progress_document(fold(log_stream.read(cluster, name(chief[0]), tail=1000)), datetime.now(UTC))
    text = "it runs"
    if progress["doing"]:
        text += f": {progress['doing']}"
    elif progress["epochs"]:
        text += f": epoch {progress['epoch']}/{progress['epochs']}, step {progress['step']:,}/{progress['steps']:,}"
        text += f", {progress['rows_per_s']:,.0f} rows/s" if progress["rows_per_s"] else ""
        text += f", {tables.ago(progress['eta_s'])} to go" if progress["eta_s"] is not None else ""
    silent_s = progress["silent_s"] or 0
    return text + (f"; nothing from the trainer for {tables.ago(silent_s)}" if silent_s > 60 else "")


def _from_storage(target: Target, word: str, given: str) -> dict[str, Any]:
    """Returns what a run left in storage.

    Raises:
        NotFound: Nothing, or storage is out of reach.
        ConfigError: The word is not a run id.
    """
    from k8s.actions.lookup import object_name
    from k8s.actions.run_place import REMEDY, sibling_output

    run = check_run_id(object_name("Job", word), "kfit why RUN")
    output = given or sibling_output(target.open(), run)
    where = target.open().namespace if not given else output
    if output:
        stored = _stored(output, run, {})
        if stored.get("began"):
            return {"name": run, "phase": "gone", "remedy": "", "error": "", "earlier": [], "exit_code": None} | stored
        if stored.get("fault"):
            raise NotFound(f"its Job is gone, and storage cannot be read: {stored['fault']}", where=run)
    raise NotFound(
        f"no run {run!r}: neither its Job is there nor anything it left" + (f" in {output}" if output else ""),
        where=where,
        remedy=REMEDY,
    )


def _stored(output: str, run: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what result.json adds to what the cluster knows, or all that is known where the Job is gone."""
    from k8s.status import stored_run
    from k8s.status.job_state import failure_remedy

    stored = stored_run.read(output, run)
    report: dict[str, Any] = {"left": stored.uri, "began": stored.began}
    if stored.fault:
        return report | {"fault": stored.fault}
    result = stored.result
    if not result and live:
        return report
    if not result:
        why = "it began and left no result: killed before it could write one, or still at work"
        return report | {"why": why, "remedy": f"kfit resume {run} -f JOB continues from its checkpoint"}
    report["slow"] = _slow(result.get("ledger_s") or {})
    reason = str(result.get("reason", ""))
    if live:
        return report | ({"error": live["error"] or reason} if live["exit_code"] else {})
    code = int(result.get("exit_code") or 0)
    return report | {
        "phase": result.get("status", ""),
        "exit_code": code,
        "error": reason if code else "",
        "why": f"exit {code}: {meaning(code)}",
        "remedy": failure_remedy(code, run) if code else "",
        "finished": result.get("finished"),
    }


def _slow(ledger: Mapping[str, float]) -> str:
    """Returns where the time went, where the feed or the checkpoints took more than a fifth of the fit."""
    fit = float(ledger.get("fit") or 0)
    reasons = []
    for key, words, remedy in (
        ("feed_wait", "waiting for data", "more CPUs (resources.cpu), or a store nearer to the node"),
        ("checkpoint_stall", "taking checkpoints", "a longer run.output.checkpoint.every"),
    ):
        share = float(ledger.get(key) or 0) / fit if fit else 0.0
        if share > 0.2:
            reasons.append(f"{share:.0%} of the fit went into {words}; what helps: {remedy}")
    return "; ".join(reasons)
