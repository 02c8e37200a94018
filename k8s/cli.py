"""The command line of the launcher: words in, exit code out.

Everything heavy is imported inside the command that needs it, and TensorFlow nowhere: what needs it is
another process.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from trainer import __version__
from trainer.cli import leave, run

_job = click.argument("job", type=click.Path(dir_okay=False))
_set = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, as helm does: run.fit.epochs=3."
)


#: Verb -> module:command; a module is imported when its verb is called.
LAZY = {
    "history": "k8s.commands.history:history",
    "promote": "k8s.commands.production:promote",
    "rollback": "k8s.commands.production:rollback",
    "prune": "k8s.commands.prune:prune",
    "compare": "k8s.commands.compare:compare",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        module, _, name = LAZY[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kfit")
def cli() -> None:
    """Keras training as a batch job: write a job file, check it, run it."""


@cli.command()
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


@cli.command()
@_job
@_set
@click.option("-o", "--output-format", "form", type=click.Choice(["table", "json"]), default="table")
def check(job: str, overrides: tuple[str, ...], form: str) -> None:
    """All that can be known of JOB before a GPU is held."""
    become_trainer("check", job, overrides, ["-o", form])


@cli.command("run")
@_job
@_set
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


def main() -> NoReturn:
    """Entry point of `kfit`."""
    leave(run(cli))
