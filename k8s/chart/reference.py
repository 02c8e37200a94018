"""Writes what the chart takes from the job file's model: values.schema.json, values.yaml, tables of README.md.

`python -m k8s.chart.reference charts/training-job` writes them, `--check` fails where one is stale.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from k8s.chart.kubernetes_types import with_kubernetes_types
from k8s.chart.render import chart_folder
from k8s.chart.values import JobFile
from trainer.config.reference import is_model, parts, section, sentence, write_or_check

_SOURCE = "Made by `make docs` from k8s/chart/values.py; change it there."
#: Above it README.md is written by hand.
_README_MARK = "<!-- The rest is made by `make docs` from k8s/chart/values.py; change it there. -->\n"


def pages() -> dict[str, str]:
    """Every generated file's content by its name inside the chart."""
    return {"values.schema.json": values_schema(), "values.yaml": values_yaml(), "README.md": readme()}


# --- values.schema.json ---------------------------------------------------------------------------


def values_schema() -> str:
    """JSON Schema (draft 7, which every helm 3 and 4 reads) of the whole job file."""
    model = JobFile.model_json_schema(ref_template="#/$defs/{model}")
    definitions, properties = model.pop("$defs"), model["properties"]
    # `helm lint` checks the chart's own values, which have neither name nor run; templates/_check.tpl asks for both.
    properties["name"]["pattern"] = f"^$|{properties['name']['pattern']}"
    properties["run"] = {"if": {"type": "object", "minProperties": 1}, "then": properties["run"]}
    # Helm hands `global` to every chart that another chart depends on.
    properties["global"] = {"type": "object"}
    # Helm checks the file merged into values.yaml, so a key is missing only where the file says null.
    for part in _expanded(JobFile):
        needed = [n for n, f in part.model_fields.items() if type(None) not in typing.get_args(f.annotation)]
        (model if part is JobFile else definitions[part.__name__])["required"] = needed
    document = with_kubernetes_types(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "kfit job file",
            "$comment": _SOURCE,
            **{key: model[key] for key in ("type", "additionalProperties", "required")},
            "properties": properties,
            "$defs": definitions,
        }
    )
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _expanded(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models whose every key stands in values.yaml."""
    yield model
    for field in model.model_fields.values():
        if is_model(field.annotation) and not field.is_required():
            yield from _expanded(field.annotation)  # type: ignore[arg-type]  # is_model says it is one


# --- values.yaml ----------------------------------------------------------------------------------


def values_yaml() -> str:
    """Every value with its default and its meaning."""
    lines = [f"# {_SOURCE}", *_values(JobFile, "")]
    return "\n".join(lines) + "\n"


def _values(model: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not indent:
            yield ""
        yield f"{indent}# -- {sentence(field.description)}"
        if is_model(field.annotation) and not field.is_required():
            yield f"{indent}{name}:"
            yield from _values(field.annotation, indent + "  ")  # type: ignore[arg-type]  # is_model says it is one
        else:
            yield f"{indent}{name}: {_scalar(field)}"


def _scalar(field: FieldInfo) -> str:
    empty: Any = {} if is_model(field.annotation) else ""
    return json.dumps(empty if field.is_required() else field.default, ensure_ascii=False)


# --- README.md ------------------------------------------------------------------------------------


def readme() -> str:
    """The chart's page: what is written by hand, then every value; docs/job-file.md has those of `run`."""
    by_hand = (chart_folder() / "README.md").read_text(encoding="utf-8").partition(_README_MARK)[0]
    places = [(place, model) for place, model in parts("", JobFile) if not place.startswith(".run")]
    values = "".join(section(place.lstrip(".") or "job file", model) for place, model in places)
    return by_hand + _README_MARK + values.replace("(#config)", "(../../docs/job-file.md#config)")


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the chart's files; 1 where one is stale."""
    return write_or_check(pages(), arguments)


if __name__ == "__main__":
    sys.exit(main())
