"""The command line of the trainer: words in, exit code out.

Every heavy import is inside the command that needs it: `--help` must be quick, and `check` and
`statistics` run on machines without TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from trainer import __version__, termination
from trainer.errors import ConfigError, ExitCode, KfitError
from trainer.job_options import JobSource, job_source
from trainer.progress import terminal
from trainer.termination import leave

if TYPE_CHECKING:
    from datetime import date

    from trainer.config import Config, JobDocument

__all__ = ["cli", "leave", "main", "run"]

_date = click.option("--date", metavar="DAY", help="Day that windows of the data are counted from: 2013-03-01.")
_output = click.option("-o", "--output-format", "form", type=click.Choice(["table", "json"]), default="table")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trainer")
def cli() -> None:
    """Keras training as a batch job: Parquet in, a servable model out.

    Exit codes: 0 done, 64 configuration, 65 data, 69 storage, 70 program, 71 stalled,
    75 preempted, 76 another worker lost.
    """


@cli.command()
@job_source
@click.option("--run", "run_id", envvar="KFIT_RUN", help="The run's id; the same id goes on where it stopped.")
@click.option("--devices", envvar="KFIT_DEVICES", default="auto", show_default=True, help="auto, gpu, cpu or cpu:N.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes of this machine.")
@_date
@_output
def fit(
    job: JobSource,
    run_id: str | None,
    devices: str,
    workers: int,
    date: str | None,
    form: str,
) -> None:
    """Train, checkpoint, export and report one run of JOB."""
    # As a container's first process it would not get the signal at all without a handler.
    signal.signal(signal.SIGTERM, lambda *_: leave(ExitCode.PREEMPTED))
    document = _read(job)
    config = _checked(document)
    from trainer.progress.progress import Progress, make_progress, metrics_table
    from trainer.progress.views import Notes
    from trainer.run.fit import fit as run_fit
    from trainer.run_id import new_run_id
    from trainer.workers.rank import rank_from

    rank = rank_from(os.environ)
    if rank.workers > 1 and not run_id:
        raise ConfigError("several workers need one name for their run", where="--run", remedy="give --run or KFIT_RUN")
    run_id = run_id or new_run_id(_job_name(job, document))
    if workers > 1:
        if rank.workers > 1:
            raise ConfigError(
                "this process is one of several workers already", where="--workers", remedy="leave it out"
            )
        leave(_run_workers(job, document, run_id, devices, form, workers, date))
    err = terminal.console(stderr=True)
    progress = make_progress(err) if rank.chief or not rank.local else Progress([Notes(err)])
    result = run_fit(config, run_id=run_id, devices=devices, progress=progress, date=_day(date), rank=rank)
    if not rank.chief:
        return
    if form == "json":
        _print_json(dict(result.document))
        return
    if result.document["status"] == "skipped":
        terminal.echo(f"skipped {result.document['reason']}")
        return
    terminal.console().print(metrics_table(result.document))
    for name in ("report.html", "model"):
        # One line a path, never wrapped: people copy it.
        terminal.echo(f"{name.removesuffix('.html'):<7} {result.uri}/{name}")


def _run_workers(
    job: JobSource, document: JobDocument, run_id: str, devices: str, form: str, workers: int, date: str | None
) -> int:
    import tempfile
    from pathlib import Path

    from trainer.workers.local_launch import run_workers

    words = ["--run", run_id, "--devices", devices, "--output-format", form]
    words += ["--date", date] if date else []
    if "-" not in job.files:
        return run_workers(["fit", *job.words(), *words], workers)
    with tempfile.TemporaryDirectory(prefix="kfit-job-") as folder:  # stdin can be read once
        whole = Path(folder, "job.yaml")
        whole.write_text(document.as_yaml())
        return run_workers(["fit", str(whole), *words], workers)


@cli.command()
@job_source
@_date
@_output
def check(job: JobSource, date: str | None, form: str) -> None:
    """All that can be known of JOB before a GPU is held: configuration, shards, schema, rows, output."""
    config = _load_for(job, date)
    from trainer.run.preflight import check as run_check
    from trainer.run.preflight import check_table

    findings = run_check(config)
    if form == "json":
        _print_json(findings)
    else:
        terminal.console().print(check_table(findings))


@cli.command()
@job_source
@_date
@_output
def statistics(job: JobSource, date: str | None, form: str) -> None:
    """One pass over JOB's training rows: nulls, distribution and values of every column."""
    config = _load_for(job, date)
    from trainer.feed.statistics.prepare import prepare
    from trainer.local_cache import local_cache
    from trainer.progress.progress import make_progress
    from trainer.run.preflight import statistics_json, statistics_table

    progress = make_progress()
    try:
        prepared = prepare(
            config, cache=local_cache(), progress=lambda done, total: progress.phase("statistics", done, total)
        )
    finally:
        progress.stop()
    if form == "json":
        _print_json(statistics_json(prepared))
    else:
        terminal.console().print(statistics_table(prepared))


