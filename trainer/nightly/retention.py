"""Which runs stay and which go. What serves, what served before it, and what has not finished always stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from trainer import storage
from trainer.config import KeepRuns
from trainer.nightly import history, production
from trainer.nightly.history import Night


def expired(keep: KeepRuns, nights: Sequence[Night], protected: Collection[str], now: datetime) -> list[Night]:
    """The runs that neither count nor age keeps, oldest first.

    `count` counts runs that succeeded; a skipped or failed one stays as long as the oldest of them.

    Args:
        keep: The rules.
        nights: All runs.
        protected: Runs that stay whatever the rules say.
        now: The time, with its zone.
    """
    finished = [n for n in nights if n.finished and n.run not in protected]
    gone = sorted(finished, key=lambda n: (n.finished, n.run))
    if keep.count is not None:
        succeeded = sorted((n.finished for n in nights if n.status == "succeeded"), reverse=True)
        oldest = succeeded[keep.count - 1] if len(succeeded) >= keep.count else ""
        gone = [n for n in gone if n.finished < oldest]
    if keep.age is not None:
        before = now - timedelta(days=keep.age)
        gone = [n for n in gone if _moment(n.finished) < before]
    return gone


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def prune(output_uri: str, keep: KeepRuns, *, now: datetime, spare: str = "", dry_run: bool = False) -> list[Night]:
    """Deletes what does not stay.

    Args:
        output_uri: The job's `output.uri`.
        keep: The rules.
        now: The time, with its zone.
        spare: One more run that stays: the one that asks.
        dry_run: Delete nothing.

    Returns:
        The runs that went, or would.

    Raises:
        StorageError: The store is out of reach or refuses.
    """
    seen = production.read(output_uri)
    gone = expired(keep, history.read(output_uri), production.protected(seen) | {spare}, now)
    if dry_run:
        return gone
    deleted = []
    for night in gone:
        # Somebody may roll back to it while the older ones are deleted.
        if night.run in production.protected(production.read(output_uri)):
            continue
        folder = storage.join(output_uri, "runs", night.run)
        # The manifest first, so that half a model is never promoted; result.json last, as it tells the age.
        for part in ("model/MANIFEST.json", "model", "checkpoints", "tensorboard", ""):
            storage.delete_folder(storage.join(folder, part) if part else folder)
        deleted.append(night)
    if deleted:
        history.write_index(output_uri)
    return deleted
