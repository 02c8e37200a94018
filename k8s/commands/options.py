"""Options that several verbs share, each with one meaning everywhere. Imported by `--help`: nothing heavy here."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trainer.job_options import job_files
from trainer.progress import terminal

if TYPE_CHECKING:
    from k8s.api.client import Cluster

F = TypeVar("F", bound=Callable[..., Any])

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"


if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # generic from click 8.4 on


class Duration(_ParamType):
    """A duration on the command line, in seconds: `90s`, `10m`, `1h30m`, `2d`, or plain seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the seconds; refuses what is no duration before the verb does anything."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        if not re.fullmatch(f"({_PART})+", text):
            self.fail(f"{value!r} is not a duration; write it like 90s, 10m, 1h30m or 2d", param, ctx)
        return sum(float(amount) * _UNITS_S[unit] for amount, unit in re.findall(_PART, text))


DURATION = Duration()


@dataclass(frozen=True)
class Target:
    """The cluster and namespace to use, and as whom: the flags of `target_options`."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    request_timeout_s: float | None = None
    verbose: bool = False

    def open(self) -> Cluster:
        """Returns the cluster, closed when the command ends; nothing is sent yet."""
        from k8s.api.client import Cluster
        from k8s.api.credentials import Impersonation

        cluster = Cluster.open(
            self.kubeconfig,
            self.context,
            self.namespace,
            impersonation=Impersonation(self.as_user or "", self.as_groups),
            request_timeout_s=self.request_timeout_s,
            trace=(lambda line: terminal.echo(line, err=True)) if self.verbose else None,
        )
        click.get_current_context().call_on_close(cluster.close)
        return cluster

    def words(self) -> str:
        """Returns the flags again, for a command that is shown to a person; each with a space before it."""
        flags = [("--kubeconfig", self.kubeconfig), ("--context", self.context), ("-n", self.namespace)]
        flags += [("--as", self.as_user), *(("--as-group", group) for group in self.as_groups)]
        return "".join(f" {flag} {value}" for flag, value in flags if value)

    def within(self, outer: Target) -> Target:
        """Returns this target with what it leaves open taken from the flags before the verb."""
        own = {f.name: getattr(self, f.name) or getattr(outer, f.name) for f in fields(self)}
        return Target(**own)


def target_options(function: F) -> F:
    """Adds kubectl's flags that name cluster, namespace and user; the function gets them as `target`.

    They may stand before the verb and behind it; behind wins.
    """

    @functools.wraps(function)
    def with_target(*args: Any, **kwargs: Any) -> Any:
        own = Target(**{f.name: kwargs.pop(f.name) for f in fields(Target)})
        outer = click.get_current_context().find_object(Target) or Target()
        return function(*args, target=own.within(outer), **kwargs)

    options = (
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig file, as for kubectl."),
        click.option("--context", metavar="NAME", help="Context in the kubeconfig."),
        click.option("-n", "--namespace", metavar="NAME", help="Namespace."),
        click.option("--as", "as_user", metavar="USER", help="Act as this user."),
        click.option("--as-group", "as_groups", multiple=True, metavar="GROUP", help="Act as this group; repeatable."),
        click.option(
            "--request-timeout", "request_timeout_s", type=DURATION, metavar="DURATION", help="Limit of each request."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Print each request to the API server on stderr."),
    )
    decorated: Any = with_target
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def deprecated(old: str, new: str) -> None:
    """Says on stderr that a spelling still works, and how it is written now."""
    click.echo(f"note: {old} is now {new}", err=True)


def examples(*lines: str) -> str:
    """Returns a verb's epilog: its examples, one a line, as `--help` prints them."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def confirmed(names: Sequence[str], what: str, verb: str, done: str, *, dry_run: bool, yes: bool) -> bool:
    """Whether a verb is to act on these objects: only names them in a dry run, and asks on a terminal before several.

    Elsewhere the command line is the answer.

    Args:
        names: The objects, as kubectl names them: `job.batch/flights`.
        what: A run or a schedule, for the question.
        verb: What is done to them: cancel.
        done: What is said afterwards: cancelled.
        dry_run: Only say it.
        yes: Do not ask.

    Raises:
        click.Abort: The answer is no.
    """
    if dry_run:
        for name in names:
            click.echo(f"{name} would be {done} (dry run)")
        return False
    if len(names) > 1 and not yes and _is_interactive():
        shown = ", ".join(name.partition("/")[2] for name in names)
        click.confirm(f"{verb.capitalize()} {len(names)} {what}s: {shown}?", abort=True, err=True)
    return True


def _is_interactive() -> bool:
    return sys.stdin.isatty()


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
timeout_option = click.option(
    "--timeout", type=DURATION, metavar="DURATION", help="Wait no longer than 90s, 10m, 1h30m; then exit 124."
)
follow_option = click.option("--follow", is_flag=True, help="Follow it to its end; exit code as of `kfit wait`.")


def output_option(*formats: str) -> Callable[[F], F]:
    """Adds -o/--output, the format of stdout; the first format is the default."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="Format of what is printed.",
    )


def storage_format_option(*formats: str) -> Callable[[F], F]:
    """Adds -o/--output to a verb that reads storage alone; the first format is the default.

    `--output` used to name the place in storage, which still works where it cannot be a format.
    """

    def chosen(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> str:
        form = formats[0]
        for word in words:
            if word in formats:
                form = word
            elif "/" in word:
                from k8s.history.run_records import OUTPUT_URI

                context.meta[OUTPUT_URI] = word
                deprecated("`--output URI`", "`--output-uri URI`")
            else:
                message = f"{word!r} is not one of {', '.join(formats)}; --output-uri names the place in storage"
                raise click.BadParameter(message)
        return form

    return click.option(
        "-o",
        "--output",
        "--output-format",
        "form",
        multiple=True,
        callback=chosen,
        metavar=f"[{'|'.join(formats)}]",
        help=f"Format of what is printed.  [default: {formats[0]}]",
    )


def place_options(*flags: str) -> Callable[[F], F]:
    """Adds `-f JOB` and `--output-uri URI` to a verb that finds a run whose Job may be gone.

    The function gets the job's `output.uri` as `output_uri`; empty where neither is given.

    Args:
        flags: In place of `-f`, `--file`.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def with_place(*args: Any, files: tuple[str, ...], output_uri: str | None, **kwargs: Any) -> Any:
            if files and not output_uri:
                from trainer.config import Config

                output_uri = str(Config.load(files).output.uri)
            return function(*args, output_uri=output_uri or "", **kwargs)

        uri = click.option("--output-uri", metavar="URI", help="Or the output.uri itself, for a run whose Job is gone.")
        return job_files("Its job file: says where it wrote.", *flags)(uri(with_place))  # type: ignore[return-value]

    return add
