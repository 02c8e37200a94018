"""What the workers of one run must agree on before they train: where they begin, and the data they see."""

from __future__ import annotations

import hashlib

from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.checkpoint.store import Snapshot
from trainer.errors import PeerLost
from trainer.feed.statistics.prepare import Prepared
from trainer.local_cache import local_cache
from trainer.workers import cache_transfer
from trainer.workers.coordinator import Coordinator, SingleWorker
from trainer.workers.rank import Rank


def checkpoint_mark(snapshot: Snapshot | None) -> str:
    """Returns a digest that tells one checkpoint from another."""
    return hashlib.sha256(to_json(snapshot.state if snapshot else None)).hexdigest()


def check_same_checkpoint(folder: RunFolder, snapshot: Snapshot | None, mark: str) -> None:
    """Checks that this worker found the chief's checkpoint.

    Raises:
        PeerLost: It is another one.
    """
    if checkpoint_mark(snapshot) != mark:
        raise PeerLost(
            "this worker found another checkpoint than worker 0",
            where=folder.uri,
            remedy="all workers start again and go on from the newest checkpoint",
        )


def receive_cache(coordinator: Coordinator | SingleWorker) -> None:
    """Takes over what the chief knows of the data, so that this worker need not read every row again."""
    cache_transfer.unpack(coordinator.broadcast_bytes(), local_cache())


def share_data(coordinator: Coordinator | SingleWorker, rank: Rank, prepared: Prepared) -> None:
    """Hands the chief's cache and a digest of the data to the other workers, where there are any."""
    if rank.workers > 1:  # those of one machine have the same cache
        coordinator.broadcast_bytes(b"" if rank.local else cache_transfer.packed(local_cache()))
        coordinator.broadcast_json(_data_mark(prepared))


def check_same_data(coordinator: Coordinator | SingleWorker, prepared: Prepared) -> None:
    """Checks that this worker knows of the data what the chief does.

    Raises:
        PeerLost: It sees other data, or other statistics of it.
    """
    if coordinator.broadcast_json() != _data_mark(prepared):
        raise PeerLost(
            "this worker sees other data, or other statistics of it, than worker 0",
            where="run.data",
            remedy="all workers start again; write new data beside the old, never over it",
        )


def _data_mark(prepared: Prepared) -> str:
    """Tells whether two workers know the same of the data: what they do not must not go into their models."""
    return hashlib.sha256(repr([prepared.fingerprint, prepared.layout, prepared.statistics]).encode()).hexdigest()
