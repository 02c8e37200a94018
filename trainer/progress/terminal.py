"""Every line for a person passes through here, so that foreign text cannot drive the terminal.

Column names, values, paths, log lines and messages of other programs are written by others. A terminal obeys
control sequences in them, and rich reads `[...]` in them as markup. `visible` shows such characters as escapes;
`echo` and `console` apply it to everything that they print.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from trainer.errors import KfitError

#: Control, format (bidirectional marks, zero width), surrogate, and the two separators that end a line.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: object, *, keep: str = "") -> str:
    r"""Returns the text with every character that a terminal would obey or hide shown as `\u001b`.

    The escapes are those of JSON, so a JSON document keeps its meaning. Applying it twice changes nothing more.

    Args:
        text: Anything; `str` of it is taken.
        keep: Characters to leave as they are, such as a line break.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(
        _escape(char) if unicodedata.category(char) in _INVISIBLE and char not in keep else char for char in plain
    )


def lines(text: object) -> str:
    """Returns `visible` text that keeps its line breaks and tabs."""
    return visible(text, keep="\n\t")


def cell(text: object) -> Text:
    """Returns `visible` text for a table of rich's, without markup."""
    from rich.text import Text

    return Text(visible(text))


def error_text(error: KfitError) -> str:
    """Returns an error for a person; no text in it can pass for a line of ours.

    Its place and its remedy are a line each, whatever names they hold; further lines of what is wrong are indented.
    """
    first, *more = lines(error.what).split("\n")
    head = f"{visible(error.where)}: {first}" if error.where else first
    remedy = [visible(error.remedy)] if error.remedy else []
    return "\n".join([head, *(line if line.startswith("  ") else f"  {line}" for line in (*more, *remedy))])


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Prints `lines` of text.

    Args:
        text: May be several lines. For colours use `styled`; escape sequences in the text are shown.
        err: To stderr.
        nl: End it with a line break.
    """
    click.echo(lines(text), err=err, nl=nl)


def warn(text: object) -> None:
    """Prints a warning, `visible`, on one line of stderr."""
    echo(f"warning: {visible(text)}", err=True)


def styled(parts: Iterable[tuple[object, dict[str, Any]]]) -> None:
    """Prints one line from parts, each `visible`; colours are left out where no terminal reads.

    Args:
        parts: Text, and keywords of `click.style` for it (`{}`: none).
    """
    click.echo("".join(click.style(visible(text), **style) if style else visible(text) for text, style in parts))


def console(*, stderr: bool = False, **settings: Any) -> Console:
    """Returns a console that reads no markup in strings and shows control characters.

    Args:
        stderr: Print to stderr.
        settings: Further keywords of `rich.console.Console`.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class VisibleConsole(Console):
        """Filters what is about to be written; rich's own control segments pass."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(visible(segment.text, keep="\n"), segment.style)

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(lines(text), **options)  # before the layout measures it

    return VisibleConsole(stderr=stderr, markup=False, emoji=False, **settings)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
