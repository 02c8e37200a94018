"""`kfit man`: the man pages, made from the verbs' own help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from k8s.commands.options import examples
from trainer import __version__
from trainer.errors import ConfigError


@click.command(
    epilog=examples(
        "kfit man ~/.local/share/man/man1 && man kfit-submit",
        "kfit man man1 && man ./man1/kfit.1                    # look at them here",
    )
)
@click.argument("directory", type=click.Path(file_okay=False))
@click.pass_context
def man(ctx: click.Context, directory: str) -> None:
    """Write the man pages of all verbs into DIRECTORY.

    They are kfit.1, kfit-submit.1, and so on.
    """
    written = pages(ctx.find_root().command)
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (Path(directory) / name).write_text(text, encoding="utf-8")
    except OSError as refused:
        where = str(refused.filename or directory)
        raise ConfigError(
            f"cannot write man pages: {refused.strerror}", where=where, remedy="name another folder"
        ) from refused
    click.echo(f"{len(written)} pages in {directory}", err=True)


def pages(root: click.Command) -> dict[str, str]:
    """Returns the text of each page by its file's name."""
    return {f"{'-'.join(words)}.1": _page(words, command) for words, command in _commands(("kfit",), root)}


def _commands(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words[-1])
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            if below is not None and not below.hidden:
                yield from _commands((*words, verb), below)


def _page(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(words), help_option_names=["-h", "--help"])
    text = (command.help or "").strip()
    lines = [
        f'.TH {"-".join(words).upper()} 1 "" "kfit {__version__}" "kfit"',
        ".SH NAME",
        f"{_escaped('-'.join(words))} \\- {_escaped(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(' '.join(words))}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(text),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            assert below is not None, "a group lists only its commands"
            lines += [".TP", f".BR {_escaped('-'.join((*words, verb)))} (1)", _escaped(below.get_short_help_str(200))]
    lines.append(".SH OPTIONS")
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            lines += [".TP", f".B {_escaped(record[0])}", _escaped(" ".join(record[1].split()))]
    if shown := (command.epilog or "").partition("Examples:\n")[2]:
        lines += [".SH EXAMPLES", ".nf", *(_escaped(line.strip()) for line in shown.splitlines()), ".fi"]
    if len(words) > 1:
        lines += [".SH SEE ALSO", f".BR {_escaped('-'.join(words[:-1]))} (1)"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.replace("\b", "").split()))


def _escaped(text: str) -> str:
    """Returns text as roff shows it; a line must not begin with a character that is a request."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown[:1] in (".", "'") else shown
