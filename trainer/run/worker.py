"""This process as one worker of a run: what it holds, how it meets the others, how it ends where one of them fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from trainer import __version__, termination
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore
from trainer.config import Config, duration_s
from trainer.errors import KfitError, Stalled
from trainer.nightly.pushgateway import Pushgateway
from trainer.progress import terminal
from trainer.progress.progress import Progress
from trainer.run.kept_log import KeptLog
from trainer.run.record import Record
from trainer.training.stall_watchdog import StallWatchdog
from trainer.training.time_ledger import Ledger
from trainer.workers.coordinator import Coordinator, SingleWorker
from trainer.workers.membership import Membership
from trainer.workers.rank import Rank
from trainer.workers.rendezvous import LAST_CALL_S, meet

#: How long workers wait for each other at the start: a queue lets pods in together, an autoscaler does not.
_MEETING_S = 900.0
#: How long the end of a run may wait for the last lines of its log to be stored.
_LOG_S = 10.0


class Worker:
    """A worker of a run.

    Args:
        config: The configuration as the job file has it.
        folder: The run's folder.
        rank: Which worker this is.
        progress: What a person sees.
        ledger: Where the time goes.

    Attributes:
        rank, coordinator: Those of a single worker until `meet` has brought all together.
        store, log, gateway, record: Checkpoints, log.txt, pushed metrics and documents of the run.
        watchdog: Ends this process where no step is finished any more.
    """

    def __init__(self, config: Config, folder: RunFolder, rank: Rank, progress: Progress, ledger: Ledger) -> None:
        self.folder, self.rank, self.progress, self.ledger = folder, rank, progress, ledger
        self._config = config
        self.coordinator: Coordinator | SingleWorker = SingleWorker()
        self.store = CheckpointStore(folder, keep=config.output.checkpoint.keep, note=progress.note)
        self.log = KeptLog(folder, self.store.fence)
        self.gateway = None
        if rank.chief:
            self.log.attach(progress)
            if config.metrics is not None:
                self.gateway = Pushgateway(config.metrics, folder.output_uri, folder.run_id, progress.note, os.environ)
                progress.add(self.gateway)
        self.record = Record(config, folder, self.store.fence, progress, ledger, self.log, self.gateway)
        stall = config.fit.stall
        limit_s = None if stall == "never" else duration_s(stall)
        self.watchdog = StallWatchdog(limit_s, self._end_stalled, heartbeat=os.environ.get("KFIT_HEARTBEAT"))

    def meet(self, finished: Callable[[], bool]) -> Sequence[str]:
        """Waits for the run's other workers; from then on this process ends when another one fails.

        Args:
            finished: Whether the run has ended meanwhile.

        Returns:
            The addresses of all, none for a run that begins with one.

        Raises:
            Finished: The run has ended already.
            KfitError: A worker did not come, or has another configuration or version.
        """
        identity = {
            "run": self.folder.uri,
            "configuration": hashlib.sha256(self._config.model_dump_json().encode()).hexdigest(),
            "version": __version__,
        }
        deadline_s = float(os.environ.get("KFIT_MEETING_S") or _MEETING_S)
        last_call_s = float(os.environ.get("KFIT_LAST_CALL_S") or LAST_CALL_S)
        note, asked = self.progress.note, self.rank
        met = meet(asked, identity, deadline_s=deadline_s, note=note, finished=finished, last_call_s=last_call_s)
        self.rank, began = met.rank, met.rank.workers
        if began < asked.workers:
            note(f"worker {asked.index} of {began}; the run begins without the other {asked.workers - began}")
        else:
            note(f"worker {asked.index} of {asked.workers}; all are there")
        if began == 1:
            return ()
        self.coordinator = Coordinator(Membership(met.rank, met.connections, self._abandon))
        return met.addresses

    def fail(self, error: BaseException) -> BaseException:
        """Ends the run for all workers because of this one's error; returns the error that ended it."""
        ended = self.coordinator.fail(error)
        self.record.write_failure(ended)
        if isinstance(ended, KfitError):
            ended.told = self._told_elsewhere
        return ended

    def close(self) -> None:
        """Leaves the other workers, and stores the last lines of the log."""
        self.watchdog.stop()
        self.coordinator.close()
        self.progress.stop()
        self.log.close(_LOG_S)

    @property
    def _told_elsewhere(self) -> bool:
        """Whether the chief tells what happened on the same terminal."""
        return self.rank.local and not self.rank.chief and self.coordinator.chief_knows_error

    def _abandon(self, error: KfitError) -> NoReturn:
        """Ends the process from a thread: another worker failed, and the main thread waits for it in a collective."""
        self.record.write_failure(error)
        self.progress.stop()
        if not self._told_elsewhere:
            terminal.echo(f"error: {terminal.error_text(error)}", err=True)
        termination.write(error.exit_code, terminal.error_text(error))
        termination.leave(error.exit_code)

    def _end_stalled(self, error: Stalled) -> None:
        """Ends the run, and this process from a thread: no step is finished any more."""
        ended = self.coordinator.fail(error)
        self._abandon(ended if isinstance(ended, KfitError) else error)