@cli.command()
@click.argument("model")
@click.option("--data", required=True, multiple=True, help="Parquet: folder, URI or glob; may be repeated.")
@_output
def evaluate(model: str, data: tuple[str, ...], form: str) -> None:
    """Score MODEL (a run's URI, its model/, or an output.uri) on labelled data."""
    from trainer.tensorflow_import import import_tensorflow

    import_tensorflow()
    from trainer.run.preflight import values_table
    from trainer.serving.evaluation import evaluate as run_evaluate

    with _counting("evaluated") as seen:
        result = run_evaluate(model, list(data), seen=seen)
    _warn_of_unanswered(result)
    if form == "json":
        _print_json(result)
    else:
        terminal.console().print(values_table(f"{result['run']}: {result['rows']:,} rows", result["metrics"]))
        for name, why in result["undefined"].items():
            terminal.echo(terminal.visible(f"{name} is not defined: {why}"), err=True)


@cli.command()
@click.argument("model")
@click.option("--data", required=True, multiple=True, help="Parquet: folder, URI or glob; may be repeated.")
@click.option("--output", required=True, help="Folder or URI for the answers, a file a shard.")
@click.option("--column", default="prediction", show_default=True, help="Name of the column of predictions.")
@_output
def predict(model: str, data: tuple[str, ...], output: str, column: str, form: str) -> None:
    """Ask MODEL: Parquet in, Parquet out, with a column `prediction`."""
    from trainer.tensorflow_import import import_tensorflow

    import_tensorflow()
    from trainer.serving.prediction import predict as run_predict

    with _counting("predicted") as seen:
        result = run_predict(model, list(data), output, column=column, seen=seen)
    _warn_of_unanswered(result)
    if form == "json":
        _print_json(result)
    else:
        terminal.echo(f"{result['rows']:,} rows in {result['shards']} shards -> {output}")


def _warn_of_unanswered(result: Mapping[str, Any]) -> None:
    if result["unanswered"]:
        terminal.warn(
            f"{result['unanswered']:,} of {result['rows']:,} rows have no answer: they lack a value of a column that "
            "the model was trained on without impute"
        )


# --- the edges ------------------------------------------------------------------------------------


def _read(job: JobSource) -> JobDocument:
    from trainer.config import load_document

    return load_document(job.files, job.overrides)


def _checked(document: JobDocument) -> Config:
    from trainer.config import Config

    return Config.from_document(document, warn=terminal.warn)


def _day(text: str | None) -> date | None:
    from trainer.nightly.windows import parse_date

    return None if text is None else parse_date(text, "--date")


def _load_for(job: JobSource, day: str | None) -> Config:
    """The configuration as a run of that day reads it: windows are days."""
    from datetime import UTC, datetime

    from trainer.nightly import windows

    config = _checked(_read(job))
    if not windows.has_window(config):
        return config
    return windows.resolve(config, _day(day) or windows.logical_date(os.environ, datetime.now(UTC)))[0]


def _job_name(job: JobSource, document: JobDocument) -> str:
    """The job file's `name`, which belongs to the chart; the first file's own name without one."""
    import re
    from pathlib import Path

    name = str(document.values.get("name") or Path(job.files[0]).stem)
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-._") or "run"


@contextlib.contextmanager
def _counting(verb: str) -> Iterator[Callable[[int], None]]:
    """A spinner with a row count on stderr while a command streams."""
    with terminal.console(stderr=True).status(f"{verb} 0 rows") as status:
        yield lambda rows: status.update(f"{verb} {rows:,} rows")


def _print_json(document: dict[str, Any]) -> None:
    from trainer.checkpoint.run_folder import to_json

    terminal.echo(to_json(document).decode(), nl=False)


def run(command: click.Command, arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code; every fault is one message on stderr.

    Args:
        command: The click command.
        arguments: Words after the program's name; sys.argv by default.

    Returns:
        An exit code of the table, or 130 when interrupted.
    """
    try:
        command.main(args=arguments, standalone_mode=False)
    except KfitError as error:
        if not error.told:
            terminal.echo(f"error: {terminal.error_text(error)}", err=True)
        termination.write(error.exit_code, terminal.error_text(error))
        return int(error.exit_code)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as wrong:
        # A word click does not know is configuration, not its own exit code 2.
        context = getattr(wrong, "ctx", None)
        hint = f"; try {context.command_path} --help" if context else ""
        told = terminal.error_text(ConfigError(wrong.format_message().rstrip(".")))
        terminal.echo(f"error: {told}{hint}", err=True)
        return int(ConfigError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        terminal.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except Exception:
        import traceback

        terminal.echo(traceback.format_exc(), err=True, nl=False)
        terminal.echo("error: this is a fault of kfit; please report the lines above", err=True)
        termination.write(ExitCode.PROGRAM, traceback.format_exc(limit=-1).strip().splitlines()[-1])
        return int(ExitCode.PROGRAM)
    return 0


def main() -> NoReturn:
    """Entry point of `trainer`."""
    leave(run(cli))
