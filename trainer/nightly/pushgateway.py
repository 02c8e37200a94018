"""Pushes a run to a Prometheus Pushgateway: where it is while it trains, and its result when it ends.

There are two groups of series. `{output, run}` is the run in progress: several runs at a time do not overwrite each
other, and it is deleted when the run ends. `{output}` is the last run and production, the content of `metrics.prom`;
it stays until the next run replaces it. A process that is killed leaves its group; the retry of the run takes it over.

A thread of its own pushes, so that no step waits for it. A push that fails is noted once and never fails a run.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway
from prometheus_client.exposition import basic_auth_handler, default_handler

from trainer.config import Metrics, duration_s
from trainer.config.output import is_http_url
from trainer.nightly.notify import PASSING, cause
from trainer.nightly.prometheus import Family, registry_of
from trainer.progress.views import Fit, Phase, View

_JOB = "kfit"
_TRY_S = 5.0
_BETWEEN_TRIES_S = 0.5
_MOST_BETWEEN_READINGS_S = 5.0


class Pushgateway(View):
    """A view that pushes what it is shown.

    Args:
        metrics: Where to, and how often.
        output_uri: The job's `output.uri`.
        run_id: The run.
        note: Told one line when a push fails for the first time; no part of the URL is in it.
        environment: The process's variables, for the URL.
    """

    def __init__(
        self,
        metrics: Metrics,
        output_uri: str,
        run_id: str,
        note: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> None:
        self._every_s = duration_s(metrics.every)
        self.every_s = min(self._every_s, _MOST_BETWEEN_READINGS_S)
        self._url_from = "run.metrics.pushgateway" if metrics.pushgateway else str(metrics.pushgateway_env)
        self._url = (metrics.pushgateway or environment.get(self._url_from, "")).strip()
        self._output_uri = output_uri
        self._last_run = {"output": output_uri.rstrip("/")}
        self._this_run = {**self._last_run, "run": run_id}
        self._note, self._noted = note, False
        self._fit: list[Family] = []
        self._logs: dict[str, float] = {}
        self._phase = "start"
        self._checkpoint: tuple[float, int] | None = None
        self._waited: tuple[float, float] = (0.0, 0.0)
        self._wait_ratio: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_pushing, name="kfit-metrics", daemon=True)

    def begin(self) -> None:
        """Begins to push; this process has claimed the run."""
        self._thread.start()

    def start(self, fit: Fit) -> None:
        """Takes note of the length of the fit."""
        self._waited = (time.monotonic(), fit.wait_s())
        self.step(fit)

    def step(self, fit: Fit) -> None:
        """Takes note of where the fit is. On the training's thread: it sends nothing."""
        (then_s, waited_s), now_s = self._waited, time.monotonic()
        if now_s - then_s >= self._every_s:
            self._waited = (now_s, fit.wait_s())
            self._wait_ratio = (self._waited[1] - waited_s) / (now_s - then_s)
        self._logs |= fit.logs  # a step has no values of the validation, and the last ones still hold
        self._phase, self._fit = "fit", list(_fit_families(fit, self._logs, self._wait_ratio))

    def epoch_end(self, fit: Fit, took_s: float, best: bool) -> None:
        """Takes note of the epoch's values, those of the validation included."""
        self.step(fit)

    def checkpoint(self, step: int) -> None:
        """Takes note of a checkpoint."""
        self._checkpoint = (time.time(), step)

    def phase(self, phase: Phase) -> None:
        """Takes note of what the run does outside the steps."""
        self._phase = phase.name

    def stop(self) -> None:
        """Ends pushing, for a run that ends without `conclude`."""
        self._stop.set()

    def conclude(self, last_run: CollectorRegistry | None, deadline_s: float) -> None:
        """Pushes the result and deletes the group of the run in progress; retries what may pass by itself.

        Args:
            last_run: Metrics of the run that has ended; None where they are not known.
            deadline_s: Give up after about so long, retries included.
        """
        ends_s = time.monotonic() + deadline_s
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)  # a push under way would bring a deleted group back
        if self._thread.is_alive():
            self._note_once(f"no answer within {deadline_s:g} s")
            return
        if last_run is None or self._retry(partial(push_to_gateway, registry=last_run), self._last_run, ends_s):
            self._retry(delete_from_gateway, self._this_run, ends_s)

    def _keep_pushing(self) -> None:
        while not self._stop.wait(self._every_s):
            push = partial(push_to_gateway, registry=registry_of(self._output_uri, self._families()))
            fault, _ = self._send(push, self._this_run, _TRY_S)
            if fault:
                self._note_once(fault)

    def _families(self) -> Iterator[Family]:
        yield "kfit_run_phase", "1 for what the run does.", [({"phase": self._phase}, 1.0)]
        yield from self._fit
        if self._checkpoint is not None:
            when, step = self._checkpoint
            yield "kfit_run_checkpoint_timestamp_seconds", "When the newest checkpoint was committed.", [({}, when)]
            yield "kfit_run_checkpoint_step", "Steps that the newest checkpoint holds.", [({}, step)]

    def _retry(self, send: Callable[..., Any], group: Mapping[str, str], ends_s: float) -> bool:
        """Returns whether it was done in time."""
        while True:
            fault, may_pass = self._send(send, group, min(_TRY_S, max(0.1, ends_s - time.monotonic())))
            if not fault:
                return True
            if not may_pass or time.monotonic() + _BETWEEN_TRIES_S > ends_s:
                self._note_once(fault)
                return False
            time.sleep(_BETWEEN_TRIES_S)

    def _send(self, send: Callable[..., Any], group: Mapping[str, str], timeout_s: float) -> tuple[str, bool]:
        """Returns the fault, empty where there was none, and whether another try may help."""
        if not is_http_url(self._url):
            return f"{self._url_from} holds no http or https URL", False
        parts = urlsplit(self._url)
        handler: Callable[..., Callable[[], None]] = default_handler
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            handler = partial(basic_auth_handler, username=user, password=password)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
        try:
            send(address, job=_JOB, grouping_key=dict(group), timeout=timeout_s, handler=handler)
        except HTTPError as error:
            error.close()
            return f"it answered {error.code}", error.code in PASSING
        except (OSError, http.client.HTTPException, ValueError) as error:
            return cause(error).replace("TimeoutError", "no answer in time"), isinstance(error, OSError)
        return "", False

    def _note_once(self, fault: str) -> None:
        if not self._noted:
            self._noted = True
            self._note(f"warning: metrics were not pushed to the Pushgateway: {fault}")


def _fit_families(fit: Fit, logs: Mapping[str, float], wait_ratio: float | None) -> Iterator[Family]:
    """What is known of a fit; counts from 1, as a person counts."""
    pace = fit.pace
    for name, meaning, value in (
        ("kfit_run_epoch", "The epoch, from 1.", float(fit.epoch + 1)),
        ("kfit_run_epochs", "Epochs of the whole run.", float(pace.epochs)),
        ("kfit_run_step", "Steps done since the run began.", float(fit.epoch * pace.steps + fit.done)),
        ("kfit_run_steps", "Steps of the whole run.", float(pace.epochs * pace.steps)),
        ("kfit_run_rows_per_second", "Training rows a second.", fit.rows_per_s or None),
        ("kfit_run_eta_seconds", "Seconds until the last epoch ends.", pace.eta_s),
        ("kfit_run_feed_wait_ratio", "Share of the time that training waited for rows.", wait_ratio),
    ):
        yield name, meaning, [({}, value)]
    values = [
        ({"split": "validation" if name.startswith("val_") else "train", "metric": name.removeprefix("val_")}, value)
        for name, value in logs.items()
    ]
    yield "kfit_run_metric", "Metrics of the epoch so far; of validation, of the last epoch that ended.", values
