"""Which runs stay and which go.

The run in production, the one before it, and what has not finished or was preempted, and so can go on, always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from trainer import storage
from trainer.config import KeepRuns
from trainer.nightly import history, production
from trainer.nightly.history import RunSummary
from trainer.progress import terminal

#: A run with one of these does not go on by itself; a preempted one does.
_ENDED = ("succeeded", "skipped", "failed")


def expired(keep: KeepRuns, runs: Sequence[RunSummary], protected: Collection[str], now: datetime) -> list[RunSummary]:
    """The runs that neither count nor age keeps, oldest first.

    `count` counts runs that succeeded; a skipped or failed one stays as long as the oldest of them.

    Args:
        keep: The rules.
        runs: All runs.
        protected: Runs that stay whatever the rules say.
        now: The time, with its zone.
    """
    finished = [n for n in runs if n.finished and n.status in _ENDED and n.run not in protected]
    gone = sorted(finished, key=lambda n: (n.finished, n.run))
    if keep.count is not None:
        succeeded = sorted((n.finished for n in runs if n.status == "succeeded"), reverse=True)
        oldest = succeeded[keep.count - 1] if len(succeeded) >= keep.count else ""
        gone = [n for n in gone if n.finished < oldest]
    if keep.age is not None:
        before = now - timedelta(days=keep.age)
        gone = [n for n in gone if history.parse_time(n.finished) < before]
    return gone


def prune(
    output_uri: str,
    keep: KeepRuns,
    *,
    now: datetime,
    spare: str = "",
    dry_run: bool = False,
    warn: Callable[[str], None] = terminal.warn,
) -> list[RunSummary]:
    """Deletes what does not stay.

    Args:
        output_uri: The job's `output.uri`.
        keep: The rules.
        now: The time, with its zone.
        spare: One more run that stays: the one that asks.
        dry_run: Delete nothing.
        warn: Told of what was left alone because it is damaged or a link.

    Returns:
        The runs that went, or would.

    Raises:
        DataError: production.json is damaged: it is not known what serves, so nothing is deleted.
        StorageError: The store is out of reach or refuses.
    """
    serving = production.read(output_uri)
    gone = expired(keep, history.read(output_uri, warn=warn), production.protected(serving) | {spare}, now)
    gone = [run for run in gone if not _is_link(output_uri, run.run, warn)]
    if dry_run:
        return gone
    deleted = []
    for run in gone:
        # Somebody may roll back to it while the older ones are deleted.
        if run.run in production.protected(production.read(output_uri)):
            continue
        folder = storage.join(output_uri, "runs", run.run)
        # The manifest first, so that half a model is never promoted; result.json last, as it tells the age.
        for part in ("model/MANIFEST.json", "model", "checkpoints", "tensorboard", ""):
            storage.delete_folder(storage.join(folder, part) if part else folder)
        deleted.append(run)
    if deleted:
        history.write_index(output_uri, warn=warn)
    return deleted


def _is_link(output_uri: str, run: str, warn: Callable[[str], None]) -> bool:
    """Whether a run's folder is a symbolic link: no run makes one, and what it points to is not ours to delete."""
    folder = storage.join(output_uri, "runs", run)
    path = storage.local_path(folder)
    if path is None or not path.is_symlink():
        return False
    warn(f"{folder} is a symbolic link and is left alone")
    return True
