"""Windows of days: the logical date of a run, and the files of its days.

The logical date decides, never the clock: a run that is retried after midnight reads the same days.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trainer import storage
from trainer.config import Config, Window
from trainer.errors import ConfigError, DataError

_DATE = re.compile(r"\{date(?::([^{}]+))?\}")
_SCHEDULED_JOB = re.compile(r"-(\d{6,10})$")
_LISTINGS = 8
#: Two names of one store.
_SCHEMES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
#: The parts of `data` that may be a window.
PARTS: tuple[Literal["train", "validation", "holdout"], ...] = ("train", "validation", "holdout")


@dataclass(frozen=True)
class Span:
    """The days of one window.

    Attributes:
        first, last: The first and last day, both included.
        missing: Days without a file.
        uris: The URI of each day that has files.
    """

    first: date
    last: date
    missing: tuple[date, ...]
    uris: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As config.json and result.json carry it."""
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "days": len(self.uris),
            "missing": [day.isoformat() for day in self.missing],
        }


def has_window(config: Config) -> bool:
    """Whether any part of the data is a window."""
    return any(isinstance(getattr(config.data, part), Window) for part in PARTS)


def parse_date(text: str, where: str) -> date:
    """Parses an ISO date.

    Raises:
        ConfigError: The text is not one.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise ConfigError(f"{text!r} is not a date", where=where, remedy="write it like 2013-03-01") from wrong


def logical_date(environment: Mapping[str, str], now: datetime) -> date:
    """Returns the day a run is for where no `--date` is given.

    `KFIT_DATE` wins. On a schedule (`KFIT_SCHEDULE`) the CronJob controller names a Job
    `<cronjob>-<scheduled time in minutes since the epoch>`, and `KFIT_JOB` is that name. Otherwise it is today.

    Args:
        environment: The process's variables; `KFIT_TIME_ZONE` is the schedule's, UTC by default.
        now: The current time, with its zone.

    Raises:
        ConfigError: A date or a time zone is invalid.
    """
    if explicit := environment.get("KFIT_DATE"):
        return parse_date(explicit, "KFIT_DATE")
    zone = _zone(environment.get("KFIT_TIME_ZONE") or "UTC")
    if (schedule := environment.get("KFIT_SCHEDULE")) is not None:
        job = environment.get("KFIT_JOB", "")
        suffix = _SCHEDULED_JOB.search(job)
        if suffix and job == f"{schedule}{suffix[0]}":
            return datetime.fromtimestamp(int(suffix[1]) * 60, UTC).astimezone(zone).date()
    return now.astimezone(zone).date()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as unknown:
        raise ConfigError(
            f"no time zone {name!r}", where="KFIT_TIME_ZONE", remedy="use a name like Europe/Berlin"
        ) from unknown


def days_of(window: Window, logical: date) -> list[date]:
    """Returns the days of a window, the oldest first."""
    last = logical + timedelta(days=window.until - window.gap)
    return [last - timedelta(days=back) for back in range(window.last - 1, -1, -1)]


def uri_of(window: Window, day: date) -> str:
    """Returns the URI of a day: `{date}` as an ISO date, `{date:%Y/%m/%d}` by strftime."""
    return _DATE.sub(lambda match: day.strftime(match[1] or "%Y-%m-%d"), window.uri)


def resolve(
    config: Config, logical: date, left_out: Mapping[str, Collection[date]] | None = None
) -> tuple[Config, dict[str, Span]]:
    """Replaces every window by the URIs of its days that have files.

    Args:
        config: The configuration.
        logical: The run's logical date.
        left_out: Part of the data -> days that were missing when the run began. A retry leaves them out even where
            they have arrived since, so that it reads the same rows.

    Returns:
        The configuration without windows, and each window's span by part of the data.

    Raises:
        DataError: More days have no file than the window allows.
        StorageError: The store is out of reach.
    """
    spans: dict[str, Span] = {
        part: _span(window, logical, f"run.data.{part}", (left_out or {}).get(part, ()))
        for part in PARTS
        if isinstance(window := getattr(config.data, part), Window)
    }
    update: dict[str, object] = {part: list(span.uris) for part, span in spans.items()}
    return config.model_copy(update={"data": config.data.model_copy(update=update)}), spans


def _span(window: Window, logical: date, where: str, left_out: Collection[date]) -> Span:
    days = days_of(window, logical)
    uris = [uri_of(window, day) for day in days]
    with ThreadPoolExecutor(_LISTINGS, thread_name_prefix="kfit-days") as pool:
        has_files = list(pool.map(lambda uri, day: day not in left_out and _has_files(uri), uris, days))
    missing = tuple(itertools.compress(days, (not present for present in has_files)))
    allowed = window.max_missing if window.missing == "warn" else 0
    if len(missing) > allowed or len(missing) == len(days):
        shown = ", ".join(day.isoformat() for day in missing[:5]) + (", …" if len(missing) > 5 else "")
        policy = f"; missing: warn allows {allowed}" if allowed else ""
        raise DataError(
            f"{len(missing)} of {len(days)} days have no file: {shown}{policy}",
            where=f"{where} ({window.uri}, date {logical})",
            remedy="write the days, or set missing: warn and max_missing for the window",
        )
    return Span(days[0], days[-1], missing, tuple(itertools.compress(uris, has_files)))


def _has_files(uri: str) -> bool:
    try:
        return bool(storage.expand(uri))
    except storage.NotFound:
        return False


def check_fresh(config: Config) -> None:
    """Checks that no shard of the holdout is also used for training or validation.

    The shards themselves are compared, whether folders, globs, links or windows name them. A validation split of the
    training rows counts as training: its rows are not fresh either.

    Args:
        config: The configuration, without windows (see `resolve`).

    Raises:
        ConfigError: A shard is in both.
        NotFound: A part of the data matches no file.
        StorageError: The store is out of reach.
    """
    data = config.data
    if data.holdout_uris is None:
        return
    holdout = _shards(data.holdout_uris)
    parts = {"train": data.train_uris}
    if isinstance(data.validation, str | list):
        parts["validation"] = data.validation
    for part, uris in parts.items():
        shared = holdout.keys() & _shards(uris).keys()
        if shared:
            first = min(shared)
            raise ConfigError(
                f"{len(shared)} of {len(holdout)} shards of data.holdout are also in data.{part}",
                where=holdout[first],
                remedy=f"give data.holdout shards of its own; with windows end data.{part} earlier, e.g. "
                "until: -8d where the holdout has the last 7 days",
            )


def _shards(uris: str | list[str]) -> dict[str, str]:
    """Maps the identity of each shard to its URI."""
    return {_identity(shard.uri): shard.uri for shard in storage.expand(uris)}


def _identity(uri: str) -> str:
    """Returns one text for all spellings of an object: local links resolved, one scheme for each store."""
    if (path := storage.local_path(uri)) is not None:
        return os.path.realpath(path)
    scheme, _, rest = uri.partition("://")
    return f"{_SCHEMES.get(scheme, scheme)}://{rest}"
