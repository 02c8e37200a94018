"""One run from configuration to published model: what `trainer fit` does, in order."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from trainer import __version__, storage, termination
from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.checkpoint.store import CheckpointStore, Snapshot
from trainer.config import Config, Data, duration_s
from trainer.config.automatic import automatic_choices, describe_choices
from trainer.errors import ExitCode, KfitError, PeerLost, Stalled
from trainer.feed.pipeline.window_checks import mixing_warnings
from trainer.feed.statistics.prepare import Prepared, prepare
from trainer.local_cache import local_cache
from trainer.progress import terminal
from trainer.progress.progress import Progress, make_progress
from trainer.run.nightly_hooks import Night
from trainer.run.record import LAST_WORDS_S, Record, Result
from trainer.run.result import exact_metrics, versions
from trainer.training import resume, warm_start
from trainer.training.context import TrainingContext
from trainer.training.preemption import StopRequest
from trainer.training.stall_watchdog import StallWatchdog
from trainer.training.time_ledger import Ledger, process_age_s
from trainer.workers import cache_transfer
from trainer.workers.coordinator import Coordinator, SingleWorker
from trainer.workers.rank import ALONE, Rank
from trainer.workers.rendezvous import Finished, Rendezvous, meet

#: How long workers wait for each other at the start: a queue lets pods in together, an autoscaler does not.
_MEETING_S = 900.0


def new_run_id(name: str) -> str:
    """A run id that sorts by time and collides with no other."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


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
        night = Night(config, folder, date, progress.note)
        run = _Run(config, folder, devices, progress, ledger, stop, night, rank)
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


def _finished(folder: RunFolder) -> dict[str, Any] | None:
    done = folder.read_json("result.json")
    return done if done is not None and done["status"] in ("succeeded", "skipped") else None


def _more_epochs(config: Config, done: Mapping[str, Any]) -> str:
    if config.fit.epochs == "auto" or config.fit.epochs <= int(done.get("epochs") or 0) or done.get("stopped_early"):
        return ""
    return f"; for more epochs begin a new run with run.fit.extend: {done['run']}"


