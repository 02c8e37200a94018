"""What a run does beside training: its days, its checks against production, and the gate.

`fit` calls `choose_date`, `begin`, `find_unchanged`, `check_drift` and `decide`. Each returns its part of result.json;
none keeps state. A job without windows, checks and `promote` passes through them unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config, Promote, SavedModel
from trainer.errors import ConfigError, DataError, ModelCodeError, StorageError
from trainer.feed.shards.discovery import scan
from trainer.feed.statistics.cache import statistics_from
from trainer.feed.statistics.prepare import Prepared, inspect
from trainer.nightly import digest, drift, gate, history, production, windows
from trainer.nightly.production import Production
from trainer.run import fetched_code
from trainer.schema import Statistics
from trainer.serving import saved_model

_STATISTICS = "statistics.json"

Note = Callable[[str], None]


@dataclass(frozen=True)
class RunDate:
    """The logical date of a run.

    Attributes:
        day: The date; None for a job without windows that nobody gave one.
        missing_days: Part of the data -> days that had no file when the run began. A retry leaves them out too.
    """

    day: date | None
    missing_days: Mapping[str, Sequence[date]] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """Its part of config.json and result.json."""
        return {} if self.day is None else {"date": self.day.isoformat()}


@dataclass(frozen=True)
class NightlyRun:
    """A run whose days are fixed, each with its files.

    Attributes:
        config: The `run:` key as the job file has it.
        resolved: The same, with a URI a day in place of every window.
        folder: The run's folder.
        production: What served when the run began; None where nothing did, or where the job does not ask.
        document: Its part of config.json and result.json.
    """

    config: Config
    resolved: Config
    folder: RunFolder
    production: Production | None
    document: Mapping[str, Any]

    @property
    def serves(self) -> bool:
        """Whether this very run is in production, as in a retry after the promotion. Its model is left alone."""
        return self.production is not None and self.production.run == self.folder.run_id


# --- before the data is read ----------------------------------------------------------------------


def choose_date(
    config: Config,
    run_id: str,
    config_json: Mapping[str, Any] | None,
    given: date | None,
    now: datetime,
    environment: Mapping[str, str] | None = None,
) -> RunDate:
    """Returns the date that the run began with, by its earlier config.json; else what was given.

    The caller writes it to config.json before anything can fail, so that every retry reads the same days.

    Args:
        config: The `run:` key as the job file has it.
        run_id: The run's id.
        config_json: The run's config.json, None for a new run.
        given: The logical date where somebody gave it.
        now: The time, for a run that nobody gave a date.
        environment: The process's variables by default.

    Raises:
        ConfigError: The date is invalid, or differs from the one that the run began with.
    """
    environment = os.environ if environment is None else environment
    before = config_json or {}
    spans = before.get("windows") or {}
    missing_days = {part: [date.fromisoformat(d) for d in span["missing"]] for part, span in spans.items()}
    explicit = given
    if explicit is None and environment.get("KFIT_DATE"):
        explicit = windows.logical_date(environment, now)
    if (began_for := before.get("date")) is not None:
        if explicit is not None and explicit.isoformat() != began_for:
            raise ConfigError(
                f"the run began for {began_for}, not for {explicit}",
                where=f"--run {run_id}",
                remedy="give no date, or begin a new run with another --run",
            )
        return RunDate(date.fromisoformat(began_for), missing_days)
    if explicit is None and windows.has_window(config):
        explicit = windows.logical_date(environment, now)
    return RunDate(explicit, missing_days)


def begin(config: Config, folder: RunFolder, chosen: RunDate, note: Note) -> NightlyRun:
    """Resolves the windows, checks the holdout by footers alone, and reads what is in production.

    Args:
        config: The `run:` key as the job file has it.
        folder: The run's folder.
        chosen: The run's date.
        note: Receives a warning for each window with missing days.

    Raises:
        KfitError: A day or the holdout is missing, or storage is out of reach.
    """
    resolved, document = config, {}
    if chosen.day is not None and windows.has_window(config):
        resolved, spans = windows.resolve(config, chosen.day, chosen.missing_days)
        document["windows"] = {part: span.as_json() for part, span in spans.items()}
        for part, span in spans.items():
            if span.missing:
                shown = ", ".join(d.isoformat() for d in span.missing)
                note(f"warning: {part} lacks {len(span.missing)} days: {shown}")
    _check_holdout(resolved)
    compares = config.promote is not None or config.data.checks is not None
    return NightlyRun(config, resolved, folder, production.read(folder.output_uri) if compares else None, document)


def _check_holdout(config: Config) -> None:
    """Fails now, and not after hours of training, where the holdout cannot be scored."""
    data, promote = config.data, config.promote
    windows.check_fresh(config)
    if data.holdout_uris is not None and promote is not None:
        extra = [*promote.slices, *([promote.by] if promote.by else [])]
        needed = dict.fromkeys([*data.features, *data.label_columns, *data.filter, *extra])
        holdout = scan(data.holdout_uris, list(needed))
        if not sum(shard.rows for shard in holdout.shards):
            raise DataError("the holdout has no rows", where="run.data.holdout", remedy="choose days with rows")


# --- nothing to do --------------------------------------------------------------------------------


def find_unchanged(nightly: NightlyRun, versions: Mapping[str, str], note: Note) -> tuple[str | None, dict[str, Any]]:
    """Looks for the run that has done the same work already: same data, configuration and code.

    Reads footers, no rows, and does not need TensorFlow.

    Args:
        nightly: The run.
        versions: Package -> version.
        note: Receives a warning for each earlier run that cannot be read.

    Returns:
        The earlier run, None where there is none; and the part of result.json, of which config.json has `digest` too.
    """
    policy = nightly.config.data.unchanged or ("skip" if nightly.config.promote is not None else "fit")
    if policy == "fit":
        return None, {}
    fingerprint = inspect(nightly.resolved).fingerprint
    document = {"digest": _digest(nightly.config, fingerprint, versions)}
    earlier = history.read(nightly.folder.output_uri, warn=lambda line: note(f"warning: {line}"))
    same = history.find(earlier, document["digest"])
    if same is None or same.run == nightly.folder.run_id:
        return None, document
    return same.run, document | {"unchanged_since": same.run, "fingerprint": fingerprint}


def _digest(config: Config, fingerprint: str, versions: Mapping[str, str]) -> str:
    model = config.model
    fetched = {"model": saved_model.content_digest(model)} if isinstance(model, SavedModel) else {}
    if config.code is not None:
        fetched["code"] = fetched_code.content_digest(config.code)
    return digest.digest(config, fingerprint, versions, fetched)


# --- the data against production's ----------------------------------------------------------------


def check_drift(
    nightly: NightlyRun, prepared: Prepared, versions: Mapping[str, str], note: Note
) -> tuple[dict[str, Any], drift.Drifted | None]:
    """Writes statistics.json for later nights, and compares the training rows to those of the run in production.

    Args:
        nightly: The run.
        prepared: The result of the statistics pass.
        versions: Package -> version.
        note: Receives a warning where production's run left no statistics.

    Returns:
        The part of result.json, and the error that the caller raises once it has recorded that; None: no breach.
    """
    now = prepared.statistics["train"]
    document: dict[str, Any] = {"digest": _digest(nightly.config, prepared.fingerprint, versions)}
    nightly.folder.write_json(_STATISTICS, asdict(now))
    checks = nightly.config.data.checks
    if checks is None or nightly.production is None or nightly.serves:
        return document, None
    champion = nightly.production.run
    before = _statistics_of(RunFolder(nightly.folder.output_uri, champion), note)
    if before is None:
        return document, None
    findings = drift.check(checks, before, now)
    breaches = drift.breaches(findings)
    document["checks"] = {"against": champion, "made": len(findings), "breached": [asdict(b) for b in breaches]}
    return document, drift.Drifted(breaches, champion) if breaches else None


def _statistics_of(champion: RunFolder, note: Note) -> Statistics | None:
    """Returns the champion's statistics; None, with a warning, where it left none or they are damaged."""
    problem = f"{champion.run_id} left no {_STATISTICS}"
    try:
        stored = champion.read_json(_STATISTICS)
        if stored is not None:
            return statistics_from(stored)
    except (DataError, KeyError, TypeError, ValueError, AttributeError):
        problem = f"{champion.path(_STATISTICS)} is damaged"
    note(f"warning: {problem}; the data was not checked against it")
    return None


