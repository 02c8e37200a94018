"""What follows `result.json`: index, retention, Prometheus's file, the last push, the notification.

Each has a time of its own, and the notification goes out beside the others, so that a slow store silences nobody.
Whatever goes wrong here is a note: the run has ended, and its result stands.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainer import termination
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.config import Config
from trainer.errors import KfitError
from trainer.nightly import history, notify, production, prometheus, retention
from trainer.nightly.history import RunSummary
from trainer.nightly.pushgateway import Pushgateway


@dataclass(frozen=True)
class Patience:
    """Seconds that each part may take.

    Attributes:
        index, retention, prometheus, pushgateway: One after the other; of the last, retries included.
        notification: Retries included; beside the others.
    """

    index: float
    retention: float
    prometheus: float
    pushgateway: float
    notification: float


_AFTER_SUCCESS = Patience(index=60.0, retention=300.0, prometheus=30.0, pushgateway=5.0, notification=20.0)
#: A failed process is gone within five seconds of its error, whoever listens; it deletes nothing.
_AFTER_FAILURE = Patience(index=1.0, retention=0.0, prometheus=0.5, pushgateway=0.5, notification=1.5)


def conclude(
    config: Config,
    folder: RunFolder,
    result: Mapping[str, Any],
    note: Callable[[str], None],
    environment: Mapping[str, str],
    gateway: Pushgateway | None = None,
) -> None:
    """Tells the outside how a run ended.

    Args:
        config: The run's configuration.
        folder: Its folder.
        result: `result.json`, which is written already.
        note: Told of what was not done, one line each.
        environment: The process's variables, for URL and key of the notification.
        gateway: Where the job file wants metrics pushed.
    """
    document = json.loads(to_json(result))
    patience = _AFTER_SUCCESS if result["exit_code"] == 0 else _AFTER_FAILURE
    telling = threading.Thread(
        target=_notify, args=(config, document, note, environment, patience.notification), daemon=True
    )
    telling.start()
    _record(config, folder, document, note, patience, gateway)
    telling.join(patience.notification + 0.2)


def _record(
    config: Config,
    folder: RunFolder,
    result: Mapping[str, Any],
    note: Callable[[str], None],
    patience: Patience,
    gateway: Pushgateway | None,
) -> None:
    """Index, retention, Prometheus, Pushgateway, in this order: each looks at what the one before left."""
    output, runs, last_run = folder.output_uri, [], []

    def warn(line: str) -> None:
        note(f"warning: {line}")

    def index() -> None:
        runs.append(history.write_index(output, warn=warn))

    def prune() -> None:
        assert config.output.keep_runs is not None
        gone = retention.prune(
            output, config.output.keep_runs, now=datetime.now(UTC), spare=folder.run_id, warn=lambda _: None
        )
        if gone:
            note(f"deleted {len(gone)} old run{'s' if len(gone) > 1 else ''}: {gone[0].run} …")

    def metrics() -> None:
        summaries: list[RunSummary] = runs[0] if runs else history.read(output, warn=lambda _: None)
        last_run.append(prometheus.last_run(output, result, summaries, production.read(output)))
        prometheus.write(output, last_run[0])

    _within(patience.index, history.NAME, index, note)
    if config.output.keep_runs is not None and result["status"] == "succeeded":
        _within(patience.retention, "output.keep_runs", prune, note)
    _within(patience.prometheus, prometheus.NAME, metrics, note)
    if gateway is not None:
        seconds, known = patience.pushgateway, last_run[0] if last_run else None
        _within(seconds + 0.2, "the Pushgateway", lambda: gateway.conclude(known, seconds), note)


def _within(seconds: float, what: str, work: Callable[[], None], note: Callable[[str], None]) -> None:
    fault = termination.within(seconds, work)
    if fault is not None:
        why = fault.what if isinstance(fault, KfitError) else f"{type(fault).__name__}: {fault}"
        note(f"warning: the run's end was not recorded in {what}: {why}")


def _notify(
    config: Config,
    result: Mapping[str, Any],
    note: Callable[[str], None],
    environment: Mapping[str, str],
    deadline_s: float,
) -> None:
    if config.notify is None or not notify.is_wanted(config.notify, result):
        return
    undelivered = notify.post(config.notify, result, environment=environment, deadline_s=deadline_s)
    if undelivered is not None:
        note(f"warning: nobody was notified: {undelivered}")
