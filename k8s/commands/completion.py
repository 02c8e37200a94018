"""`kfit completion`: the shell's own completion, with names of runs and schedules."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what completes `kfit` in a SHELL: source <(kfit completion bash)."""
    from click.shell_completion import get_completion_class

    from k8s.cli import cli

    found = get_completion_class(shell)
    assert found is not None, "click knows the shells named above"
    click.echo(found(cli, {}, "kfit", "_KFIT_COMPLETE").source())


def names(context: click.Context, kind: str, incomplete: str) -> list[str]:
    """Names of Jobs or CronJobs that begin so; none where the cluster does not answer at once."""
    from k8s import kubeconfig
    from k8s.cluster import Cluster
    from k8s.transport import Transport
    from trainer.errors import KfitError

    given: dict[str, str] = {}
    for level in (context.parent, context):
        given |= {k: v for k, v in (level.params if level else {}).items() if v}
    try:
        access = kubeconfig.load(given.get("kubeconfig"), given.get("context"), given.get("namespace"))
        found = Cluster(Transport(access, patience_s=1.0), access.namespace).select(
            kind, labels="app.kubernetes.io/part-of=kfit"
        )
    except KfitError:
        return []
    return [n for item in found if (n := str(item["metadata"]["name"])).startswith(incomplete)]