# --- the gate -------------------------------------------------------------------------------------


def decide(nightly: NightlyRun, note: Note) -> dict[str, Any]:
    """Scores challenger and champion, and moves production where the gate lets it.

    The champion is the run that serves now, not when the training began: hours may lie between.

    Args:
        nightly: The run; its model is published.
        note: Receives the decision, one line.

    Returns:
        Its part of result.json; empty for a job without `promote`.

    Raises:
        StorageError: The store is out of reach. That is no verdict: a retry decides.
    """
    rules, holdout = nightly.config.promote, nightly.resolved.data.holdout_uris
    if rules is None or holdout is None:
        return {}
    if nightly.serves:
        return {"decision": {"passed": True, "promoted": True, "why": "promoted before the run was resumed"}}
    current = production.read(nightly.folder.output_uri)
    try:
        decision, document = _score(nightly, rules, holdout, current, note)
    except StorageError:
        raise
    except (ConfigError, DataError, ModelCodeError) as fault:
        return {"decision": {"passed": False, "promoted": False, "why": f"not scored: {fault.what}"}}
    outcome = asdict(decision) | {"promoted": False}
    if not decision.passed:
        note(f"not promoted: {decision.why}")
        return document | {"decision": outcome}
    try:
        moved = production.move(nightly.folder.output_uri, nightly.folder.run_id, current=current, why=decision.why)
        outcome |= {"promoted": True, "generation": moved.generation}
        note(f"promoted: {decision.why}")
    except production.Lost as lost:
        outcome["why"] = lost.what
        note(f"not promoted: {lost.what}")
    return document | {"decision": outcome}