class _Run:
    """The steps of one run, and what the later ones need of the earlier."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        devices: str,
        progress: Progress,
        ledger: Ledger,
        stop: StopRequest,
        night: Night,
        rank: Rank,
    ) -> None:
        self.folder, self.devices = folder, devices
        #: As the job file has it: its windows are not yet days. What a run that goes on must share.
        self.asked = config
        self.progress, self.ledger, self.stop, self.night = progress, ledger, stop, night
        self.rank = rank
        self.coordinator: Coordinator | SingleWorker = SingleWorker()
        self.met: Rendezvous | None = None
        self.store = CheckpointStore(folder, keep=config.output.checkpoint.keep, note=progress.note)
        self.record = Record(config, folder, self.store.fence, night, progress, ledger)
        stall = config.fit.stall
        self.watchdog = StallWatchdog(None if stall == "never" else duration_s(stall), self._end_stalled)

    def go(self) -> Result:
        if self.rank.workers > 1:
            self._meet()
        snapshot, same = self._begin() if self.rank.chief else self._follow()
        if same is not None:
            return self._skip(same)
        prepared = self._prepare(snapshot)
        self.stop.check()
        self.watchdog.start()
        self.progress.phase("compile")
        with self.ledger.phase("compile"):
            from trainer.tensorflow_import import import_tensorflow

            import_tensorflow()
            self.watchdog.beat()
            from trainer.training.session import Session  # TensorFlow comes in here, after the data was found whole

            addresses = self.met.addresses if self.met else ()
            session = Session(self.record.config, prepared, self.devices, self.coordinator, addresses)
        with ExitStack() as closing:
            closing.callback(session.close)
            self.record.memory = session.resume(snapshot)
            if snapshot is not None:
                cursor = self.record.memory.cursor
                self.progress.note(f"going on from the checkpoint at epoch {cursor.epoch + 1}, step {cursor.step}")
            elif self.record.config.fit.warm_start is not None:
                session.warm_start(self.record.config.fit.warm_start, self.progress.note)
            self._fit(session, snapshot)
            if not self.rank.chief:
                self.progress.note("trained; waiting for worker 0 to publish the model")
                return Result(self.folder.uri, self.coordinator.finish(None), self.record.memory.history)
            self.coordinator.training_done()
            self.record.write_metrics()
            result = self._publish(session)
            self.coordinator.finish(dict(result.document))
            return result

    def _meet(self) -> None:
        identity = {
            "run": self.folder.uri,
            "configuration": hashlib.sha256(self.record.config.model_dump_json().encode()).hexdigest(),
            "version": __version__,
        }
        deadline_s = float(os.environ.get("KFIT_MEETING_S") or _MEETING_S)
        self.met = met = meet(
            self.rank,
            identity,
            deadline_s=deadline_s,
            note=self.progress.note,
            finished=lambda: _finished(self.folder) is not None,
        )
        self.coordinator = Coordinator(self.rank, met.connections, self._abandon)
        self.progress.note(f"worker {self.rank.index} of {self.rank.workers}; all are there")

    def _begin(self) -> tuple[Snapshot | None, str | None]:
        """Where the run begins, and the run that has done its work already, if there is one."""
        self.night.remember(self.folder.read_json("config.json"))
        snapshot = resume.take_over(self.asked, self.folder, self.store, self.progress.note)
        self.record.claimed = True
        self.record.write_config()
        self.record.config = self.night.begin()
        same = self.night.unchanged(versions())
        data = self.record.config.data.model_dump(mode="json")
        self.coordinator.broadcast_json({"mark": _mark(snapshot), "data": data, "unchanged": same})
        return snapshot, same

    def _follow(self) -> tuple[Snapshot | None, str | None]:
        """The chief's starting point and days, read by this worker itself; only the chief claims the run."""
        told = self.coordinator.broadcast_json()
        if told["unchanged"] is not None:
            return None, told["unchanged"]
        self.record.config = self.record.config.model_copy(update={"data": Data.model_validate(told["data"])})
        snapshot = resume.starting_point(self.asked, self.folder, self.store, self.progress.note)
        if _mark(snapshot) != told["mark"]:
            raise PeerLost(
                "this worker found another checkpoint than worker 0",
                where=self.folder.uri,
                remedy="all workers start again and go on from the newest checkpoint",
            )
        return snapshot, None

    @property
    def told_elsewhere(self) -> bool:
        """Whether the chief tells what happened on the same terminal."""
        return self.rank.local and not self.rank.chief and self.coordinator.chief_knows_error

    def _abandon(self, error: KfitError) -> NoReturn:
        """Ends the process from a thread: another worker failed, and the main thread waits for it in a collective."""
        self.record.write_failure(error)
        self.progress.stop()
        if not self.told_elsewhere:
            terminal.echo(f"error: {error}", err=True)
        termination.write(error.exit_code, str(error))
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

    def _prepare(self, snapshot: Snapshot | None) -> Prepared:
        if not self.rank.chief:
            cache_transfer.unpack(self.coordinator.broadcast_bytes(), local_cache())
        with self.ledger.phase("statistics"):
            prepared = prepare(
                self.record.config,
                cache=local_cache(),
                progress=lambda done, total: self.progress.phase("statistics", done, total),
            )
            if self.record.config.fit.warm_start is not None:
                prepared = warm_start.with_vocabularies_of(self.record.config.fit.warm_start, prepared)
        resolved = resume.with_choices_of(snapshot, self.asked, prepared.config)
        prepared = replace(prepared, config=resolved, warnings=(*prepared.warnings, *mixing_warnings(prepared)))
        self.record.config, self.record.prepared = resolved, prepared
        if not self.rank.chief:
            return self._same_data(snapshot, prepared)
        self._pass_on(prepared)
        if chosen := automatic_choices(self.asked.fit, resolved.fit):
            self.progress.note(f"{describe_choices(chosen)}, by {prepared.rows['train']:,} training rows")
        for warning in prepared.warnings:
            self.progress.note(f"warning: {warning}")
        resume.check_data(self.folder, snapshot, prepared.fingerprint)
        self.record.write_config()
        self.night.check(prepared, versions())
        return prepared

    def _pass_on(self, prepared: Prepared) -> None:
        if self.rank.workers > 1:  # those of one machine have the same cache
            self.coordinator.broadcast_bytes(b"" if self.rank.local else cache_transfer.packed(local_cache()))
            self.coordinator.broadcast_json(_data_mark(prepared))

    def _same_data(self, snapshot: Snapshot | None, prepared: Prepared) -> Prepared:
        if self.coordinator.broadcast_json() != _data_mark(prepared):
            raise PeerLost(
                "this worker sees other data, or other statistics of it, than worker 0",
                where="run.data",
                remedy="all workers start again; write new data beside the old, never over it",
            )
        resume.check_data(self.folder, snapshot, prepared.fingerprint)
        return prepared

    def _fit(self, session: Any, snapshot: Snapshot | None) -> None:
        assert self.record.prepared is not None
        extra = {"shaping": resume.resume_signature(self.asked), "fingerprint": self.record.prepared.fingerprint}
        extra["automatic"] = automatic_choices(self.asked.fit, self.record.config.fit)
        self.record.writer = writer = self._writer(snapshot) if self.rank.chief else NoWriter()
        with tempfile.TemporaryDirectory(prefix="kfit-tensorboard-") as scratch, self.ledger.phase("fit"):
            target = self.folder.path("tensorboard")
            local = storage.local_path(target)
            board = str(local or scratch) if self.record.config.output.tensorboard and self.rank.chief else None
            curves = Path(scratch) if board is not None and local is None else None
            try:
                with self.stop.training():
                    session.fit(
                        TrainingContext(
                            state=self.record.memory,
                            writer=writer,
                            progress=self.progress,
                            ledger=self.ledger,
                            stop=self.stop,
                            identity=extra,
                            watchdog=self.watchdog,
                            tensorboard=board,
                        )
                    )
                    self.watchdog.stop()
                    writer.settle(lambda: self.stop.requested)
            except BaseException:
                if curves is not None:
                    termination.within(LAST_WORDS_S, lambda: storage.upload_folder(curves, target))
                raise
            else:
                if curves is not None:
                    storage.upload_folder(curves, target)
            finally:
                self.ledger.add("checkpoint_upload", writer.upload_s)
                self.ledger.add("feed_wait", session.wait_s)
        self.stop.phase = "after the last step"
        if self.stop.requested:
            writer.wait()
            self.stop.check()

    def _writer(self, snapshot: Snapshot | None) -> AsyncWriter:
        return AsyncWriter(
            self.store,
            self.progress.note,
            committed=self.progress.checkpoint,
            resumed=snapshot,
            patience_s=duration_s(self.record.config.output.checkpoint.patience),
            grace_s=float(os.environ["KFIT_GRACE_S"]) if os.environ.get("KFIT_GRACE_S") else None,
        )

    def _publish(self, session: Any) -> Result:
        assert self.record.prepared is not None
        assert self.record.writer is not None
        from trainer.report.page import ReportData, render
        from trainer.serving.export import publish
        from trainer.training.session import REPORT_ROWS

        with self.ledger.phase("export"):
            self.progress.phase("export")
            session.settle(self.record.memory)
            publish(self.folder, self.record.prepared, session.built, self.store.fence.check)
            labels, predictions = session.validation_predictions()
        self.store.fence.check()
        with self.ledger.phase("gate"):
            self.night.decide()
        document = self.record.document("succeeded", ExitCode.DONE, "trained")
        if labels is not None and self.record.prepared.rows["validation"] <= REPORT_ROWS:
            watched = document["metrics"]["validation"]
            exact, undefined = exact_metrics(watched, self.record.config.task, labels, predictions)
            watched |= exact
            for line in undefined:
                self.progress.note(f"warning: {line}")
        page = render(
            ReportData(
                result=document,
                history=self.record.memory.history,
                statistics=self.record.prepared.statistics["train"],
                layout=self.record.prepared.layout,
                config=self.record.config.model_dump(mode="json"),
                labels=labels,
                predictions=predictions,
                warnings=self.record.prepared.warnings,
            )
        )
        self.store.fence.check()
        storage.write(self.folder.path("report.html"), page.encode())
        return self.record.end(document, self.record.memory.history)


def _mark(snapshot: Snapshot | None) -> str:
    """Tells one checkpoint from another."""
    return hashlib.sha256(to_json(snapshot.state if snapshot else None)).hexdigest()


def _data_mark(prepared: Prepared) -> str:
    """Tells whether two workers know the same of the data: what they do not must not go into their models."""
    return hashlib.sha256(repr([prepared.fingerprint, prepared.layout, prepared.statistics]).encode()).hexdigest()
