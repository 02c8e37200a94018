"""Options that several verbs share. Imported by `--help`: nothing heavy here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from k8s.api.client import Cluster

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """Which cluster and namespace, as kubectl's flags say it.

    Attributes:
        kubeconfig: The file.
        context: Its context.
        namespace: The namespace.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    def open(self) -> Cluster:
        """The cluster, closed with the command; nothing is sent yet."""
        from k8s.api.client import Cluster

        cluster = Cluster.open(self.kubeconfig, self.context, self.namespace)
        click.get_current_context().call_on_close(cluster.close)
        return cluster

    def words(self) -> str:
        """The flags again, for a command that is told to a person."""
        flags = (("--kubeconfig", self.kubeconfig), ("--context", self.context), ("-n", self.namespace))
        return "".join(f" {flag} {value}" for flag, value in flags if value)


def target_options(function: F) -> F:
    """Adds --context, --namespace and --kubeconfig; the function gets them as `target`.

    They may stand before the verb and behind it; behind wins.
    """

    @functools.wraps(function)
    def with_target(
        *args: Any, kubeconfig: str | None, context: str | None, namespace: str | None, **kwargs: Any
    ) -> Any:
        before = click.get_current_context().parent
        outer = before.obj if before is not None and isinstance(before.obj, Target) else Target()
        target = Target(kubeconfig or outer.kubeconfig, context or outer.context, namespace or outer.namespace)
        return function(*args, target=target, **kwargs)

    options = (
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig file, as for kubectl."),
        click.option("--context", metavar="NAME", help="Its context."),
        click.option("-n", "--namespace", metavar="NAME", help="Namespace."),
    )
    decorated: Any = with_target
    for option in options:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of runs, for the shell."""
    from k8s.commands.completion import names

    return names(context, "Job", incomplete)


def complete_schedules(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of schedules, for the shell."""
    from k8s.commands.completion import names

    return names(context, "CronJob", incomplete)


job_argument = click.argument("job", type=click.Path(dir_okay=False))
run_argument = click.argument("run", shell_complete=complete_runs)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, as helm does: run.fit.epochs=3."
)


def output_option(*forms: str) -> Callable[[F], F]:
    """Adds -o; the first form is the default."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="What stdout carries.",
    )
