"""The options of a command line that name a job file and change keys of it; `trainer` and `kfit` share them.

Imported by `--help`: nothing heavy here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: In the order in which helm applies them, whatever their order on the command line.
_FLAGS = {
    "--set-json": ("KEY=JSON", "Override a key by JSON: run.fit.early_stopping=null."),
    "--set": ("KEY=VALUE", "Override a key, as helm does: run.fit.epochs=3."),
    "--set-string": ("KEY=TEXT", "Override a key by text, even where it looks like a number: image.tag=2."),
    "--set-file": ("KEY=PATH", "Override a key by a file's content."),
}


@dataclass(frozen=True)
class JobSource:
    """The job file that a command line means.

    Attributes:
        files: Paths, merged as helm merges values files: the later one wins; `-` is stdin.
        overrides: Flag and expression of each override, in the order in which they apply.
    """

    files: tuple[str, ...]
    overrides: tuple[tuple[str, str], ...] = ()

    def words(self) -> list[str]:
        """Returns the source as words of a command line again."""
        files = [word for file in self.files for word in ("--file", file)]
        return files + [word for override in self.overrides for word in override]


def job_files(text: str, *flags: str) -> Callable[[F], F]:
    """Adds -f/--file, which may be repeated; the function gets the paths as `files`.

    Args:
        text: What the file is for.
        flags: In place of `-f`, `--file`.
    """
    return click.option(
        *(flags or ("-f", "--file")), "files", multiple=True, type=job_path, metavar="FILE",
        help=f"{text} Repeat it to merge several, the later wins; - is stdin.",
    )  # fmt: skip


#: A job file's path on the command line, or `-`.
job_path = click.Path(dir_okay=False, allow_dash=True)


def override_options(function: F) -> F:
    """Adds helm's `--set` and its kin; the function gets them as `overrides`, see `JobSource`."""

    @functools.wraps(function)
    def with_overrides(*args: Any, **kwargs: Any) -> Any:
        given = [(flag, text) for flag in _FLAGS for text in kwargs.pop(_parameter(flag))]
        return function(*args, overrides=tuple(given), **kwargs)

    decorated: Any = with_overrides
    for flag in ("--set-file", "--set-json", "--set-string", "--set"):  # the last one is shown first
        metavar, text = _FLAGS[flag]
        decorated = click.option(flag, _parameter(flag), multiple=True, metavar=metavar, help=text)(decorated)
    return decorated  # type: ignore[no-any-return]


def job_source(function: F) -> F:
    """Adds JOB, -f/--file and the overrides; the function gets all of them as `job`, a `JobSource`."""

    @functools.wraps(function)
    def with_source(*args: Any, job: str | None, files: tuple[str, ...], overrides: Any, **kwargs: Any) -> Any:
        chosen = one_source(job, files, overrides)
        return function(*args, job=chosen, **kwargs)

    options = (
        click.argument("job", required=False, type=job_path),
        job_files("A job file, merged over JOB or in place of it."),
        override_options,
    )
    decorated: Any = with_source
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def one_source(job: str | None, files: tuple[str, ...], overrides: tuple[tuple[str, str], ...]) -> JobSource:
    """Returns the job file that JOB and `-f` name.

    Raises:
        click.UsageError: They name none, or stdin twice.
    """
    chosen = (*([job] if job is not None else ()), *files)
    if not chosen:
        raise click.UsageError("Missing argument 'JOB': a job file, here or by -f FILE.")
    if chosen.count("-") > 1:
        raise click.UsageError("- is stdin, which can be read once.")
    return JobSource(chosen, overrides)


def _parameter(flag: str) -> str:
    return flag.strip("-").replace("-", "_") + "_"
