"""SVG elements as safe markup: text and attributes are escaped unless they are markup already."""

from __future__ import annotations

from markupsafe import Markup, escape


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Builds one element.

    Args:
        name: Element name, ours and never a user's.
        *children: Elements, or text, which is escaped.
        **attributes: `class_` becomes `class`, `stroke_width` becomes `stroke-width`. None leaves one out;
            numbers are rounded to 2 decimals, more than a screen shows.

    Returns:
        The element with its end tag.
    """
    written = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Puts elements and text one after the other, text escaped."""
    return Markup("").join(children)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
