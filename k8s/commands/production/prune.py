"""`kfit prune`: deletes old runs by the job's `output.keep_runs`, never what serves or served before."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from k8s.commands.options import examples, storage_format_option
from k8s.history.run_records import of_a_job, output_of
from trainer.errors import ConfigError


@click.command(epilog=examples("kfit prune -f job.yaml --dry-run", "kfit prune -f job.yaml --keep 10 --older-than 90d"))
@of_a_job
@click.option("--keep", type=click.IntRange(min=1), help="Keep the newest so many. Default: the job's keep_runs.")
@click.option("--older-than", metavar="DAYS", help="Keep what is younger: 90d.")
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@storage_format_option("text", "name")
def prune(
    files: tuple[str, ...], output_uri: str | None, keep: int | None, older_than: str | None, dry_run: bool, form: str
) -> None:
    """Delete old runs from storage.

    The one in production, the one before it and unfinished ones stay.
    """
    from trainer.config import Config, JobDocument, KeepRuns
    from trainer.config.loader import validate
    from trainer.nightly import retention
    from trainer.progress import terminal

    uri = output_of(files, output_uri)
    given = {name: value for name, value in (("count", keep), ("age", older_than)) if value is not None}
    rules = Config.load(files).output.keep_runs if files else None
    if given:
        rules = validate(KeepRuns, given, JobDocument(given, source="kfit prune"))
    if rules is None:
        raise ConfigError(
            "nothing says which runs stay", where="kfit prune", remedy="set output.keep_runs, or give --keep N"
        )
    gone = retention.prune(uri, rules, now=datetime.now(UTC), dry_run=dry_run)
    for night in gone:
        terminal.echo(night.run if form == "name" else f"{night.run}  {night.status}  {night.finished}")
    click.echo(f"{len(gone)} runs {'would go' if dry_run else 'deleted'}", err=True)
