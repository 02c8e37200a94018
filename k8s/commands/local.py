"""`kfit init`, `check` and `run --local`: what needs no cluster."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from k8s.commands.options import job_argument, set_option


@click.command()
@click.argument("data_uri")
@click.option("--label", required=True, help="Column to predict.")
@click.option(
    "--task", type=click.Choice(["binary", "multiclass", "regression"]), help="Needed for a label of integers."
)
@click.option("--output", default="runs", show_default=True, help="Folder or URI that runs write to.")
@click.option("--name", default="training", show_default=True, help="The job's name.")
def init(data_uri: str, label: str, task: str | None, output: str, name: str) -> None:
    """Print a job file for the Parquet at DATA_URI."""
    from k8s.commands.init import job_file

    click.echo(job_file(data_uri, label=label, task=task, output=output, name=name), nl=False)


@click.command()
@job_argument
@set_option
@click.option("-o", "--output-format", "form", type=click.Choice(["table", "json"]), default="table")
def check(job: str, overrides: tuple[str, ...], form: str) -> None:
    """All that can be known of JOB before a GPU is held."""
    become_trainer("check", job, overrides, ["-o", form])


@click.command("run")
@job_argument
@set_option
@click.option("--local", is_flag=True, required=True, help="On this machine, in this environment.")
@click.option("--devices", default="auto", show_default=True, help="auto, gpu, cpu or cpu:N.")
def run_job(job: str, overrides: tuple[str, ...], local: bool, devices: str) -> None:
    """Fit JOB on this machine, as its pod would."""
    become_trainer("fit", job, overrides, ["--devices", devices])


def become_trainer(verb: str, job: str, overrides: tuple[str, ...], options: list[str]) -> NoReturn:
    """Replaces this process by the trainer: one preflight and one fit, wherever they are asked for."""
    sets = [word for override in overrides for word in ("--set", override)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trainer", verb, job, *sets, *options])
