"""The documents a run writes into its folder: config.json, metrics.jsonl, and result.json, also after a failure."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from trainer import storage, termination
from trainer.checkpoint.async_writer import AsyncWriter, NoWriter
from trainer.checkpoint.fencing import Fence, Superseded
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.config import Config, EarlyStopping
from trainer.errors import ExitCode, KfitError, PeerLost, Preempted
from trainer.feed.statistics.prepare import Prepared
from trainer.nightly.pushgateway import Pushgateway
from trainer.progress.progress import Progress
from trainer.run import afterwards
from trainer.run.kept_log import KeptLog
from trainer.training import resume
from trainer.training.time_ledger import Ledger

if TYPE_CHECKING:
    from trainer.training.training_state import TrainingState

#: A failed process is gone within five seconds of its error. They are shared out: TensorBoard's curves of a run in
#: object storage, the checkpoint in progress, result.json, and in 1.5 s metrics.jsonl, log.txt and `afterwards`.
CURVES_S, _CHECKPOINT_S, _RESULT_S, _METRICS_S = 0.8, 0.4, 1.5, 1.5


@dataclass(frozen=True)
class Result:
    """Result of a run.

    Attributes:
        uri: The run's folder.
        document: `result.json`.
        history: Keras `History.history`: name -> one value an epoch; empty where the run was skipped.
    """

    uri: str
    document: Mapping[str, Any]
    history: Mapping[str, list[float]]


class Record:
    """What is known of a run so far, and the documents made from it.

    Args:
        config: The configuration.
        folder: The run's folder.
        fence: Lets only the youngest process of a run write.
        progress: Receives a note for what could not be written.
        ledger: Where the time went.
        log: The run's log in storage.
        gateway: Where metrics are pushed to, None for nowhere.

    Attributes:
        config: The configuration; once `nightly_hooks.begin` has returned, with days in place of windows.
        prepared, state, writer: Used by the result.json of a failure; None until the run has created them.
        started: When the process began the run.
        claimed: Whether this process may write the run's documents.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        fence: Fence,
        progress: Progress,
        ledger: Ledger,
        log: KeptLog,
        gateway: Pushgateway | None = None,
    ) -> None:
        self._asked = config
        self.config, self.folder = config, folder
        self.prepared: Prepared | None = None
        self.state: TrainingState | None = None
        self.writer: AsyncWriter | NoWriter | None = None
        self.claimed = False
        self.started = datetime.now(UTC)
        self._nightly: dict[str, Any] = {"started": self.started.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._fence, self._progress, self._ledger, self._log = fence, progress, ledger, log
        self._gateway = gateway
        self._last_words = threading.Lock()

    def add(self, nightly: Mapping[str, Any]) -> None:
        """Adds a nightly step's part of result.json; `date`, `windows` and `digest` are part of config.json too."""
        self._nightly |= nightly

    def write_config(self) -> None:
        """Writes config.json, which proves that the output is writable before anything is computed."""
        prepared = self.prepared
        self.folder.write_json(
            "config.json",
            {
                "run": self.folder.run_id,
                "config": self.config.model_dump(mode="json"),
                "config_hash": resume.resume_signature_hash(self.config),
                "versions": versions(),
                "git_commit": os.environ.get("KFIT_GIT_COMMIT"),
                **{name: self._nightly[name] for name in ("date", "windows", "digest") if name in self._nightly},
                "fingerprint": prepared.fingerprint if prepared else None,
                "shards": [
                    {"uri": s.uri, "size_bytes": s.size_bytes, "version": s.version, "rows": s.rows}
                    for s in prepared.shards
                ]
                if prepared
                else [],
            },
        )

    def write_metrics(self, state: TrainingState) -> None:
        """Writes metrics.jsonl, a line for each logged step."""
        lines = "".join(json.dumps(json.loads(to_json(line)), separators=(",", ":")) + "\n" for line in state.lines)
        self._fence.check()
        storage.write(self.folder.path("metrics.jsonl"), lines.encode())

    def document(self, status: str, code: ExitCode, reason: str) -> dict[str, Any]:
        """Returns `result.json` for the current state of the run.

        Args:
            status: `succeeded`, `skipped`, `preempted` or `failed`.
            code: The process's exit code.
            reason: Why it ends.
        """
        config, prepared, state = self.config, self.prepared, self.state
        history: dict[str, list[float]] = state.history if state else {}
        epochs = max(map(len, history.values()), default=0)
        best = state.best_epoch if state and state.best_epoch >= 0 else None
        stop = config.fit.early_stopping if isinstance(config.fit.early_stopping, EarlyStopping) else None
        chosen = best if stop and stop.restore_best_weights and best is not None else epochs - 1
        at = {name: values[chosen] for name, values in history.items() if epochs and chosen < len(values)}
        return {
            "run": self.folder.run_id,
            "status": status,
            "exit_code": int(code),
            "reason": reason,
            "task": config.task or {name: one.task for name, one in config.data.labels.items()},
            "metrics": {
                "train": {n: v for n, v in at.items() if not n.startswith("val_") and n != "learning_rate"},
                "validation": {n.removeprefix("val_"): v for n, v in at.items() if n.startswith("val_")},
            },
            "epochs": epochs,
            "stopped_early": bool(state and state.stopped_early),
            "best_epoch": best + 1 if best is not None else None,
            "steps": state.cursor.total if state else 0,
            "checkpoint": self.writer.newest if self.writer else None,
            "rows": {name: (prepared.rows.get(name, 0) if prepared else 0) for name in ("train", "validation")},
            "bad_shards": list(prepared.bad_shards) if prepared else [],
            "fingerprint": prepared.fingerprint if prepared else None,
            "ledger_s": self._ledger.rounded(),
            "versions": versions(),
            "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **self._nightly,
        }

    def end(self, document: dict[str, Any], history: Mapping[str, list[float]]) -> Result:
        """Writes result.json, the last document of a run, and then index, metrics and notification."""
        self._write_result(document)
        self._conclude(document)
        return Result(self.folder.uri, document, history)

    def _conclude(self, document: Mapping[str, Any]) -> None:
        afterwards.conclude(self._asked, self.folder, document, self._progress.note, os.environ, self._gateway)

    def _write_result(self, document: dict[str, Any]) -> None:
        self._fence.check()
        self.folder.write_json("result.json", document)

    def write_failure(self, error: BaseException) -> None:
        """Writes the `result.json` of a run that did not succeed, where storage can be reached.

        It takes a few seconds at most: a failed process must exit and free its GPUs.
        """
        if not self.claimed or isinstance(error, Superseded | KeyboardInterrupt):
            return
        with self._last_words:
            if self.claimed:
                self.claimed = False
                self._write_failure(error)

    def _write_failure(self, error: BaseException) -> None:
        preempted = isinstance(error, Preempted | PeerLost)
        code = error.exit_code if isinstance(error, KfitError) else ExitCode.PROGRAM
        reason = str(error) if isinstance(error, KfitError) else f"{type(error).__name__}: {error}"

        if self.writer is not None:
            self.writer.join(_CHECKPOINT_S)
        document = self.document("preempted" if preempted else "failed", code, reason)
        failed = termination.within(_RESULT_S, lambda: self._write_result(document))
        if failed is not None:
            self._progress.note(f"result.json was not written: {getattr(failed, 'what', failed)}")
        if isinstance(failed, Superseded):
            return  # another process continues this run and writes its result
        state = self.state

        def write_metrics() -> None:
            if state is not None:
                termination.within(_METRICS_S, lambda: self.write_metrics(state))

        self._log.write(f"error: {reason}\n")
        others = [
            threading.Thread(target=write, daemon=True)
            for write in (write_metrics, lambda: self._log.close(_METRICS_S))
        ]
        for other in others:
            other.start()
        self._conclude(document)
        for other in others:
            other.join(_METRICS_S)


def versions() -> dict[str, str]:
    """Returns the versions of the packages that influence a result."""
    packages = {"python": platform.python_version()}
    for package in ("kfit", "tensorflow", "keras", "numpy", "pyarrow"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return packages
