"""`kfit init`, `check` and `fit`: what needs no cluster."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import NoReturn

import click

from k8s.commands.options import deprecated, examples
from trainer.job_options import JobSource, job_source

_devices = click.option("--devices", default="auto", show_default=True, help="auto, gpu, cpu or cpu:N.")


def _older_output(context: click.Context, parameter: click.Parameter, uri: str | None) -> str | None:
    if uri is not None:
        deprecated("`--output URI`", "`--output-uri URI`")
    return uri


@click.command(
    epilog=examples(
        "kfit init s3://lake/flights/ --label late --output-uri s3://models/flights > job.yaml",
        "kfit init data/ --label price --task regression --name prices",
    )
)
@click.argument("data_uri")
@click.option("--label", required=True, help="Column to predict.")
@click.option(
    "--task",
    type=click.Choice(["binary", "multiclass", "multilabel", "regression", "count", "quantile"]),
    help="Needed where the label may be classes or amounts.",
)
@click.option(
    "--output-uri", default="runs", show_default=True, metavar="URI", help="Folder or URI that runs write to."
)
@click.option("--output", "older_output", hidden=True, callback=_older_output)
@click.option("--name", default="training", show_default=True, help="The job's name.")
def init(data_uri: str, label: str, task: str | None, output_uri: str, older_output: str | None, name: str) -> None:
    """Print a job file for the Parquet at DATA_URI."""
    from k8s.chart.kubernetes_names import NAME
    from k8s.commands.author.init import job_file

    try:
        NAME.check(name)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--name") from wrong
    click.echo(job_file(data_uri, label=label, task=task, output=older_output or output_uri, name=name), nl=False)


@click.command(epilog=examples("kfit check job.yaml", "kfit check job.yaml --set run.fit.batch_size=8192 -o json"))
@job_source
@click.option(
    "-o", "--output", "--output-format", "form", type=click.Choice(["table", "json"]), default="table",
    help="Format of what is printed.",
)  # fmt: skip
def check(job: JobSource, form: str) -> None:
    """Check JOB before a GPU is held: configuration, data, storage."""
    if "-" not in job.files:  # stdin is read once, by the trainer
        _check_chart_keys(job)
    become_trainer("check", job, ["-o", form])


def _check_chart_keys(job: JobSource) -> None:
    """Checks the keys beside `run:`, which the trainer leaves alone; a file that has none is for this machine alone.

    Raises:
        ConfigError: A key is wrong.
    """
    from k8s.chart.values import JobFile
    from trainer.config import load_document

    document = load_document(job.files, job.overrides)
    if document.values.keys() - {"run"}:
        JobFile.from_document(document)


@click.command(epilog=examples("kfit fit job.yaml", "kfit fit job.yaml -f small.yaml --set run.fit.epochs=1"))
@job_source
@_devices
@click.option("--workers", type=click.IntRange(1), help="Processes of this machine that train together.")
@click.option("--run", "run_id", metavar="ID", help="The run's id; the same id goes on where it stopped.")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day that windows of the data are counted from: 2013-03-01.",
)
def fit(job: JobSource, devices: str, workers: int | None, run_id: str | None, day: datetime | None) -> None:
    """Fit JOB on this machine, as its pod would."""
    given = {"--workers": workers, "--run": run_id, "--date": day and day.date()}
    chosen = [word for flag, value in given.items() if value is not None for word in (flag, str(value))]
    become_trainer("fit", job, ["--devices", devices, *chosen])


@click.command("run", hidden=True, epilog=examples("kfit fit job.yaml", "kfit run --local job.yaml   # the older name"))
@job_source
@click.option("--local", is_flag=True, required=True, help="On this machine, in this environment.")
@_devices
def run_job(job: JobSource, local: bool, devices: str) -> None:
    """Older name of `kfit fit`."""
    deprecated("`kfit run --local`", "`kfit fit`")
    become_trainer("fit", job, ["--devices", devices])


def become_trainer(verb: str, job: JobSource, options: list[str]) -> NoReturn:
    """Replaces this process by the trainer: one preflight and one fit, wherever they are started from."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trainer", verb, *job.words(), *options])
