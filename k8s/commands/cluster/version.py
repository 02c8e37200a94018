"""`kfit version`: of the client, its chart, helm and the cluster."""

from __future__ import annotations

import subprocess

import click

from k8s.commands.options import Target, examples, output_option, target_options
from k8s.errors import AccessError
from trainer import __version__
from trainer.errors import KfitError
from trainer.progress import terminal


@click.command(epilog=examples("kfit version", "kfit version --client -o json"))
@click.option("--client", "client_only", is_flag=True, help="Ask no cluster.")
@output_option("table", "json", "yaml")
@target_options
def version(client_only: bool, form: str, target: Target) -> None:
    """Print the versions of kfit, its chart, helm and cluster.

    A version that is not known is null.
    """
    from k8s.output import tables

    versions: dict[str, str | None] = {"client": __version__, "chart": _chart(), "helm": _helm()}
    if not client_only:
        versions["server"] = _server(target)
    if form == "table":
        tables.table([{"PART": part, "VERSION": version or "–"} for part, version in versions.items()])
    else:
        tables.documents([versions], form, many=False)


def _chart() -> str:
    import yaml

    from k8s.chart.render import chart_folder

    return str(yaml.safe_load((chart_folder() / "Chart.yaml").read_text())["version"])


def _helm() -> str | None:
    from k8s.chart.render import helm_program

    try:
        program = helm_program()
    except AccessError as missing:
        click.echo(f"note: {missing.what}", err=True)
        return None
    done = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _server(target: Target) -> str | None:
    try:
        return target.open().version()
    except KfitError as away:
        terminal.echo(f"note: the cluster's version is not known: {away}", err=True)
        return None
