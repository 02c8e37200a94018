"""One run from configuration to published model: what `trainer fit` does, in order."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainer import storage
from trainer.config import Config
from trainer.errors import ConfigError, ExitCode, KfitError, Preempted
from trainer.feed.prepare import Prepared, prepare
from trainer.run.checkpoints import AsyncWriter, CheckpointStore, Snapshot
from trainer.run.folder import RunFolder, to_json
from trainer.run.ledger import Ledger, process_age_s
from trainer.run.night import Night
from trainer.run.progress import Progress, make_progress

#: Keys of the configuration that decide the weights; a run goes on only with these unchanged.
_NOT_SHAPING = {
    *("output", "data.memory", "data.on_bad_shard", "data.max_bad_shards", "fit.epochs", "fit.jit_compile"),
    *("data.holdout", "data.checks", "data.unchanged", "promote", "notify"),
}


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        uri: The run's folder.
        document: `result.json`.
        history: Keras `History.history`: name -> one value an epoch; empty where nothing was to do.
    """

    uri: str
    document: Mapping[str, Any]
    history: Mapping[str, list[float]]


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
) -> Result:
    """Trains, and leaves in `<output.uri>/runs/<run id>/` what the design lists.

    The same run id again goes on from the newest checkpoint, or does nothing where the run has succeeded.

    Args:
        config: The job file's `run:` key.
        run_id: The run's name; a new one by default.
        devices: `auto`, `gpu`, `cpu` or `cpu:N`.
        progress: What shows a person how it goes. Default: a bar on a terminal, lines elsewhere.
        date: The logical date that windows of days are counted from. Default: the schedule's, else today.

    Returns:
        The result.

    Raises:
        KfitError: Anything a person can act on; `result.json` says the same wherever storage is in reach.
    """
    folder = RunFolder(config.output.uri, run_id or new_run_id("run"))
    progress = progress or make_progress()
    ledger = Ledger()
    ledger.add("start", process_age_s())
    done = folder.read_json("result.json")
    if done is not None and done["status"] in ("succeeded", "skipped"):
        progress.note(f"run {folder.run_id} has {done['status']} already; nothing to do")
        return Result(folder.uri, done, {})
    run = _Run(config, folder, devices, progress, ledger, Night(config, folder, date, progress.note))
    try:
        return run.go()
    except BaseException as error:
        run.write_failure(error)
        raise
    finally:
        progress.stop()


