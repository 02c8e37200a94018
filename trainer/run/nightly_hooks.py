"""What a run does beside training: its dates, its checks against production, and the gate.

`fit` calls these in order: `begin`, `unchanged`, `check`, `decide`. What they find stands in `document`,
which becomes part of result.json. A job without windows, checks and `promote` passes through untouched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.errors import ConfigError, DataError, ModelCodeError, StorageError
from trainer.feed.shards.discovery import scan
from trainer.feed.statistics.cache import statistics_from
from trainer.feed.statistics.prepare import Prepared, inspect
from trainer.nightly import digest, drift, gate, history, production, windows
from trainer.nightly.production import Production
from trainer.nightly.scores import Scored
from trainer.schema import Statistics

_STATISTICS = "statistics.json"


class Night:
    """The nightly side of one run.

    Args:
        config: The job file's `run:` key, windows and all.
        folder: The run's folder.
        given: The logical date where somebody gave it; else the environment's.
        note: Told one line at a time what a person should see.
        environment: The process's variables.
        now: The time, for a run that nobody gave a date.

    Attributes:
        document: Parts of result.json.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        given: date | None,
        note: Callable[[str], None],
        *,
        environment: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> None:
        self._config, self._resolved, self._folder, self._note = config, config, folder, note
        self._environment = os.environ if environment is None else environment
        self._now = now or datetime.now(UTC)
        self._given = given
        self._day: date | None = None
        self._left_out: Mapping[str, Sequence[date]] = {}
        self._seen: Production | None = None
        self.document: dict[str, Any] = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    # --- before the data is read ------------------------------------------------------------------

    def remember(self, config_json: Mapping[str, Any] | None) -> None:
        """Fixes the run's days: its date is the one it began with, by its earlier config.json, else what was given.

        It stands in config.json before anything can fail, so that every retry reads the same days.

        Raises:
            ConfigError: A date that is none, or another than the run began with.
        """
        before = config_json or {}
        spans = before.get("windows") or {}
        self._left_out = {part: [date.fromisoformat(d) for d in span["missing"]] for part, span in spans.items()}
        began_for = before.get("date")
        explicit = self._given
        if explicit is None and self._environment.get("KFIT_DATE"):
            explicit = windows.logical_date(self._environment, self._now)
        if began_for is not None and explicit is not None and explicit.isoformat() != began_for:
            raise ConfigError(
                f"the run began for {began_for}, not for {explicit}",
                where=f"--run {self._folder.run_id}",
                remedy="give no date, or begin a new run with another --run",
            )
        if began_for is not None:
            self._day = date.fromisoformat(began_for)
        elif explicit is not None or windows.has_window(self._config):
            self._day = explicit or windows.logical_date(self._environment, self._now)
        if self._day is not None:
            self.document["date"] = self._day.isoformat()

    def begin(self) -> Config:
        """Resolves windows and looks at what can be wrong of a night before anything is computed.

        Returns:
            The configuration without windows.

        Raises:
            KfitError: A day or a holdout that is not there.
        """
        if self._day is not None and windows.has_window(self._config):
            self._resolved, spans = windows.resolve(self._config, self._day, self._left_out)
            self.document["windows"] = {part: span.as_json() for part, span in spans.items()}
            for part, span in spans.items():
                if span.missing:
                    shown = ", ".join(d.isoformat() for d in span.missing)
                    self._note(f"warning: {part} lacks {len(span.missing)} days: {shown}")
        self._check_holdout()
        self._seen = production.read(self._output) if self._wants_production else None
        return self._resolved

    def _check_holdout(self) -> None:
        """Footers alone: a holdout that cannot be scored must not show after hours of training."""
        data, promote = self._resolved.data, self._resolved.promote
        windows.check_fresh(self._resolved)
        if data.holdout_uris is not None and promote is not None:
            extra = [*promote.slices, *([promote.by] if promote.by else [])]
            needed = dict.fromkeys([*data.features, data.label.column, *data.filter, *extra])
            found = scan(data.holdout_uris, list(needed))
            if not sum(shard.rows for shard in found.shards):
                raise DataError("the holdout has no rows", where="run.data.holdout", remedy="choose days with rows")

    def _warn(self, line: str) -> None:
        self._note(f"warning: {line}")

    @property
    def _output(self) -> str:
        return self._folder.output_uri

    @property
    def _wants_production(self) -> bool:
        return self._config.promote is not None or self._config.data.checks is not None

    def record(self) -> dict[str, Any]:
        """Parts of config.json: the date holds for every retry."""
        return {name: self.document[name] for name in ("date", "windows", "digest") if name in self.document}

    # --- nothing to do ----------------------------------------------------------------------------

    def unchanged(self, versions: Mapping[str, str]) -> str | None:
        """The run that has done this night's work already: same data, configuration and code.

        Reads footers, no rows, and does not need TensorFlow.
        """
        policy = self._config.data.unchanged or ("skip" if self._config.promote is not None else "fit")
        if policy == "fit":
            return None
        fingerprint = inspect(self._resolved).fingerprint
        self.document["digest"] = digest.digest(self._config, fingerprint, versions)
        same = history.find(history.read(self._output, warn=self._warn), self.document["digest"])
        if same is None or same.run == self._folder.run_id:
            return None
        self.document |= {"unchanged_since": same.run, "fingerprint": fingerprint}
        return same.run

    # --- the data against production's ------------------------------------------------------------

    def check(self, prepared: Prepared, versions: Mapping[str, str]) -> None:
        """Keeps the statistics for later nights, and holds them against production's.

        Raises:
            Drifted: A limit of `data.checks` is exceeded.
        """
        now = prepared.statistics["train"]
        self.document["digest"] = digest.digest(self._config, prepared.fingerprint, versions)
        self._folder.write_json(_STATISTICS, dict(drift.statistics_json(now)))
        checks, seen = self._config.data.checks, self._seen
        if checks is None or seen is None or seen.run == self._folder.run_id:
            return
        before = self._statistics_of(RunFolder(self._output, seen.run))
        if before is None:
            return
        found = drift.check(checks, before, now)
        breached = drift.breaches(found)
        self.document["checks"] = {"against": seen.run, "made": len(found), "breached": drift.as_json(breached)}
        if breached:
            raise drift.Drifted(breached, seen.run)

    def _statistics_of(self, champion: RunFolder) -> Statistics | None:
        """The champion's statistics; None, with a warning, where it left none or they are damaged."""
        left = f"{champion.run_id} left no {_STATISTICS}"
        try:
            stored = champion.read_json(_STATISTICS)
            if stored is not None:
                return statistics_from(stored)
        except (DataError, KeyError, TypeError, ValueError, AttributeError):
            left = f"{champion.path(_STATISTICS)} is damaged"
        self._note(f"warning: {left}; the data was not checked against it")
        return None

    # --- the gate ---------------------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """Whether this very run is in production: a retry after the promotion. Its model is left alone."""
        return self._seen is not None and self._seen.run == self._folder.run_id

    def decide(self) -> None:
        """Scores challenger and champion, and moves production where the gate lets it."""
        rules, holdout = self._config.promote, self._resolved.data.holdout_uris
        if rules is None or holdout is None:
            return
        if self.serves:
            self.document["decision"] = {"passed": True, "promoted": True, "why": "promoted before the run was resumed"}
            return
        # Who serves now, not who served when the training began: hours may lie between.
        self._seen = production.read(self._output)
        try:
            decision = self._contest(holdout)
        except StorageError:
            raise  # out of reach is no verdict: the retry decides
        except (ConfigError, DataError, ModelCodeError) as fault:
            self.document["decision"] = {"passed": False, "promoted": False, "why": f"not scored: {fault.what}"}
            return
        self.document["decision"] = found = decision.as_json() | {"promoted": False}
        if not decision.passed:
            self._note(f"not promoted: {decision.why}")
            return
        try:
            moved = production.move(self._output, self._folder.run_id, seen=self._seen, why=decision.why)
            found |= {"promoted": True, "generation": moved.generation}
            self._note(f"promoted: {decision.why}")
        except production.Lost as lost:
            found["why"] = lost.what
            self._note(f"not promoted: {lost.what}")

    def _contest(self, holdout: str | list[str]) -> gate.Decision:
        from trainer.serving.holdout import predict_holdout  # TensorFlow

        rules, task, seen = self._config.promote, self._config.task, self._seen
        assert rules is not None
        if seen is None:
            answers = predict_holdout([self._folder.uri], holdout, row_filter=self._resolved.data.filter)
            return gate.decide_first(rules, task, answers.labels, answers.predictions[0])
        champion = RunFolder(self._output, seen.run)
        by = [] if rules.by is None else [rules.by]
        answers = predict_holdout(
            [self._folder.uri, champion.uri], holdout, [*rules.slices, *by], row_filter=self._resolved.data.filter
        )
        self._warn_of_seen_rows(champion, holdout)
        units = None if rules.by is None else np.array([str(v) for v in answers.slices[rules.by]])
        challenger, theirs = answers.predictions
        scored = Scored(task, answers.labels, challenger, theirs, units)
        return gate.decide(rules, scored, seen.run, {name: answers.slices[name] for name in rules.slices})

    def _warn_of_seen_rows(self, champion: RunFolder, holdout: str | list[str]) -> None:
        """A champion fitted on the holdout looks better there than it is."""
        try:
            trained = {shard["uri"] for shard in (champion.read_json("config.json") or {}).get("shards", [])}
        except (DataError, KeyError, TypeError):
            self._note(f"warning: {champion.path('config.json')} is damaged: it is not known what the champion saw")
            return
        both = trained & {shard.uri for shard in storage.expand(holdout)}
        if both:
            self.document["champion_saw_shards"] = len(both)
            self._note(f"warning: {champion.run_id} was fitted on {len(both)} shards of the holdout")