def _score(
    nightly: NightlyRun, rules: Promote, holdout: str | list[str], current: Production | None, note: Note
) -> tuple[gate.Decision, dict[str, Any]]:
    """Returns the gate's decision, and what else belongs in result.json."""
    from trainer.serving.holdout import predict_holdout  # TensorFlow

    own, row_filter = nightly.folder.uri, nightly.resolved.data.filter
    if current is None:
        answers = predict_holdout([own], holdout, row_filter=row_filter)
        return gate.decide_first(rules, answers.targets, answers.labels, answers.predictions[0]), {}
    champion = RunFolder(nightly.folder.output_uri, current.run)
    by = [] if rules.by is None else [rules.by]
    answers = predict_holdout([own, champion.uri], holdout, [*rules.slices, *by], row_filter=row_filter)
    document = _trained_on_holdout(champion, holdout, note)
    units = None if rules.by is None else np.array([str(v) for v in answers.slices[rules.by]])
    challengers, champions = answers.predictions
    scored = gate.score(rules, answers.targets, answers.labels, challengers, champions, units)
    metrics = gate.metrics_of_all(answers.targets, answers.labels, challengers)
    slices = {name: answers.slices[name] for name in rules.slices}
    return gate.decide(rules, scored, champion.run_id, slices, metrics), document


def _trained_on_holdout(champion: RunFolder, holdout: str | list[str], note: Note) -> dict[str, Any]:
    """Warns of a champion that was trained on shards of the holdout: it looks better there than it is."""
    try:
        trained = {shard["uri"] for shard in (champion.read_json("config.json") or {}).get("shards", [])}
    except (DataError, KeyError, TypeError):
        note(f"warning: {champion.path('config.json')} is damaged: the champion's training shards are unknown")
        return {}
    both = trained & {shard.uri for shard in storage.expand(holdout)}
    if not both:
        return {}
    note(f"warning: {champion.run_id} was trained on {len(both)} shards of the holdout")
    return {"champion_saw_shards": len(both)}
