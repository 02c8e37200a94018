"""Renders the templates beside it: values in, one HTML document out, every text escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainer.progress.formatting import count, metric, number, seconds, share


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "metric": metric, "number": number, "seconds": seconds, "share": share}
    # Ours, from the package: the one text that is not escaped.
    environment.globals["style"] = Markup(files("trainer.report").joinpath("report.css").read_text("utf-8"))
    return environment


def render(name: str, **values: Any) -> str:
    """Renders a template.

    Args:
        name: Its file's name below `templates/`.
        **values: What it shows. Text is escaped; `Markup` (a chart) stands as it is.

    Returns:
        The document.
    """
    return _environment().get_template(name).render(**values) + "\n"
