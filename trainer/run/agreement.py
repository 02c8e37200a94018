"""What the workers of one run must agree on before they train: who they are, where they begin, the data they see."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import NoReturn

from trainer import __version__
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.checkpoint.store import Snapshot
from trainer.config import Config
from trainer.errors import KfitError, PeerLost
from trainer.feed.statistics.prepare import Prepared
from trainer.local_cache import local_cache
from trainer.workers import cache_transfer
from trainer.workers.coordinator import Coordinator, SingleWorker
from trainer.workers.membership import Membership
from trainer.workers.rank import Rank
from trainer.workers.rendezvous import LAST_CALL_S, Rendezvous, meet

#: How long workers wait for each other at the start: a queue lets pods in together, an autoscaler does not.
_MEETING_S = 900.0


def meet_workers(
    rank: Rank,
    folder: RunFolder,
    config: Config,
    *,
    note: Callable[[str], None],
    finished: Callable[[], bool],
    abandon: Callable[[KfitError], NoReturn],
) -> tuple[Coordinator | SingleWorker, Rendezvous]:
    """Waits for the run's other workers.

    Args:
        rank: Which worker this is.
        folder: The run's folder.
        config: As the job file has it: all workers must have the same.
        note: Told one line at a time what a person should see.
        finished: Whether the run has ended meanwhile.
        abandon: Ends this process when another worker fails.

    Raises:
        Finished: The run has ended already.
        KfitError: A worker did not come, or has another configuration or version.
    """
    identity = {
        "run": folder.uri,
        "configuration": hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
        "version": __version__,
    }
    deadline_s = float(os.environ.get("KFIT_MEETING_S") or _MEETING_S)
    last_call_s = float(os.environ.get("KFIT_LAST_CALL_S") or LAST_CALL_S)
    met = meet(rank, identity, deadline_s=deadline_s, note=note, finished=finished, last_call_s=last_call_s)
    began = met.rank.workers
    if began < rank.workers:
        note(f"worker {rank.index} of {began}; the run begins without the other {rank.workers - began}")
    else:
        note(f"worker {rank.index} of {rank.workers}; all are there")
    if began == 1:
        return SingleWorker(), met
    return Coordinator(Membership(met.rank, met.connections, abandon)), met


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
