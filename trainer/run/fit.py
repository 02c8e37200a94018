"""One run from configuration to published model: what `trainer fit` does, in order.

Long because all phases of a run stand here, in their order, each taking what the one before returned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NoReturn

from trainer import storage, termination
from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.checkpoint.run_folder import REPORT, RunFolder
from trainer.checkpoint.store import CheckpointStore, Snapshot
from trainer.config import Config, Data, SavedModel, duration_s
from trainer.config.automatic import automatic_choices, describe_choices
from trainer.errors import ExitCode, KfitError, Stalled
from trainer.feed.pipeline.source import mixing_warnings
from trainer.feed.statistics.prepare import Prepared, prepare
from trainer.local_cache import local_cache
from trainer.nightly import pushgateway
from trainer.progress import terminal
from trainer.progress.progress import Progress, make_progress
from trainer.run import agreement, fetched_code, final_report, nightly_hooks
from trainer.run.kept_log import KeptLog
from trainer.run.nightly_hooks import NightlyRun
from trainer.run.record import Record, Result
from trainer.run.result import versions
from trainer.run.run_files import callbacks_folder, tensorboard_folder
from trainer.run_id import new_run_id
from trainer.serving import saved_model
from trainer.training import resume, warm_start
from trainer.training.context import TrainingContext
from trainer.training.preemption import StopRequest
from trainer.training.stall_watchdog import StallWatchdog
from trainer.training.time_ledger import Ledger, process_age_s
from trainer.workers.coordinator import Coordinator, SingleWorker
from trainer.workers.rank import ALONE, Rank
from trainer.workers.rendezvous import Finished

#: How long the end of a run may wait for the last lines of its log to be stored.
_LOG_S = 10.0


def fit(
    config: Config,
    *,
    run_id: str | None = None,
    devices: str = "auto",
    progress: Progress | None = None,
    date: date | None = None,
    rank: Rank = ALONE,
) -> Result:
    """Trains, and leaves in `<output.uri>/runs/<run id>/` what the design lists.

    The same run id again goes on from the newest checkpoint, or does nothing where the run has succeeded.

    Args:
        config: The job file's `run:` key.
        run_id: The run's name; a new one by default.
        devices: `auto`, `gpu`, `cpu` or `cpu:N`.
        progress: What shows a person how it goes. Default: a bar on a terminal, lines elsewhere.
        date: The logical date that windows of days are counted from. Default: the schedule's, else today.
        rank: Which worker of the run this process is, where there are several. If another worker fails while
            this one is in the midst of a step, the process ends with the run's exit code.

    Returns:
        The result.

    Raises:
        KfitError: Anything a person can act on; `result.json` says the same wherever storage is in reach.
    """
    folder = RunFolder(config.output.uri, run_id or new_run_id("run"))
    progress = progress or make_progress()
    ledger = Ledger()
    ledger.add("start", process_age_s())
    if done := _finished(folder):
        progress.note(f"run {folder.run_id} has {done['status']} already; nothing to do{_more_epochs(config, done)}")
        return Result(folder.uri, done, {})
    with StopRequest() as stop:
        run = _Run(config, folder, devices, progress, ledger, stop, date, rank)
        try:
            return run.go()
        except Finished:
            return Result(folder.uri, folder.read_json("result.json") or {}, {})
        except BaseException as error:
            ended = run.coordinator.fail(stop.meaning(error))
            run.record.write_failure(ended)
            if isinstance(ended, KfitError):
                ended.told = run.told_elsewhere
            if ended is error:
                raise
            raise ended from error
        finally:
            run.watchdog.stop()
            run.coordinator.close()
            progress.stop()
            run.log.close(_LOG_S)


def _finished(folder: RunFolder) -> dict[str, Any] | None:
    done = folder.read_json("result.json")
    return done if done is not None and done["status"] in ("succeeded", "skipped") else None


def _more_epochs(config: Config, done: Mapping[str, Any]) -> str:
    if config.fit.epochs == "auto" or config.fit.epochs <= int(done.get("epochs") or 0) or done.get("stopped_early"):
        return ""
    return f"; for more epochs begin a new run with run.fit.extend: {done['run']}"


@dataclass(frozen=True)
class _Start:
    """Where a run begins.

    Attributes:
        config: Its configuration; windows of days are days.
        snapshot: The checkpoint it goes on from, None for a new run.
        unchanged_since: The run that has done its work already, if there is one.
        nightly: Its days and what serves; None for a worker that follows the chief.
    """

    config: Config
    snapshot: Snapshot | None
    unchanged_since: str | None = None
    nightly: NightlyRun | None = None


@dataclass(frozen=True)
class _Trained:
    """The session with the model, and the state that training ended with."""

    session: Any
    state: Any


class _Run:
    """The phases of one run: each returns what the next one takes. `record` is told too, for a run that fails."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        devices: str,
        progress: Progress,
        ledger: Ledger,
        stop: StopRequest,
        date: date | None,
        rank: Rank,
    ) -> None:
        self.folder, self.devices = folder, devices
        self.asked = config  # as the job file has it, windows and all: what a run that goes on must share
        self.progress, self.ledger, self.stop = progress, ledger, stop
        self.date, self.rank = date, rank
        self.coordinator: Coordinator | SingleWorker = SingleWorker()
        self.store = CheckpointStore(folder, keep=config.output.checkpoint.keep, note=progress.note)
        self.log = KeptLog(folder, self.store.fence)
        if rank.chief:
            self.log.attach(progress)
        self.gateway = None
        if rank.chief and config.metrics is not None:
            uri, run_id = folder.output_uri, folder.run_id
            self.gateway = pushgateway.attach(config.metrics, uri, run_id, progress, os.environ)
        self.record = Record(config, folder, self.store.fence, progress, ledger, self.log, self.gateway)
        stall = config.fit.stall
        limit_s = None if stall == "never" else duration_s(stall)
        self.watchdog = StallWatchdog(limit_s, self._end_stalled, heartbeat=os.environ.get("KFIT_HEARTBEAT"))

    def go(self) -> Result:
        addresses = self._meet() if self.rank.workers > 1 else ()
        with fetched_code.on_path(self.asked.code):
            return self._go_on(addresses)

    def _go_on(self, addresses: Sequence[str]) -> Result:
        start = self._begin() if self.rank.chief else self._follow()
        if start.unchanged_since is not None:
            return self._skip(start.unchanged_since)
        prepared = self._prepare(start)
        if start.nightly is not None:
            drift = nightly_hooks.check_drift(start.nightly, prepared, versions(), self.progress.note)
            self.record.add(drift.document)
            drift.raise_for_breaches()
        self.stop.check()
        session = self._compile(start, prepared, addresses)
        with closing(session):
            trained = self._train(session, start, prepared)
            if start.nightly is None:
                self.progress.note("trained; waiting for worker 0 to publish the model")
                return Result(self.folder.uri, self.coordinator.finish(None), trained.state.history)
            self.coordinator.training_done()
            self.record.write_metrics(trained.state)
            result = self._publish(trained, start, prepared, start.nightly)
            self.coordinator.finish(dict(result.document))
            return result

    def _meet(self) -> Sequence[str]:
        """Waits for the other workers; returns the addresses of all, none for a run that begins with one."""
        self.coordinator, met = agreement.meet_workers(
            self.rank,
            self.folder,
            self.asked,
            note=self.progress.note,
            finished=lambda: _finished(self.folder) is not None,
            abandon=self._abandon,
        )
        self.rank = met.rank
        return met.addresses if met.rank.workers > 1 else ()

    def _begin(self) -> _Start:
        """Claims the run, fixes its days, and looks whether its work is done already. The chief alone."""
        earlier, now = self.folder.read_json("config.json"), self.record.started
        chosen = nightly_hooks.choose_date(self.asked, self.folder.run_id, earlier, self.date, now)
        self.record.add(chosen.document)
        snapshot = resume.take_over(self.asked, self.folder, self.store, self.progress.note)
        self.record.claimed = True
        self.log.start()
        if self.gateway is not None:
            self.gateway.begin()
        self.record.write_config()
        nightly = nightly_hooks.begin(self.asked, self.folder, chosen, self.progress.note)
        self.record.add(nightly.document)
        config = self.record.config = nightly.resolved
        unchanged = nightly_hooks.find_unchanged(nightly, versions(), self.progress.note)
        self.record.add(unchanged.document)
        data = config.data.model_dump(mode="json")
        mark = agreement.checkpoint_mark(snapshot)
        self.coordinator.broadcast_json({"mark": mark, "data": data, "unchanged": unchanged.run})
        return _Start(config, snapshot, unchanged.run, nightly)

    def _follow(self) -> _Start:
        """The chief's starting point and days, read by this worker itself; only the chief claims the run."""
        told = self.coordinator.broadcast_json()
        if told["unchanged"] is not None:
            return _Start(self.asked, None, told["unchanged"])
        config = self.asked.model_copy(update={"data": Data.model_validate(told["data"])})
        self.record.config = config
        snapshot = resume.starting_point(self.asked, self.folder, self.store, self.progress.note)
        agreement.check_same_checkpoint(self.folder, snapshot, told["mark"])
        return _Start(config, snapshot)

    @property
    def told_elsewhere(self) -> bool:
        """Whether the chief tells what happened on the same terminal."""
        return self.rank.local and not self.rank.chief and self.coordinator.chief_knows_error

    def _abandon(self, error: KfitError) -> NoReturn:
        """Ends the process from a thread: another worker failed, and the main thread waits for it in a collective."""
        self.record.write_failure(error)
        self.progress.stop()
        if not self.told_elsewhere:
            terminal.echo(f"error: {terminal.error_text(error)}", err=True)
        termination.write(error.exit_code, terminal.error_text(error))
        termination.leave(error.exit_code)

    def _end_stalled(self, error: Stalled) -> None:
        """Ends the run, and this process from a thread: no step is finished any more."""
        ended = self.coordinator.fail(error)
        self._abandon(ended if isinstance(ended, KfitError) else error)

    def _skip(self, same: str) -> Result:
        if not self.rank.chief:
            return Result(self.folder.uri, self.coordinator.finish(None), {})
        self.record.write_config()
        self.progress.note(f"skipped: data, configuration and code are those of {same}")
        result = self.record.end(self.record.document("skipped", ExitCode.DONE, f"unchanged since {same}"), {})
        self.coordinator.finish(dict(result.document))
        return result

    def _prepare(self, start: _Start) -> Prepared:
        """Reads statistics, agrees on them with the other workers, and checks them against earlier runs."""
        if not self.rank.chief:
            agreement.receive_cache(self.coordinator)
        model = start.config.model
        published = saved_model.published_at(model) if isinstance(model, SavedModel) else None
        with self.ledger.phase("statistics"):
            prepared = prepare(
                start.config,
                cache=local_cache(),
                progress=lambda done, total: self.progress.phase("statistics", done, total),
            )
            if start.config.fit.warm_start is not None:
                prepared = warm_start.with_vocabularies_of(start.config.fit.warm_start, prepared)
            if published is not None:
                prepared = warm_start.with_packing_of(published, prepared)
        resolved = resume.with_choices_of(start.snapshot, self.asked, prepared.config)
        prepared = replace(prepared, config=resolved, warnings=(*prepared.warnings, *mixing_warnings(prepared)))
        self.record.config, self.record.prepared = resolved, prepared
        if not self.rank.chief:
            agreement.check_same_data(self.coordinator, prepared)
            resume.check_data(self.folder, start.snapshot, prepared.fingerprint)
            return prepared
        agreement.share_data(self.coordinator, self.rank, prepared)
        if chosen := automatic_choices(self.asked.fit, resolved.fit):
            self.progress.note(f"{describe_choices(chosen)}, by {prepared.rows['train']:,} training rows")
        for warning in prepared.warnings:
            self.progress.note(f"warning: {warning}")
        resume.check_data(self.folder, start.snapshot, prepared.fingerprint)
        self.record.write_config()
        return prepared

    def _compile(self, start: _Start, prepared: Prepared, addresses: Sequence[str]) -> Any:
        """Imports TensorFlow, now that the data was found whole, and builds the session."""
        self.watchdog.start()
        self.progress.phase("compile")
        with self.ledger.phase("compile"):
            from trainer.tensorflow_import import import_tensorflow

            import_tensorflow()
            self.watchdog.beat()
            from trainer.training.session import Session

            session = Session(prepared.config, prepared, self.devices, self.coordinator, addresses)
        for line in session.notes:
            self.progress.note(line)
        return session

    def _train(self, session: Any, start: _Start, prepared: Prepared) -> _Trained:
        state = self.record.state = session.resume(start.snapshot)
        if start.snapshot is not None:
            cursor = state.cursor
            self.progress.note(f"going on from the checkpoint at epoch {cursor.epoch + 1}, step {cursor.step}")
        elif start.config.fit.warm_start is not None:
            warm_start.copy_weights(start.config.fit.warm_start, session.built, self.progress.note)
        writer = self.record.writer = self._writer(start) if self.rank.chief else NoWriter()
        context = TrainingContext(
            state=state,
            writer=writer,
            progress=self.progress,
            ledger=self.ledger,
            stop=self.stop,
            identity={
                "shaping": resume.resume_signature(self.asked),
                "fingerprint": prepared.fingerprint,
                "automatic": automatic_choices(self.asked.fit, prepared.config.fit),
            },
            watchdog=self.watchdog,
        )
        enabled = start.config.output.tensorboard and self.rank.chief
        own = bool(start.config.fit.callbacks)
        with (
            self.ledger.phase("fit"),
            tensorboard_folder(self.folder, enabled=enabled) as (board, upload_board),
            callbacks_folder(self.folder, self.rank.index, self.store.fence.check, enabled=own) as (files, upload),
        ):
            try:
                with self.stop.training():
                    uploads = (upload, upload_board)
                    session.fit(replace(context, tensorboard=board, files=files, uploads=uploads))
                    self.watchdog.stop()
                    writer.settle(lambda: self.stop.requested)
            finally:
                self.ledger.add("checkpoint_upload", writer.upload_s)
                self.ledger.add("feed_wait", session.wait_s)
        self.stop.phase = "after the last step"
        if self.stop.requested:
            writer.wait()
            self.stop.check()
        return _Trained(session, state)

    def _writer(self, start: _Start) -> AsyncWriter:
        return AsyncWriter(
            self.store,
            self.progress.note,
            committed=self.progress.checkpoint,
            resumed=start.snapshot,
            patience_s=duration_s(start.config.output.checkpoint.patience),
            grace_s=float(os.environ["KFIT_GRACE_S"]) if os.environ.get("KFIT_GRACE_S") else None,
        )

    def _calibrate(self, session: Any) -> None:
        calibrated = session.validation_rows.calibrate()
        if calibrated is None:
            self.progress.note("warning: not calibrated: the validation rows are of one class")
            return
        self.progress.note(str(calibrated))
        self.record.add({"calibration": calibrated.as_json()})

    def _publish(self, trained: _Trained, start: _Start, prepared: Prepared, nightly: NightlyRun) -> Result:
        """Exports the model, lets the gate decide, and writes the report and the result."""
        from trainer.serving.export import publish
        from trainer.training.validation_rows import REPORT_ROWS

        session, state = trained.session, trained.state
        with self.ledger.phase("export"):
            self.progress.phase("export")
            session.settle(state)
            if prepared.config.fit.calibrate is not None:
                self._calibrate(session)
            publish(self.folder, prepared, session.built, self.store.fence.check)
            rows = session.validation_rows
            labels, predictions = (None, None) if rows is None else rows.predictions()
            found = [] if rows is None else final_report.influence(rows, prepared)
        self.store.fence.check()
        with self.ledger.phase("gate"):
            self.record.add(nightly_hooks.decide(nightly, self.progress.note))
        document = self.record.document("succeeded", ExitCode.DONE, "trained") | {"warnings": list(prepared.warnings)}
        if labels is not None and predictions is not None:
            whole = prepared.rows["validation"] <= REPORT_ROWS
            document = final_report.judge(document, prepared, labels, predictions, whole=whole, note=self.progress.note)
        page = final_report.page(document, state.history, prepared, prepared.config, labels, predictions, found)
        self.store.fence.check()
        storage.write(self.folder.path(REPORT), page)
        return self.record.end(document, state.history)