class _Run:
    """The steps of one run, and what the later ones need of the earlier."""

    def __init__(
        self, config: Config, folder: RunFolder, devices: str, progress: Progress, ledger: Ledger, night: Night
    ) -> None:
        self.config, self.folder, self.devices = config, folder, devices
        self.progress, self.ledger, self.night = progress, ledger, night
        self.prepared: Prepared | None = None
        self.memory: Any = None
        self._writable = False

    def go(self) -> Result:
        if (same := self._begin()) is not None:
            return self._skip(same)
        prepared = self._prepare()
        store = CheckpointStore(self.folder, keep=self.config.output.checkpoint.keep, note=self.progress.note)
        snapshot = store.newest()
        self._check_resumable(snapshot)
        self.progress.phase("compile")
        with self.ledger.phase("compile"):
            from trainer.quiet import import_tensorflow

            import_tensorflow()
            from trainer.run.session import Session  # TensorFlow comes in here, after the data was found whole

            session = Session(self.config, prepared, self.devices)
        with ExitStack() as closing:
            closing.callback(session.close)
            writer = AsyncWriter(store, self.progress.note)
            self.memory = session.resume(snapshot)
            if snapshot is not None:
                cursor = self.memory.cursor
                self.progress.note(f"going on from the checkpoint at epoch {cursor.epoch + 1}, step {cursor.step}")
            self._fit(session, writer)
            self._write_metrics()
            return self._publish(session, writer)

    def _begin(self) -> str | None:
        """The run that has done this one's work already; None where there is something to do."""
        before = self.folder.read_json("config.json")
        self.night.remember(before)
        self._write_config(None)
        self._writable = True
        self.config = self.night.begin()
        return self.night.unchanged(versions())

    def _skip(self, same: str) -> Result:
        self._write_config(None)
        self.progress.note(f"skipped: data, configuration and code are those of {same}")
        return self._end(self._document("skipped", ExitCode.DONE, f"unchanged since {same}"), {})

    def _end(self, document: dict[str, Any], history: Mapping[str, list[float]]) -> Result:
        """Writes result.json, the last thing a run leaves of its own, and lets others know."""
        self.folder.write_json("result.json", document)
        self.night.tell(document)
        return Result(self.folder.uri, document, history)

    def _prepare(self) -> Prepared:
        with self.ledger.phase("statistics"):
            cache = local_cache()
            self.prepared = prepare(
                self.config, cache=cache, progress=lambda done, total: self.progress.phase("statistics", done, total)
            )
        for warning in self.prepared.warnings:
            self.progress.note(f"warning: {warning}")
        self._write_config(self.prepared)
        self.night.check(self.prepared, versions())
        return self.prepared

    def _write_config(self, prepared: Prepared | None) -> None:
        """Also shows, before anything is computed, that the output can be written."""
        self.folder.write_json(
            "config.json",
            {
                "run": self.folder.run_id,
                "config": self.config.model_dump(mode="json"),
                "config_hash": shaping_hash(self.config),
                "versions": versions(),
                "git_commit": os.environ.get("KFIT_GIT_COMMIT"),
                **self.night.record(),
                "fingerprint": prepared.fingerprint if prepared else None,
                "shards": [
                    {"uri": s.uri, "size_bytes": s.size_bytes, "version": s.version, "rows": s.rows}
                    for s in prepared.shards
                ]
                if prepared
                else [],
            },
        )

    def _check_resumable(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        before, now = snapshot.state["shaping"], shaping(self.config)
        changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if changed:
            shown = "; ".join(f"{k}: {before.get(k)!r} -> {now.get(k)!r}" for k in changed)
            raise ConfigError(
                f"the run began with another configuration: {shown}",
                where=f"--run {self.folder.run_id}",
                remedy="give it back, or begin a new run with another --run",
            )
        if self.prepared is not None and snapshot.state["fingerprint"] != self.prepared.fingerprint:
            raise ConfigError(
                "the data changed since the run began",
                where=f"--run {self.folder.run_id}",
                remedy="begin a new run with another --run",
            )

    def _fit(self, session: Any, writer: AsyncWriter) -> None:
        assert self.prepared is not None
        extra = {"shaping": shaping(self.config), "fingerprint": self.prepared.fingerprint}
        with tempfile.TemporaryDirectory(prefix="kfit-tensorboard-") as scratch, self.ledger.phase("fit"):
            target = self.folder.path("tensorboard")
            local = storage.local_path(target)
            board = str(local or scratch) if self.config.output.tensorboard else None
            try:
                session.fit(self.memory, writer, self.progress, self.ledger, board, extra)
            finally:
                writer.join()
                self.ledger.add("checkpoint_upload", writer.upload_s)
                self.ledger.add("feed_wait", session.wait_s)
                if board is not None and local is None:
                    storage.upload_folder(Path(scratch), target)

    def _write_metrics(self) -> None:
        lines = "".join(
            json.dumps(json.loads(to_json(line)), separators=(",", ":")) + "\n" for line in self.memory.lines
        )
        storage.write(self.folder.path("metrics.jsonl"), lines.encode())

    def _publish(self, session: Any, writer: AsyncWriter) -> Result:
        assert self.prepared is not None
        from trainer.run.export import publish
        from trainer.run.report import ReportData, render

        with self.ledger.phase("export"):
            self.progress.phase("export")
            session.settle(self.memory)
            if not self.night.serves:
                publish(self.folder, self.prepared, session.features, session.built)
            labels, predictions = session.validation_predictions()
        with self.ledger.phase("gate"):
            self.night.decide()
        document = self._document("succeeded", ExitCode.DONE, "trained")
        page = render(
            ReportData(
                result=document,
                history=self.memory.history,
                statistics=self.prepared.statistics["train"],
                layout=self.prepared.layout,
                config=self.config.model_dump(mode="json"),
                labels=labels,
                predictions=predictions,
                warnings=self.prepared.warnings,
            )
        )
        storage.write(self.folder.path("report.html"), page.encode())
        writer.join()
        return self._end(document, self.memory.history)

    def write_failure(self, error: BaseException) -> None:
        """`result.json` of a run that did not succeed, wherever storage is in reach; the error goes on."""
        if not self._writable:
            return
        preempted = isinstance(error, Preempted)
        code = error.exit_code if isinstance(error, KfitError) else ExitCode.PROGRAM
        reason = str(error) if isinstance(error, KfitError) else f"{type(error).__name__}: {error}"
        try:
            if self.memory is not None:
                self._write_metrics()
            self._end(self._document("preempted" if preempted else "failed", code, reason), {})
        except KfitError as unreachable:
            self.progress.note(f"result.json was not written: {unreachable.what}")

    def _document(self, status: str, code: ExitCode, reason: str) -> dict[str, Any]:
        memory, prepared = self.memory, self.prepared
        history: dict[str, list[float]] = memory.history if memory else {}
        epochs = max(map(len, history.values()), default=0)
        best = memory.best_epoch if memory and memory.best_epoch >= 0 else None
        stop = self.config.fit.early_stopping
        chosen = best if stop and stop.restore_best_weights and best is not None else epochs - 1
        at = {name: values[chosen] for name, values in history.items() if epochs and chosen < len(values)}
        return {
            "run": self.folder.run_id,
            "status": status,
            "exit_code": int(code),
            "reason": reason,
            "task": self.config.task,
            "metrics": {
                "train": {n: v for n, v in at.items() if not n.startswith("val_") and n != "learning_rate"},
                "validation": {n.removeprefix("val_"): v for n, v in at.items() if n.startswith("val_")},
            },
            "epochs": epochs,
            "stopped_early": bool(memory and memory.stopped_early),
            "best_epoch": best + 1 if best is not None else None,
            "steps": memory.cursor.total if memory else 0,
            "rows": {name: (prepared.rows.get(name, 0) if prepared else 0) for name in ("train", "validation")},
            "bad_shards": list(prepared.bad_shards) if prepared else [],
            "fingerprint": prepared.fingerprint if prepared else None,
            "ledger_s": self.ledger.rounded(),
            "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **self.night.document,
        }


def shaping(config: Config) -> dict[str, Any]:
    """The keys that decide the weights, flat: `fit.batch_size` -> value."""
    flat: dict[str, Any] = {}

    def walk(at: str, value: Any) -> None:
        if at in _NOT_SHAPING:
            return
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{at}.{key}" if at else str(key), inner)
        else:
            flat[at] = value

    walk("", config.model_dump(mode="json"))
    # Where the data lies does not matter: its fingerprint is compared on its own.
    flat.pop("data.train", None)
    return flat


def shaping_hash(config: Config) -> str:
    """SHA-256 of what decides the weights."""
    return hashlib.sha256(json.dumps(shaping(config), sort_keys=True).encode()).hexdigest()


def local_cache() -> Path:
    """Where statistics and footers are kept between runs on this machine."""
    base = os.environ.get("KFIT_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base, "kfit") if base else Path(tempfile.gettempdir(), f"kfit-cache-{os.getuid()}")


def versions() -> dict[str, str]:
    """Versions of what shapes a result."""
    found = {"python": platform.python_version()}
    for package in ("kfit", "tensorflow", "keras", "numpy", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
