"""Runs one hostile input through the real command line, in this process, and says what is wrong with the answer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from trainer.cli import run

#: No answer takes longer; a hang is a fault too.
LIMIT_S = 120.0


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        subject: What is hostile: columns, files, job files, names, stored JSON, kubeconfigs, API answers.
        name: Unique within the subject.
        words: Makes the input below a folder and returns the command line, `trainer` or `kfit` first.
        codes: Exit codes that are right.
        after: Further faults, from the folder, stdout and stderr.
    """

    subject: str
    name: str
    words: Callable[[Path], list[str]]
    codes: frozenset[int]
    after: Callable[[Path, str, str], list[str]] = field(default=lambda folder, out, err: [])

    @property
    def id(self) -> str:
        """Name for a test."""
        return f"{self.subject}: {self.name}".encode("unicode_escape").decode()


@dataclass(frozen=True)
class Answer:
    """What a command answered: its exit code, and what is wrong with it (nothing where all is right)."""

    code: int
    faults: tuple[str, ...]


def play(case: Case, folder: Path) -> Answer:
    """Runs a case.

    Args:
        case: The case.
        folder: An empty folder; the input goes to `folder/work`, beside it lies what nobody may touch.
    """
    work, foreign = folder / "work", folder / "foreign"
    work.mkdir()
    foreign.mkdir()
    (foreign / "precious.txt").write_text("not ours")
    words = case.words(work)
    before = _tree(foreign)
    out, err = io.StringIO(), io.StringIO()
    started = time.monotonic()
    with _inside(work), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(_command(words[0]), words[1:])
    took_s = time.monotonic() - started
    faults = []
    if code not in case.codes:
        faults.append(f"exit code {code}, not one of {sorted(case.codes)}: {err.getvalue()[-400:]!r}")
    if any(words in err.getvalue() for words in ("No such option", "for '-o' / '--output'", "Missing option")):
        faults.append(f"the case's own command line is wrong: {err.getvalue()[:200]!r}")
    if "Traceback" in err.getvalue():
        faults.append("a traceback")
    errors = sum(line.startswith("error: ") for line in err.getvalue().splitlines())
    if errors != (1 if code and code not in (1,) else 0) and code not in (3, 4, 5):
        faults.append(f"{errors} errors for exit code {code}")
    if odd := {c for c in out.getvalue() + err.getvalue() if not c.isprintable() and c not in "\n\t\u00a0"}:
        faults.append(f"control characters on the terminal: {sorted(odd)}")
    if _tree(foreign) != before:
        faults.append("something foreign was touched")
    if took_s > LIMIT_S:
        faults.append(f"took {took_s:.0f} s")
    return Answer(code, (*faults, *case.after(folder, out.getvalue(), err.getvalue())))


def _command(program: str) -> click.Command:
    if program == "trainer":
        from trainer.cli import cli

        return cli
    from k8s.cli import cli as kfit

    return kfit


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@contextlib.contextmanager
def _inside(work: Path) -> Iterator[None]:
    before, environ = Path.cwd(), dict(os.environ)
    os.chdir(work)
    os.environ.update(KFIT_CACHE=str(work.parent / "cache"), COLUMNS="200")
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environ)
