"""`kfit promote` and `kfit rollback`: production moved by hand. They need the store alone, no cluster."""

from __future__ import annotations

import json

import click

from k8s.commands.options import examples, storage_format_option
from k8s.history.run_records import of_a_job, output_of
from trainer import storage
from trainer.errors import ConfigError
from trainer.nightly import production
from trainer.nightly.production import Production
from trainer.run_id import check_run_id

_why = click.option("--why", help="The reason, kept in production.json.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
_form = storage_format_option("text", "json")


@click.command(
    epilog=examples(
        "kfit promote flights-1a2b3c4d -f job.yaml --dry-run",
        'kfit promote flights-1a2b3c4d --output-uri s3://models/flights --why "new features"',
    )
)
@click.argument("run")
@of_a_job
@_why
@_dry_run
@_form
def promote(
    run: str, files: tuple[str, ...], output_uri: str | None, why: str | None, dry_run: bool, form: str
) -> None:
    """Put RUN into production, whatever the gate said."""
    check_run_id(run, "kfit promote RUN")
    uri = output_of(files, output_uri)
    seen = production.read(uri)
    if seen is not None and seen.run == run:
        raise ConfigError(f"{run} is in production already", where=uri, remedy="nothing is to do")
    _move(uri, run, seen, why or "promoted by hand", "promote", dry_run, form)


@click.command(
    epilog=examples("kfit rollback -f job.yaml --dry-run", "kfit rollback -f job.yaml --to flights-1a2b3c4d")
)
@of_a_job
@click.option("--to", metavar="RUN", help="The run to go back to. Default: the one before.")
@_why
@_dry_run
@_form
def rollback(
    files: tuple[str, ...], output_uri: str | None, to: str | None, why: str | None, dry_run: bool, form: str
) -> None:
    """Go back to the run that was in production before."""
    if to is not None:
        check_run_id(to, "--to")
    uri = output_of(files, output_uri)
    seen = production.read(uri)
    run = production.rollback_target(seen, to, uri)
    _move(uri, run, seen, why or "rolled back by hand", "rollback", dry_run, form)


def _move(uri: str, run: str, seen: Production | None, why: str, action: str, dry_run: bool, form: str) -> None:
    _check_published(uri, run)
    moved = None if dry_run else production.move(uri, run, current=seen, why=why, action=action)
    if form == "json":
        document = {
            "output": uri,
            "from": seen.run if seen else None,
            "to": run,
            "changed": moved is not None,
            "generation": moved.generation if moved else None,
        }
        click.echo(json.dumps(document, indent=2))
        return
    before = seen.run if seen else "(nothing)"
    click.echo(f"{before} -> {run}" + (" (dry run: nothing was changed)" if moved is None else ""))
    if moved is not None and seen is not None:
        click.echo(f"back again: kfit rollback --output-uri {uri} --to {seen.run}", err=True)


def _check_published(uri: str, run: str) -> None:
    """A dry run must find what the real one would."""
    folder = storage.join(uri, "runs", run)
    if not storage.exists(storage.join(folder, "model", "MANIFEST.json")):
        known = run in storage.list_folders(storage.join(uri, "runs"))
        raise ConfigError(
            "the run has no published model" if known else "no such run", where=folder, remedy="see `kfit history`"
        )
