"""The command line of the launcher: words in, exit code out.

A verb is imported when it is used, and everything heavy inside it when it runs; TensorFlow nowhere: what
needs it is another process.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from k8s.commands.options import Target, target_options
from trainer import __version__
from trainer.cli import leave, run

#: Where each verb lies, by the groups of `--help`.
GROUPS = {
    "Author": {
        "init": "k8s.commands.author.local:init",
        "check": "k8s.commands.author.local:check",
        "fit": "k8s.commands.author.local:fit",
        "render": "k8s.commands.run.submit:render",
    },
    "Run": {
        "submit": "k8s.commands.run.submit:submit",
        "cancel": "k8s.commands.run.cancel:cancel",
        "resume": "k8s.commands.run.resume:resume",
    },
    "Watch": {
        "list": "k8s.commands.watch.list:list_runs",
        "status": "k8s.commands.watch.status:status",
        "logs": "k8s.commands.watch.logs:logs",
        "wait": "k8s.commands.watch.wait:wait",
        "why": "k8s.commands.watch.why:why",
    },
    "Nights": {
        "schedule": "k8s.commands.nights.schedule:schedule",
        "trigger": "k8s.commands.nights.trigger:trigger",
        "history": "k8s.commands.nights.history:history",
        "compare": "k8s.commands.nights.compare:compare",
    },
    "Production": {
        "promote": "k8s.commands.production.promote:promote",
        "rollback": "k8s.commands.production.promote:rollback",
        "prune": "k8s.commands.production.prune:prune",
    },
    "Cluster": {
        "doctor": "k8s.commands.cluster.doctor:doctor",
        "version": "k8s.commands.cluster.version:version",
        "completion": "k8s.commands.cluster.completion:completion",
    },
}
#: Other names that work too: kubectl's, and older ones.
ALIASES = {"apply": "k8s.commands.run.submit:submit", "run": "k8s.commands.author.local:run_job"}
VERBS = {verb: where for verbs in GROUPS.values() for verb, where in verbs.items()}


class Verbs(click.Group):
    """A group whose commands are imported when they are used, listed by subject."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns the verb, imported; None where there is none of that name."""
        where = (VERBS | ALIASES).get(cmd_name)
        if where is None:
            return None
        module, _, function = where.partition(":")
        command: click.Command = getattr(import_module(module), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs of each group, all in one column."""
        width = max(map(len, VERBS))
        limit = formatter.width - width - 6
        for group, verbs in GROUPS.items():
            with formatter.section(group):
                rows = [(verb.ljust(width), self._command(ctx, verb).get_short_help_str(limit)) for verb in verbs]
                formatter.write_dl(rows)

    def _command(self, ctx: click.Context, verb: str) -> click.Command:
        command = self.get_command(ctx, verb)
        assert command is not None, "GROUPS names only verbs"
        return command


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kfit")
@target_options
@click.pass_context
def cli(ctx: click.Context, target: Target) -> None:
    """Keras training as a batch job: write a job file, check it, submit it, follow it."""
    ctx.obj = target
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Entry point of `kfit`."""
    leave(run(cli))


def complete_for_kubectl() -> NoReturn:
    """Entry point of `kubectl_complete-kfit`, which kubectl asks on a tab key."""
    from k8s.commands.cluster.completion import kubectl

    for line in kubectl(cli, sys.argv[1:]):
        click.echo(line)
    leave(0)
