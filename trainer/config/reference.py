"""Writes the pages of docs/ that are made from code, so that they cannot say anything else than it.

`python -m trainer.config.reference docs` writes them, `--check` fails where one is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from trainer.config import Config, Named
from trainer.config.keras_names import table
from trainer.errors import EXIT_CODES

_GENERATED = "<!-- Made by `make docs` from {source}; change it there. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page's content by its name below docs/."""
    return {"job-file.md": job_file(), "run.schema.json": run_schema(), "exit-codes.md": exit_codes()}


# --- the option reference -------------------------------------------------------------------------


def job_file() -> str:
    """The option reference in Markdown: a section a part, a table of its keys."""
    head = (
        "# Job file\n\n"
        "The key `run:` is the trainer's whole configuration. The file's other keys belong to\n"
        "[the chart](../charts/training-job/README.md) and are left alone by `trainer`. An unknown key is an error\n"
        "that names the nearest right one. `--set` overrides a key on the command line as helm's does:\n"
        "`--set run.fit.epochs=3`; several files are merged: see\n"
        "[launcher.md](launcher.md#job-files-on-the-command-line).\n\n"
        "Editors check and complete it with [run.schema.json](run.schema.json): put\n"
        "`# yaml-language-server: $schema=…/docs/run.schema.json` on the first line.\n\n"
        "Sizes are written `256MiB`, `8Gi`, `1.5G` or as a number of bytes.\n"
    )
    return (
        _GENERATED.format(source="trainer/config/")
        + head
        + "".join(section("`, `".join(places), model) for model, places in _places().items())
    )


def _places() -> dict[type[BaseModel], dict[str, None]]:
    """Each part, with all places it stands at in their order."""
    places: dict[type[BaseModel], dict[str, None]] = {}
    for place, model in parts("run", Config):
        places.setdefault(model, {})[place] = None
    return places


def parts(place: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and, depth first, every model below it, each with the place it stands at."""
    yield place, model
    for name, field in model.model_fields.items():
        mapped = typing.get_origin(field.annotation) is dict
        for part in _models(field.annotation):
            yield from parts(f"{place}.{name}" + (".<column>" if mapped else ""), part)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in typing.get_args(annotation) for m in _models(a)]


def section(place: str, model: type[BaseModel]) -> str:
    """A heading, what the part is, and a table of its keys."""
    rows = "".join(_row(field.alias or name, field) for name, field in model.model_fields.items())
    return (
        f"\n## {model.__name__}\n\n`{place}`: {sentence(model.__doc__)}\n\n"
        f"| key | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}"
        + (_keras_names(model) if issubclass(model, Named) else "")
    )


def _keras_names(model: type[Named]) -> str:
    """Every name of Keras that a part takes, with its arguments."""
    rows = []
    for name, known in table()[model.kind].items():
        arguments = [
            f"{key}, required" if key in known["required"] else f"{key}: {json.dumps(default)}"
            for key, default in known["arguments"].items()
        ]
        rows.append(f"| `{name}` | {', '.join(f'`{one}`' for one in arguments) or '–'} |\n")
    return f"\n| name in Keras {table()['keras']} | arguments |\n| --- | --- |\n" + "".join(rows)


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _type(field.annotation, field.metadata), _default(field), sentence(field.description))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def sentence(text: str | None) -> str:
    """Text on one line."""
    return " ".join((text or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "see there"
    return "–" if field.default in (None, PydanticUndefined) else f"`{json.dumps(field.default)}`"


def _type(annotation: Any, metadata: Any = ()) -> str:
    """A type in the words of a job file."""
    limits = "".join(_limits(metadata))
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(args[0], args[1:])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(a) if not isinstance(a, str) else a}`" for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in args if a is not type(None)))
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is tuple:
        return f"list of {len(args)}: {', '.join(_type(a) for a in args)}"
    if origin is dict:
        return f"mapping of {_type(args[0])} to {_type(args[1])}"
    if is_model(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if any(_is_size(m) for m in metadata):
        return "size"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return words.get(annotation, "anything") + limits


def is_model(annotation: Any) -> bool:
    """Whether a type is a part of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_size(metadata: Any) -> bool:
    return getattr(getattr(metadata, "func", None), "__name__", "") == "parse_size"


def _limits(metadata: Any) -> Iterator[str]:
    for one in metadata:
        yield from _limits(getattr(one, "metadata", ()))
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if (limit := getattr(one, name, None)) is not None:
                yield f" {sign} {limit:g}"


# --- the editor's schema and the exit codes -------------------------------------------------------


def run_schema() -> str:
    """JSON Schema of a job file: `run:` in full, the chart's keys as they come."""
    run = Config.model_json_schema(ref_template="#/$defs/{model}")
    definitions = run.pop("$defs")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kfit job file",
        "type": "object",
        "required": ["run"],
        "properties": {"run": run},
        "$defs": definitions,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def exit_codes() -> str:
    """The exit-code table in Markdown."""
    rows = "".join(
        f"| {int(row.code)} | {row.meaning} | {row.policy or '–'} | {int(row.code) if row.final else '(goes on)'} |\n"
        for row in EXIT_CODES
    )
    return (
        _GENERATED.format(source="trainer/errors.py")
        + "# Exit codes\n\nOf `trainer`, the policy a Job's `podFailurePolicy` gives each of them, and what a command\n"
        "that waits for the Job returns. `130` is an interrupt from the keyboard.\n\n"
        "| exit | meaning | podFailurePolicy | wait |\n| --- | --- | --- | --- |\n" + rows
    )


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the pages of docs/; 1 where one is stale."""
    return write_or_check(pages(), arguments)


def write_or_check(texts: dict[str, str], arguments: list[str] | None = None) -> int:
    """Writes texts into the folder that the command line names, or fails where one differs from its file."""
    parser = argparse.ArgumentParser(description="Writes files that are made from code.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    chosen = parser.parse_args(arguments)
    stale = []
    for name, text in texts.items():
        path = chosen.folder / name
        if chosen.check:
            stale += [path] if not path.is_file() or path.read_text(encoding="utf-8") != text else []
        else:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} is stale; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
