"""`kfit completion`: the shell's own completion, with names of runs and schedules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from k8s.commands.options import examples

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples("source <(kfit completion bash)", "kfit completion fish > ~/.config/fish/completions/kfit.fish")
)
@click.argument("shell", metavar="SHELL", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion of a SHELL: bash, zsh or fish.

    It completes verbs, options, and names of runs and schedules.
    """
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None, "click knows the shells named above"
    click.echo(shell_class(click.get_current_context().find_root().command, {}, "kfit", "_KFIT_COMPLETE").source())


def kubectl(root: click.Command, words: Sequence[str]) -> Iterator[str]:
    """Yields the completions of `kubectl kfit WORDS<TAB>`: a line each with value and help, then cobra's directive."""
    from click.shell_completion import ShellComplete

    *given, incomplete = words or [""]
    items = ShellComplete(root, {}, "kubectl kfit", "").get_completions(given, incomplete)
    yield from (f"{item.value}\t{item.help}" if item.help else item.value for item in items if item.type == "plain")
    # Cobra's directives: 0, the shell's own file names too; 4, nothing else.
    yield ":0" if any(item.type == "file" for item in items) else ":4"
