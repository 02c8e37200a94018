"""`kfit status`: a run on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from k8s.commands.arguments import run_or_newest
from k8s.commands.options import Target, examples, output_option, target_options
from k8s.errors import AccessError
from k8s.status.pods import created, has_started, index, name
from k8s.status.training_progress import Progress, fold

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object

#: Holds the last epoch's end of all but very long epochs.
_LINES = 1000


@click.command(epilog=examples("kfit status flights", "kfit status flights-1a2b3c4d -o json"))
@output_option("table", "json", "yaml")
@target_options
@run_or_newest
def status(run: str, form: str, target: Target) -> None:
    """Show RUN on one screen.

    Phase, epoch, metrics, time to go, restarts and why, newest checkpoint. Without RUN a terminal is asked which.
    """
    from k8s.actions.lookup import job_name
    from k8s.follow.watcher import look
    from k8s.output import tables
    from k8s.status.summary import progress_document, summary

    cluster = target.open()
    seen, state = look(cluster, job_name(cluster, run))
    assert seen.job is not None
    now = datetime.now(UTC)
    progress = _progress(cluster, seen.pods)
    document = summary(seen.job, state, now, seen.queued) | progress_document(progress, now)
    evicted = bool(document["queue"] and document["queue"]["evicted"])
    worked = progress.epochs or document["restarts"] or evicted or document["run"] != document["name"]
    worked = worked or state.phase.value == "Restarting"
    if document["checkpoint"] is None and document["output"] and worked:
        document["checkpoint"] = _from_storage(document["output"], document["run"], now)
    tables.status(document, form)


def _progress(cluster: Cluster, pods: Sequence[Object]) -> Progress:
    """Returns how far the newest pod of the chief came, by its log."""
    from k8s.follow import log_stream

    chief = max((p for p in pods if has_started(p) and index(p) == 0), key=created, default=None)
    try:
        return fold(log_stream.read(cluster, name(chief), tail=_LINES) if chief else ())
    except AccessError as denied:
        click.echo(f"note: no progress without the log: {denied}", err=True)
        return Progress()


def _from_storage(output: str, run_id: str, now: datetime) -> dict[str, Any] | None:
    """The newest checkpoint as storage knows it; None where there is none or storage is out of reach from here."""
    from k8s.follow.queue_reader import newest_checkpoint

    newest = newest_checkpoint(output, run_id)
    return None if newest is None else {"step": newest[0], "age_s": round(max(0.0, now.timestamp() - newest[1]), 1)}
