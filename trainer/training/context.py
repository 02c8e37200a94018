"""What training needs of the run around it, as one value that the session hands to its callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.progress.progress import Progress
from trainer.training.preemption import StopRequest
from trainer.training.stall_watchdog import StallWatchdog
from trainer.training.time_ledger import Ledger
from trainer.training.training_state import TrainingState


@dataclass(frozen=True)
class TrainingContext:
    """The run around `model.fit`.

    Attributes:
        state: What the run carries from step to step; callbacks change it.
        writer: Commits checkpoints beside the training.
        progress: What a person sees.
        ledger: Where the time goes.
        stop: Whether the run was asked to stop.
        identity: What a process that goes on from a checkpoint must share; becomes part of each checkpoint.
        watchdog: Is told of every step; ends a run in which none is finished.
        tensorboard: Folder for TensorBoard's files; None: none are written.
        files: Local folder for the files of own callbacks; empty: they have none.
        uploads: Upload what is new in these folders.
    """

    state: TrainingState
    writer: AsyncWriter | NoWriter
    progress: Progress
    ledger: Ledger
    stop: StopRequest
    identity: Mapping[str, Any]
    watchdog: StallWatchdog
    tensorboard: str | None = None
    files: str = ""
    uploads: Sequence[Callable[[], None]] = ()
