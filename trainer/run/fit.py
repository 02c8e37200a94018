"""One run from configuration to published model: what `trainer fit` does, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from trainer import storage
from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.checkpoint.run_folder import REPORT, RunFolder
from trainer.checkpoint.store import Snapshot
from trainer.config import Config, Data, SavedModel, duration_s
from trainer.config.automatic import automatic_choices, describe_choices
from trainer.errors import ExitCode
from trainer.feed.pipeline.source import mixing_warnings
from trainer.feed.statistics.prepare import Prepared, prepare
from trainer.local_cache import local_cache
from trainer.progress.progress import Progress, make_progress
from trainer.run import agreement, fetched_code, final_report, nightly_hooks
from trainer.run.nightly_hooks import NightlyRun
from trainer.run.record import Result, versions
from trainer.run.run_files import callbacks_folder, tensorboard_folder
from trainer.run.worker import Worker
from trainer.run_id import new_run_id
from trainer.serving import saved_model
from trainer.training import resume, warm_start
from trainer.training.context import TrainingContext
from trainer.training.preemption import StopRequest
from trainer.training.time_ledger import Ledger, process_age_s
from trainer.workers.rank import ALONE, Rank
from trainer.workers.rendezvous import Finished

if TYPE_CHECKING:
    from trainer.training.training_state import TrainingState


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
        worker = Worker(config, folder, rank, progress, ledger)
        try:
            return _Run(config, worker, devices, stop, date).go()
        except Finished:
            return Result(folder.uri, folder.read_json("result.json") or {}, {})
        except BaseException as error:
            ended = worker.fail(stop.meaning(error))
            if ended is error:
                raise
            raise ended from error
        finally:
            worker.close()


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


class _Run:
    """The phases of one run: each returns what the next one takes. `record` is told too, for a run that fails."""

    def __init__(self, config: Config, worker: Worker, devices: str, stop: StopRequest, date: date | None) -> None:
        self.asked = config  # as the job file has it, windows and all: what a run that goes on must share
        self.worker, self.devices, self.stop, self.date = worker, devices, stop, date
        self.folder, self.store, self.record = worker.folder, worker.store, worker.record
        self.progress, self.ledger = worker.progress, worker.ledger

    def go(self) -> Result:
        several = self.worker.rank.workers > 1
        addresses = self.worker.meet(lambda: _finished(self.folder) is not None) if several else ()
        with fetched_code.on_path(self.asked.code):
            return self._go_on(addresses)

    def _go_on(self, addresses: Sequence[str]) -> Result:
        start = self._begin() if self.worker.rank.chief else self._follow()
        if start.unchanged_since is not None:
            return self._skip(start.unchanged_since)
        prepared = self._prepare(start)
        if start.nightly is not None:
            document, breach = nightly_hooks.check_drift(start.nightly, prepared, versions(), self.progress.note)
            self.record.add(document)
            if breach is not None:
                raise breach
        self.stop.check()
        session = self._compile(start, prepared, addresses)
        with closing(session):
            state = self._train(session, start, prepared)
            if start.nightly is None:
                self.progress.note("trained; waiting for worker 0 to publish the model")
                return Result(self.folder.uri, self.worker.coordinator.finish(None), state.history)
            self.worker.coordinator.training_done()
            self.record.write_metrics(state)
            result = self._publish(session, state, prepared, start.nightly)
            self.worker.coordinator.finish(dict(result.document))
            return result

    def _begin(self) -> _Start:
        """Claims the run, fixes its days, and looks whether its work is done already. The chief alone."""
        earlier, now = self.folder.read_json("config.json"), self.record.started
        chosen = nightly_hooks.choose_date(self.asked, self.folder.run_id, earlier, self.date, now)
        self.record.add(chosen.document)
        snapshot = resume.take_over(self.asked, self.folder, self.store, self.progress.note)
        self.record.claimed = True
        self.worker.log.start()
        if self.worker.gateway is not None:
            self.worker.gateway.begin()
        self.record.write_config()
        nightly = nightly_hooks.begin(self.asked, self.folder, chosen, self.progress.note)
        self.record.add(nightly.document)
        config = self.record.config = nightly.resolved
        same, document = nightly_hooks.find_unchanged(nightly, versions(), self.progress.note)
        self.record.add(document)
        data = config.data.model_dump(mode="json")
        mark = agreement.checkpoint_mark(snapshot)
        self.worker.coordinator.broadcast_json({"mark": mark, "data": data, "unchanged": same})
        return _Start(config, snapshot, same, nightly)

    def _follow(self) -> _Start:
        """The chief's starting point and days, read by this worker itself; only the chief claims the run."""
        told = self.worker.coordinator.broadcast_json()
        if told["unchanged"] is not None:
            return _Start(self.asked, None, told["unchanged"])
        config = self.asked.model_copy(update={"data": Data.model_validate(told["data"])})
        self.record.config = config
        snapshot = resume.starting_point(self.asked, self.folder, self.store, self.progress.note)
        agreement.check_same_checkpoint(self.folder, snapshot, told["mark"])
        return _Start(config, snapshot)

    def _skip(self, same: str) -> Result:
        if not self.worker.rank.chief:
            return Result(self.folder.uri, self.worker.coordinator.finish(None), {})
        self.record.write_config()
        self.progress.note(f"skipped: data, configuration and code are those of {same}")
        result = self.record.end(self.record.document("skipped", ExitCode.DONE, f"unchanged since {same}"), {})
        self.worker.coordinator.finish(dict(result.document))
        return result

    def _prepare(self, start: _Start) -> Prepared:
        """Reads statistics, agrees on them with the other workers, and checks them against earlier runs."""
        if not self.worker.rank.chief:
            agreement.receive_cache(self.worker.coordinator)
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
        if not self.worker.rank.chief:
            agreement.check_same_data(self.worker.coordinator, prepared)
            resume.check_data(self.folder, start.snapshot, prepared.fingerprint)
            return prepared
        agreement.share_data(self.worker.coordinator, self.worker.rank, prepared)
        if chosen := automatic_choices(self.asked.fit, resolved.fit):
            self.progress.note(f"{describe_choices(chosen)}, by {prepared.rows['train']:,} training rows")
        for warning in prepared.warnings:
            self.progress.note(f"warning: {warning}")
        resume.check_data(self.folder, start.snapshot, prepared.fingerprint)
        self.record.write_config()
        return prepared

    def _compile(self, start: _Start, prepared: Prepared, addresses: Sequence[str]) -> Any:
        """Imports TensorFlow, now that the data is known to be whole, and builds the session."""
        self.worker.watchdog.start()
        self.progress.phase("compile")
        with self.ledger.phase("compile"):
            from trainer.tensorflow_import import import_tensorflow

            import_tensorflow()
            self.worker.watchdog.beat()
            from trainer.training.session import Session

            session = Session(prepared.config, prepared, self.devices, self.worker.coordinator, addresses)
        for line in session.notes:
            self.progress.note(line)
        return session

    def _train(self, session: Any, start: _Start, prepared: Prepared) -> TrainingState:
        """Trains to the end, or until it is stopped; returns the state that training ended with."""
        state: TrainingState = session.resume(start.snapshot)
        self.record.state = state
        if start.snapshot is not None:
            cursor = state.cursor
            self.progress.note(f"going on from the checkpoint at epoch {cursor.epoch + 1}, step {cursor.step}")
        elif start.config.fit.warm_start is not None:
            warm_start.copy_weights(start.config.fit.warm_start, session.built, self.progress.note)
        writer = self.record.writer = self._writer(start) if self.worker.rank.chief else NoWriter()
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
            watchdog=self.worker.watchdog,
        )
        rank, check = self.worker.rank, self.store.fence.check
        curves, own = start.config.output.tensorboard and rank.chief, bool(start.config.fit.callbacks)
        with (
            self.ledger.phase("fit"),
            tensorboard_folder(self.folder, enabled=curves) as (board, upload_board),
            callbacks_folder(self.folder, rank.index, check, enabled=own) as (files, upload),
        ):
            try:
                with self.stop.training():
                    uploads = (upload, upload_board)
                    session.fit(replace(context, tensorboard=board, files=files, uploads=uploads))
                    self.worker.watchdog.stop()
                    writer.settle(lambda: self.stop.requested)
            finally:
                self.ledger.add("checkpoint_upload", writer.upload_s)
                self.ledger.add("feed_wait", session.wait_s)
        self.stop.phase = "after the last step"
        if self.stop.requested:
            writer.wait()
            self.stop.check()
        return state

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

    def _publish(self, session: Any, state: TrainingState, prepared: Prepared, nightly: NightlyRun) -> Result:
        """Exports the model, lets the gate decide, and writes the report and the result."""
        from trainer.serving.export import publish
        from trainer.training.validation_rows import REPORT_ROWS

        with self.ledger.phase("export"):
            self.progress.phase("export")
            session.settle(state)
            if prepared.config.fit.calibrate is not None:
                self._calibrate(session)
            publish(self.folder, prepared, session.built, self.store.fence.check)
            rows = session.validation_rows
            labels, predictions = (None, None) if rows is None else rows.predictions()
            influence = [] if rows is None else final_report.influence(rows, prepared)
        self.store.fence.check()
        with self.ledger.phase("gate"):
            self.record.add(nightly_hooks.decide(nightly, self.progress.note))
        document = self.record.document("succeeded", ExitCode.DONE, "trained") | {"warnings": list(prepared.warnings)}
        if labels is not None and predictions is not None:
            whole = prepared.rows["validation"] <= REPORT_ROWS
            document = final_report.judge(document, prepared, labels, predictions, whole=whole, note=self.progress.note)
        page = final_report.page(document, state.history, prepared, labels, predictions, influence)
        self.store.fence.check()
        storage.write(self.folder.path(REPORT), page)
        return self.record.end(document, state.history)
