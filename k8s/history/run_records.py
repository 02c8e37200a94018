"""Reads from storage which job the options mean, and the records of one run. Needs no cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.job_options import job_files

#: Where a command keeps a URI that was given by an older flag, in click's `meta`.
OUTPUT_URI = "kfit.output_uri"
#: The documents of a record, and their members that are objects where they are there.
_DOCUMENTS = {
    "config.json": ("config", "versions", "windows"),
    "result.json": ("metrics", "decision", "windows", "rows", "ledger_s"),
    "statistics.json": ("columns",),
}
_NAME_THE_JOB = "give -f JOB.yaml, or --output-uri URI"


@dataclass(frozen=True)
class Record:
    """One run's files; a document that it has not written is empty, and `epochs` are the ends of metrics.jsonl."""

    run: str
    uri: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    statistics: Mapping[str, Any]


def of_a_job(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say whose runs are meant: `-f JOB` or `--output-uri URI`."""
    file = job_files("The job file.")
    uri = click.option("--output-uri", metavar="URI", help="Its output.uri, in place of a job file.")
    return file(uri(command))


def output_of(files: tuple[str, ...], output_uri: str | None) -> str:
    """Returns the `output.uri` that the options name.

    Raises:
        ConfigError: Neither or both are given, or the job file is wrong.
    """
    output_uri = older_output_uri(output_uri)
    if bool(files) == (output_uri is not None):
        raise ConfigError("say which job's runs", where="-f, --output-uri", remedy=_NAME_THE_JOB)
    if output_uri is not None:
        return output_uri
    from trainer.config import Config

    return Config.load(files).output.uri


def older_output_uri(output_uri: str | None) -> str | None:
    """Returns the URI that `--output-uri` gives, or else the older `--output`."""
    context = click.get_current_context(silent=True)
    return output_uri or (context.meta.get(OUTPUT_URI) if context else None)


def read_record(where: str, output_uri: str | None) -> Record:
    """Returns the records of a run by its id, or by its folder's URI.

    Raises:
        ConfigError: There is no such run.
        DataError: One of its files is damaged.
        StorageError: The store is out of reach or refuses.
    """
    if "/" in where:
        uri = where
    elif output_uri is not None:
        uri = storage.join(output_uri, "runs", where)
    else:
        raise ConfigError(f"{where} is the id of a run of which job?", where="-f, --output-uri", remedy=_NAME_THE_JOB)
    uris = [storage.join(uri, name) for name in (*_DOCUMENTS, "metrics.jsonl")]
    *documents, metrics = storage.read_many(uris)
    if documents[0] is None:
        raise ConfigError("no such run", where=uri, remedy="see `kfit history`")
    config, result, statistics = map(_json, uris, documents)
    _hide_url(config)
    lines = [_json(uris[-1], line) for line in (metrics or b"").splitlines() if line]
    ends = tuple(line for line in lines if line.get("end"))
    return Record(uri.rstrip("/").rpartition("/")[2], uri, config, result, ends, statistics)


def _hide_url(config: dict[str, Any]) -> None:
    """Hides the URL of `notify`: older runs stored it whole, and it may be a secret."""
    notify = (config.get("config") or {}).get("notify")
    if isinstance(notify, dict) and isinstance(notify.get("url"), str):
        from trainer.config.output import redacted_url

        notify["url"] = redacted_url(notify["url"])


def _json(where: str, data: bytes | None) -> dict[str, Any]:
    """Returns a JSON object; {} where there is no file.

    Raises:
        DataError: The file is not a JSON object.
    """
    try:
        document = json.loads(data) if data is not None else {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _damaged("it holds no JSON object", where)
    for member in _DOCUMENTS.get(where.rpartition("/")[2], ()):
        if not isinstance(document.get(member) or {}, dict):
            raise _damaged(f"its {member!r} is no object", where)
    for split, values in (document.get("metrics") or {}).items() if where.endswith("/result.json") else ():
        if not isinstance(values or {}, dict):
            raise _damaged(f"its 'metrics.{split}' is no object", where)
    return document


def _damaged(why: str, where: str) -> DataError:
    return DataError(f"is damaged: {why}", where=where, remedy="restore it, or name another run")
