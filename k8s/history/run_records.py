"""What a job's runs left in storage: which job is meant, and the records of one run. No cluster is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.json_text import parse, parse_object

#: Parts of a result and of a configuration that hold named values.
_OBJECTS = frozenset({"metrics", "rows", "ledger_s", "decision", "windows", "versions", "config", "data"})
_RECORDS = ("config.json", "result.json", "metrics.jsonl", "statistics.json")


@dataclass(frozen=True)
class Record:
    """One run's files.

    Attributes:
        run: Its id. uri: its folder.
        config: config.json. result: result.json, empty while it has not finished.
        epochs: The lines of metrics.jsonl that end an epoch.
        statistics: statistics.json, empty where the run left none.
    """

    run: str
    uri: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    statistics: Mapping[str, Any]


def of_a_job(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say whose runs: `-f JOB` or `--output URI`."""
    file = click.option("-f", "--file", "job", type=click.Path(dir_okay=False), help="The job file.")
    uri = click.option("--output", "output", metavar="URI", help="Its output.uri, where no job file is at hand.")
    return file(uri(command))


def output_of(job: str | None, output: str | None) -> str:
    """The `output.uri` that the options name.

    Raises:
        ConfigError: Neither, both, or a job file that is wrong.
    """
    if (job is None) == (output is None):
        raise ConfigError("say which job", where="-f, --output", remedy="give -f JOB.yaml, or --output URI")
    if output is not None:
        return output
    from trainer.config import Config

    return Config.load(Path(str(job))).output.uri


def read_record(where: str, output_uri: str | None) -> Record:
    """The records of a run by its id, or by its folder's URI.

    Raises:
        ConfigError: There is no such run.
        StorageError: The store is out of reach or refuses.
    """
    uri = where if "/" in where else storage.join(_known(output_uri, where), "runs", where)
    found = storage.read_many([storage.join(uri, name) for name in _RECORDS])
    config, result, metrics, statistics = found
    if config is None:
        raise ConfigError("no such run", where=uri, remedy="see `kfit history`")
    lines = [parse_object(line) for line in (metrics or b"").splitlines()]
    ends = tuple(line for line in lines if line.get("end"))
    return Record(
        uri.rstrip("/").rpartition("/")[2],
        uri,
        _read(uri, _RECORDS[0], config),
        _read(uri, _RECORDS[1], result),
        ends,
        parse_object(statistics),
    )


def _known(output_uri: str | None, run: str) -> str:
    if output_uri is None:
        raise ConfigError(
            f"{run} is the id of a run of which job?", where="-f, --output", remedy="give -f JOB.yaml, or --output URI"
        )
    return output_uri


def _read(uri: str, name: str, data: bytes | None) -> dict[str, Any]:
    """A document of the run; parts that should be objects and are none are left out."""
    try:
        document = parse(data) if data else {}
    except ValueError as broken:
        raise DataError(
            f"is no JSON: {broken}", where=storage.join(uri, name), remedy="the run's other files may still be whole"
        ) from broken
    if not isinstance(document, dict):
        return {}
    return {k: v for k, v in document.items() if k not in _OBJECTS or isinstance(v, dict)}
