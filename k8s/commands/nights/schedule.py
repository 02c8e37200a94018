"""`kfit schedule`: runs by the clock: list, apply, suspend, resume, delete."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import complete_schedules
from k8s.commands.options import Target, confirmed, deprecated, examples, output_option, target_options, yes_option
from trainer.errors import ConfigError
from trainer.job_options import JobSource, job_source

if TYPE_CHECKING:
    from k8s.api.client import Cluster, Object

_several_schedules = click.argument(
    "schedules", metavar="SCHEDULE...", nargs=-1, required=True, shell_complete=complete_schedules
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be changed; change nothing.")
_DONE = {"suspend": "suspended", "resume": "resumed", "delete": "deleted"}


class Schedules(click.Group):
    """A group that still takes its older form: `kfit schedule JOB --suspend`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrites the older form into a subcommand, and says how it is written now."""
        return super().parse_args(ctx, self._rewritten(args))

    def _rewritten(self, args: list[str]) -> list[str]:
        if any(word in self.commands or word in ("-h", "--help") for word in args):
            return args
        flags = [word for word in args if word in ("--suspend", "--resume", "--delete")]
        if flags:
            verb = flags[-1].removeprefix("--")
            deprecated(f"`kfit schedule SCHEDULE --{verb}`", f"`kfit schedule {verb} SCHEDULE`")
            return [verb, *(word for word in args if word not in flags)]
        if _names_something(args):
            deprecated("`kfit schedule JOB`", "`kfit schedule apply JOB`")
            return ["apply", *args]
        return ["list", *args]


def _names_something(args: list[str]) -> bool:
    """Whether a word is neither an option nor an option's value."""
    with_value = ("-n", "--namespace", "--context", "--kubeconfig", "-o", "--output", "--set")
    return any(not word.startswith("-") and before not in with_value for before, word in pairwise(["", *args]))


@click.group(
    cls=Schedules,
    epilog=examples(
        "kfit schedule apply nightly.yaml   # create or change the CronJob of a job file",
        "kfit schedule suspend nightly      # start nothing until `kfit schedule resume nightly`",
    ),
)
@target_options
@click.pass_context
def schedule(ctx: click.Context, target: Target) -> None:
    """List, create, suspend, resume and delete schedules.

    They are the CronJobs of job files with `schedule:`.
    """
    ctx.obj = target


@schedule.command("list", epilog=examples("kfit schedule list", "kfit schedule list -o json"))
@output_option("table", "json", "yaml", "name")
@target_options
def list_schedules(form: str, target: Target) -> None:
    """List the schedules of the namespace."""
    from k8s.actions.schedules import summary
    from k8s.api.client import OURS
    from k8s.output import tables

    cluster = target.open()
    now = datetime.now(UTC)
    cronjobs = cluster.select("CronJob", labels=OURS)
    tables.schedules([summary(cronjob, now) for cronjob in cronjobs], form, cluster.namespace)


@schedule.command(
    epilog=examples("kfit schedule apply nightly.yaml", "kfit schedule apply nightly.yaml --set schedule.suspend=true")
)
@job_source
@click.option("--dry-run", is_flag=True, help="Let the cluster check it; create and change nothing.")
@output_option("table", "json", "yaml", "name")
@target_options
def apply(job: JobSource, dry_run: bool, form: str, target: Target) -> None:
    """Create or change the schedule of JOB, a job file with `schedule:`."""
    from k8s.actions.apply import submit
    from k8s.chart.yaml_documents import workload
    from k8s.commands.run.submit import manifests
    from k8s.output import tables

    cluster = target.open()
    objects = manifests(job, cluster.version(), namespace=cluster.namespace)
    if workload(objects)["kind"] != "CronJob":
        raise ConfigError(
            "the job file has no `schedule:`", where=", ".join(job.files), remedy='add schedule: {cron: "0 2 * * *"}'
        )
    tables.submitted([submit(cluster, objects, dry_run=dry_run)], form, cluster.namespace, dry_run=dry_run)


def _add_verb(verb: str, text: str, *lines: str) -> None:
    """Adds the subcommand that suspends, resumes or deletes schedules."""

    @schedule.command(verb, epilog=examples(*lines))
    @_several_schedules
    @_dry_run
    @yes_option
    @target_options
    def change(schedules: tuple[str, ...], dry_run: bool, yes: bool, target: Target) -> None:
        cluster = target.open()
        # All are looked up and checked first: one wrong name leaves the others alone.
        cronjobs = _look_up(cluster, schedules)
        if confirmed(list(cronjobs), "schedule", verb, _DONE[verb], dry_run=dry_run, yes=yes):
            for name, cronjob in cronjobs.items():
                _change(cluster, verb, cronjob)
                click.echo(f"{name} {_DONE[verb]}")

    change.help = f"{text}\n\nSCHEDULE is its name, or the path of its job file."


_add_verb(
    "suspend", "Start no run of SCHEDULE until it is resumed; a run under way goes on.",
    "kfit schedule suspend nightly", "kfit schedule suspend nightly weekly --yes",
)  # fmt: skip
_add_verb(
    "resume", "Start runs of SCHEDULE again.",
    "kfit schedule resume nightly", "kfit schedule resume nightly.yaml",
)  # fmt: skip
_add_verb(
    "delete", "Delete SCHEDULE and its Jobs; what the runs left in storage stays.",
    "kfit schedule delete nightly --dry-run", "kfit schedule delete nightly",
)  # fmt: skip


def _look_up(cluster: Cluster, words: tuple[str, ...]) -> dict[str, Object]:
    from k8s.actions.lookup import find_schedule

    cronjobs = [find_schedule(cluster, _name(word)) for word in words]
    return {f"cronjob.batch/{cronjob['metadata']['name']}": cronjob for cronjob in cronjobs}


def _change(cluster: Cluster, verb: str, cronjob: Object) -> None:
    from k8s.actions.apply import delete_workload

    if verb == "delete":
        delete_workload(cluster, cronjob)
    else:
        cluster.patch("CronJob", str(cronjob["metadata"]["name"]), {"spec": {"suspend": verb == "suspend"}})


def _name(word: str) -> str:
    """Returns the schedule's name: the word itself, or the `name:` of the job file that it is the path of.

    Raises:
        ConfigError: The job file has no name.
    """
    try:
        if not Path(word).is_file():
            return word
    except (OSError, ValueError):  # too long for a path, or a NUL
        return word
    from trainer.config.yaml_file import load_yaml

    name = load_yaml(Path(word))[0].get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError("the job file has no `name:`", where=word, remedy="give it the schedule's name, or name it")
    return name
