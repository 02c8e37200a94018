"""How the runs of a job ended, from storage alone.

`runs/<run id>/result.json` is authoritative. Reading a thousand of them takes seconds, so every run that ends writes
`history.json`, a summary of the finished runs. It is a cache: a run that it lacks, or that had not succeeded yet, is
read from its own folder, and a run whose folder is gone is left out. A run with damaged files is left out with a
warning and does not hide the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from trainer import storage
from trainer.progress import terminal
from trainer.run_id import is_run_id

NAME = "history.json"
_FORMAT = 1
#: These never change again; a retry under the same id may change any other.
_FINAL = ("succeeded", "skipped")
#: The first of these represents a run without a gate.
_MAIN = ("auc", "accuracy", "deviance", "pinball", "rmse", "mae", "loss")
_REASON_CHARACTERS = 300
#: Errors of reading a document of another shape.
_DAMAGE = (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run.

    Attributes:
        run: Its id.
        status: succeeded, skipped, failed, preempted; unfinished without a result.json.
        finished: UTC time in ISO 8601, "" while unfinished.
        date: Its logical date, "" without one.
        first, last: The training window's days, "" without one.
        metric: Name of `value`. value: On the holdout where there was a gate, else on validation.
        duration_s: From the process's start to its end.
        rows: Training rows.
        promoted: Whether it moved production. why: Why, or why not; the reason of a failure.
        gain, low, high: Against the champion, where there was one.
        digest: Of data, configuration and code.
        exit_code: The process's.
    """

    run: str
    status: str
    finished: str = ""
    date: str = ""
    first: str = ""
    last: str = ""
    metric: str = ""
    value: float | None = None
    duration_s: float | None = None
    rows: int = 0
    promoted: bool = False
    why: str = ""
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    digest: str = ""
    exit_code: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def summarize(result: Mapping[str, Any]) -> RunSummary:
    """Summarizes a run's `result.json`.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: A part has another type, or `finished` is not a time.
    """
    decision = result.get("decision") or {}
    gain = decision.get("gain") or {}
    window = (result.get("windows") or {}).get("train") or {}
    metrics = result.get("metrics") or {}
    on_validation = metrics.get("validation") or metrics.get("train") or {}
    shown = {k: v for k, v in (decision.get("metrics") or on_validation).items() if _number(v) is not None}
    metric = gain.get("metric") or next((name for name in _MAIN if name in shown), "")
    return RunSummary(
        run=str(result["run"]),
        status=str(result.get("status", "")),
        finished=_time(result.get("finished")),
        date=str(result.get("date") or ""),
        first=str(window.get("first") or ""),
        last=str(window.get("last") or ""),
        metric=metric,
        value=shown.get(metric),
        duration_s=duration_s(result.get("ledger_s") or {}),
        rows=int((result.get("rows") or {}).get("train") or 0),
        promoted=bool(decision.get("promoted")),
        why=str(decision.get("why") or result.get("reason") or "").strip()[:_REASON_CHARACTERS],
        gain=_number(gain.get("gain")),
        low=_number(gain.get("low")),
        high=_number(gain.get("high")),
        digest=str(result.get("digest") or ""),
        exit_code=result.get("exit_code"),
        metrics=shown,
    )


def _number(value: Any) -> float | None:
    """Returns a finite number; None for a missing, NaN or infinite value.

    Raises:
        TypeError: The value is not a number.
    """
    return value if value is not None and math.isfinite(value) else None


def _time(text: Any) -> str:
    """Returns `finished` as runs write it, "" where there is none.

    Raises:
        ValueError, TypeError: It is not such a time.
    """
    if not text:
        return ""
    parse_time(text)
    return str(text)


