"""What the runs of a job came to, from storage alone.

`runs/<run id>/result.json` is the truth. Reading a thousand of them takes seconds, so every run leaves
`history.json` behind when it ends: the finished runs' results in short. It is a cache: a run that it lacks, or
that had not succeeded yet, is read from its own folder, and a run whose folder is gone is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trainer import storage
from trainer.json_text import parse, parse_object

NAME = "history.json"
_FORMAT = 1
#: These never change any more; all else may, by a retry under the same id.
_FINAL = ("succeeded", "skipped")
#: In this order, the metric that stands for a run without a gate.
_MAIN = ("auc", "accuracy", "rmse", "mae", "loss")
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Night:
    """One run in short.

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

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def summarize(result: Mapping[str, Any]) -> Night:
    """A run's `result.json` in short."""
    decision = result.get("decision") or {}
    gain = decision.get("gain") or {}
    window = (result.get("windows") or {}).get("train") or {}
    metrics = result.get("metrics") or {}
    on_validation = metrics.get("validation") or metrics.get("train") or {}
    shown = {k: v for k, v in (decision.get("metrics") or on_validation).items() if v is not None}
    metric = gain.get("metric") or next((name for name in _MAIN if name in shown), "")
    return Night(
        run=str(result["run"]),
        status=str(result.get("status", "")),
        finished=str(result.get("finished") or ""),
        date=str(result.get("date") or ""),
        first=str(window.get("first") or ""),
        last=str(window.get("last") or ""),
        metric=metric,
        value=shown.get(metric),
        duration_s=duration_s(result.get("ledger_s") or {}),
        rows=int((result.get("rows") or {}).get("train") or 0),
        promoted=bool(decision.get("promoted")),
        why=str(decision.get("why") or result.get("reason") or "").strip()[:_REASON_CHARACTERS],
        gain=gain.get("gain"),
        low=gain.get("low"),
        high=gain.get("high"),
        digest=str(result.get("digest") or ""),
        exit_code=result.get("exit_code"),
        metrics=shown,
    )


def duration_s(ledger: Mapping[str, float | None]) -> float | None:
    """Seconds of a run: phases that lie inside others are not added again."""
    parts = [ledger.get(name) or 0.0 for name in ("start", "statistics", "compile", "fit", "export", "gate")]
    return round(sum(parts), 3) if any(parts) else None


def read(output_uri: str) -> list[Night]:
    """Every run of a job, the oldest end first, unfinished ones last.

    Raises:
        StorageError: The store is out of reach or refuses.
    """
    names = storage.list_folders(storage.join(output_uri, "runs"))
    known = _index(output_uri)
    unsure = [name for name in names if name not in known or known[name].status not in _FINAL]
    for name, data in zip(unsure, _read_each(output_uri, unsure, "result.json"), strict=True):
        known[name] = _summarized(name, parse_object(data))
    begun = [name for name in names if known[name].status == "unfinished"]
    for name, config in zip(begun, _read_each(output_uri, begun, "config.json"), strict=True):
        if config is None:
            del known[name]  # a folder that somebody emptied
        else:
            known[name] = replace(known[name], date=str(parse_object(config).get("date") or ""))
    return sorted((known[name] for name in names if name in known), key=_order)


def write_index(output_uri: str) -> list[Night]:
    """Writes the short form of all finished runs anew and returns all runs. The last writer wins; see above."""
    nights = read(output_uri)
    kept = [_compact(night) for night in nights if night.status in _FINAL]
    document = json.dumps({"format": _FORMAT, "runs": kept}, separators=(",", ":"), allow_nan=False)
    storage.write(storage.join(output_uri, NAME), document.encode() + b"\n")
    return nights


def find(nights: Sequence[Night], digest: str) -> Night | None:
    """The newest run that succeeded on the same data, configuration and code."""
    return next((n for n in reversed(nights) if n.status == "succeeded" and n.digest == digest), None)


def _summarized(run: str, result: Mapping[str, Any]) -> Night:
    """One damaged result must not stop the history of all: its run counts as unfinished."""
    try:
        return summarize({**result, "run": run}) if result else Night(run, "unfinished")
    except (AttributeError, TypeError, ValueError):
        return Night(run, "unfinished")


def _order(night: Night) -> tuple[bool, str, str]:
    return not night.finished, night.finished, night.run


def _compact(night: Night) -> dict[str, Any]:
    return {name: value for name, value in night.as_json().items() if value not in ("", None, {})}


def _index(output_uri: str) -> dict[str, Night]:
    names = {f.name for f in fields(Night)}
    try:
        document = parse(storage.read(storage.join(output_uri, NAME)))
        entries = document["runs"] if document["format"] == _FORMAT else []
        return {e["run"]: Night(**{k: v for k, v in e.items() if k in names}) for e in entries}
    except (storage.NotFound, ValueError, KeyError, TypeError):
        return {}  # a cache that cannot be read is no cache


def _read_each(output_uri: str, runs: Sequence[str], name: str) -> list[bytes | None]:
    return storage.read_many([storage.join(output_uri, "runs", run, name) for run in runs])
