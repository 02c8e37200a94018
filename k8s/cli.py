"""The command line of the launcher: words in, exit code out.

A verb is imported when it is used, and everything heavy inside it when it runs; TensorFlow nowhere: what
needs it is another process.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from k8s.commands.options import Target, target_options
from trainer import __version__
from trainer.cli import leave, run

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Verb(NamedTuple):
    """Where a verb lies below `k8s.commands`, and the first sentence of its help, which `--help` prints unimported."""

    where: str
    text: str


#: The verbs by the groups of `--help`.
GROUPS = {
    "Author": {
        "init": Verb("author.local:init", "Print a job file for the Parquet at DATA_URI."),
        "check": Verb("author.local:check", "Check JOB before a GPU is held: configuration, data, storage."),
        "fit": Verb("author.local:fit", "Fit JOB on this machine, as its pod would."),
        "render": Verb("run.submit:render", "Print what `submit` sends, as YAML that kubectl applies."),
    },
    "Run": {
        "submit": Verb("run.submit:submit", "Send JOB to the cluster."),
        "cancel": Verb("run.cancel:cancel", "End RUN after a last checkpoint; what it left in storage stays."),
        "resume": Verb("run.resume:resume", "Continue RUN where it stopped, in a new Job."),
    },
    "Watch": {
        "list": Verb("watch.list:list_runs", "List the runs whose Jobs are in the cluster, the newest first."),
        "status": Verb("watch.status:status", "Show RUN on one screen."),
        "logs": Verb("watch.logs:logs", "Print the logs of RUN, of the newest pod of each worker."),
        "wait": Verb("watch.wait:wait", "Wait for RUN to end; exit with the trainer's code."),
        "why": Verb("watch.why:why", "Say why RUN waits, failed or is slow, and what fixes it."),
        "open": Verb("watch.open:open_report", "Show the report of RUN in a browser."),
        "tensorboard": Verb("watch.tensorboard:tensorboard", "Show the curves of RUNs in TensorBoard, until Ctrl-C."),
    },
    "Nights": {
        "schedule": Verb("nights.schedule:schedule", "List, create, suspend, resume and delete schedules."),
        "trigger": Verb("nights.trigger:trigger", "Start a run of SCHEDULE now, beside its times."),
        "history": Verb("nights.history:history", "List all runs of a job from storage."),
        "compare": Verb("nights.compare:compare", "Show how runs A and B differ."),
    },
    "Production": {
        "promote": Verb("production.promote:promote", "Put RUN into production, whatever the gate said."),
        "rollback": Verb("production.promote:rollback", "Go back to the run that was in production before."),
        "prune": Verb("production.prune:prune", "Delete old runs from storage."),
    },
    "Cluster": {
        "doctor": Verb("cluster.doctor:doctor", "Check helm, cluster, rights and storage."),
        "version": Verb("cluster.version:version", "Print the versions of kfit, its chart, helm and cluster."),
        "completion": Verb("cluster.completion:completion", "Print the completion of a SHELL: bash, zsh or fish."),
        "man": Verb("cluster.man:man", "Write the man pages of all verbs into DIRECTORY."),
    },
}
#: Other names that work too: kubectl's, and older ones.
ALIASES = {"apply": "k8s.commands.run.submit:submit", "run": "k8s.commands.author.local:run_job"}
VERBS = {name: f"k8s.commands.{verb.where}" for verbs in GROUPS.values() for name, verb in verbs.items()}


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns verbs and options with this beginning; imports no verb, for a tab key must be quick."""
        from click.shell_completion import CompletionItem

        verbs = [(name, verb.text) for verbs in GROUPS.values() for name, verb in verbs.items()]
        matching = [CompletionItem(name, help=text) for name, text in verbs if name.startswith(incomplete)]
        return [*matching, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs of each group, all in one column."""
        width = max(map(len, VERBS))
        for group, verbs in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), verb.text) for name, verb in verbs.items()])


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
