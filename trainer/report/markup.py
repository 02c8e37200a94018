"""HTML and SVG elements that cannot be injected into: text is escaped unless it is an element already."""

from __future__ import annotations

from html import escape


class Html(str):
    """Markup that is safe to stand in a page as it is."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | float | None) -> Html:
    """Builds one element.

    Args:
        name: Element name, ours and never a user's.
        *children: Elements, or text, which is escaped.
        **attributes: `class_` becomes `class`, `stroke_width` becomes `stroke-width`. None leaves one out;
            numbers are rounded to 2 decimals, more than a screen shows.

    Returns:
        The element with its end tag.
    """
    said = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return Html(f"<{name}{said}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Puts elements and text one after the other, text escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