def parse_time(text: str) -> datetime:
    """Parses `finished`.

    Raises:
        ValueError, TypeError: It is not written as 2013-03-01T02:00:00Z.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def duration_s(ledger: Mapping[str, float | None]) -> float | None:
    """Returns the seconds of a run; phases inside other phases are not added again."""
    parts = [float(ledger.get(name) or 0.0) for name in ("start", "statistics", "compile", "fit", "export", "gate")]
    return round(sum(parts), 3) if any(parts) else None


def read(output_uri: str, *, warn: Callable[[str], None] = terminal.warn) -> list[RunSummary]:
    """Returns every run of a job by the time it ended, unfinished runs last.

    Args:
        output_uri: The job's `output.uri`.
        warn: Called with a line for each run that is left out because a file is damaged; it names the file.

    Raises:
        StorageError: The store is out of reach or refuses.
    """
    names = [name for name in storage.list_folders(storage.join(output_uri, "runs")) if is_run_id(name)]
    known = _index(output_uri)
    unsure = [name for name in names if name not in known or known[name].status not in _FINAL]
    begun = []
    for name, data in zip(unsure, _read_each(output_uri, unsure, "result.json"), strict=True):
        known.pop(name, None)
        if data is None:
            begun.append(name)
        elif (summary := _summary(name, data)) is not None:
            known[name] = summary
        else:
            _warn_of_damage(warn, output_uri, name, "result.json")
    for name, data in zip(begun, _read_each(output_uri, begun, "config.json"), strict=True):
        if data is None:
            continue  # a folder that somebody emptied
        config = _parsed(data)
        if config is None:
            _warn_of_damage(warn, output_uri, name, "config.json")
        else:
            known[name] = RunSummary(name, "unfinished", date=str(config.get("date") or ""))
    runs = [known[name] for name in names if name in known]
    return sorted(runs, key=lambda run: (not run.finished, run.finished, run.run))


def write_index(output_uri: str, *, warn: Callable[[str], None] = terminal.warn) -> list[RunSummary]:
    """Rewrites the summary of all finished runs and returns all runs. The last writer wins."""
    runs = read(output_uri, warn=warn)
    finished = [_compact(run) for run in runs if run.status in _FINAL]
    document = json.dumps({"format": _FORMAT, "runs": finished}, separators=(",", ":"), allow_nan=False)
    storage.write(storage.join(output_uri, NAME), document.encode() + b"\n")
    return runs


def find(runs: Sequence[RunSummary], digest: str) -> RunSummary | None:
    """Returns the newest run that succeeded with the same data, configuration and code."""
    return next((n for n in reversed(runs) if n.status == "succeeded" and n.digest == digest), None)


def _compact(run: RunSummary) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if value not in ("", None, {})}


def _index(output_uri: str) -> dict[str, RunSummary]:
    names = {f.name for f in fields(RunSummary)}
    try:
        document = json.loads(storage.read(storage.join(output_uri, NAME)))
        entries = document["runs"] if document["format"] == _FORMAT else []
        known = [RunSummary(**{k: v for k, v in entry.items() if k in names}) for entry in entries]
        return {run.run: run for run in known if _is_sound(run)}
    except (storage.NotFound, *_DAMAGE):
        return {}  # a damaged cache is ignored


def _is_sound(run: RunSummary) -> bool:
    """Whether the numbers of an entry are finite; raises as `summarize` does where they are not numbers."""
    _time(run.finished)
    numbers = (run.value, run.duration_s, run.rows, run.gain, run.low, run.high, *run.metrics.values())
    return all(number is None or math.isfinite(number) for number in numbers)


def _read_each(output_uri: str, runs: Sequence[str], name: str) -> list[bytes | None]:
    return storage.read_many([storage.join(output_uri, "runs", run, name) for run in runs])


def _summary(name: str, data: bytes) -> RunSummary | None:
    """Returns the summary of a run's result, None where it is damaged."""
    result = _parsed(data)
    try:
        return None if result is None else summarize({**result, "run": name})
    except _DAMAGE:
        return None


def _parsed(data: bytes) -> dict[str, Any] | None:
    """Parses a JSON object; None where the data is not one."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _warn_of_damage(warn: Callable[[str], None], output_uri: str, run: str, name: str) -> None:
    where = storage.join(output_uri, "runs", run, name)
    warn(f"{where} is damaged; {run} is left out. Delete the file, or the run's folder")
