"""Writes what the chart takes from the job file's model: values.schema.json, values.yaml, README.md.

`python -m k8s.reference charts/training-job` writes them, `--check` fails where one is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from k8s.job import JobFile
from trainer.reference import is_model, parts, section, sentence, write_or_check

_SOURCE = "Made by `make docs` from k8s/job.py; change it there."


def pages() -> dict[str, str]:
    """Every generated file's content by its name inside the chart."""
    return {"values.schema.json": values_schema(), "values.yaml": values_yaml(), "README.md": readme()}


# --- values.schema.json ---------------------------------------------------------------------------


def values_schema() -> str:
    """JSON Schema (draft 7, which every helm 3 and 4 reads) of the whole job file."""
    schema = JobFile.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs")
    properties = schema["properties"]
    # `helm lint` checks the chart's own values, which have neither name nor run; templates/_check.tpl asks for both.
    properties["name"]["pattern"] = f"^$|{properties['name']['pattern']}"
    properties["run"] = {"if": {"type": "object", "minProperties": 1}, "then": properties["run"]}
    # Helm hands `global` to every chart that another chart depends on.
    properties["global"] = {"type": "object"}
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "kfit job file",
        "$comment": _SOURCE,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


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
    value = _EMPTY[bool(is_model(field.annotation))] if field.is_required() else field.default
    return "{}" if value == {} else json.dumps(value, ensure_ascii=False)


_EMPTY: dict[bool, Any] = {True: {}, False: ""}


# --- README.md ------------------------------------------------------------------------------------


def readme() -> str:
    """The chart's page: how it is used, and every value."""
    sections = [section(place, model) for place, model in _chart_parts()]
    return f"<!-- {_SOURCE} -->\n\n{_HEAD}" + "".join(sections)


def _chart_parts() -> Iterator[tuple[str, type[BaseModel]]]:
    """The file and its parts without those of `run`, which docs/job-file.md describes."""
    yield "job file", JobFile
    for place, model in parts("", JobFile):
        if place and not place.startswith(".run"):
            yield place.lstrip("."), model


_HEAD = """\
# training-job

A Helm chart: Keras `model.fit` as a Job, or as a CronJob where `schedule.cron` is set. The values file is
the job file; its key `run:` is what the trainer reads, see [the job file](../../docs/job-file.md).

```console
$ helm template flights charts/training-job -f job.yaml | kubectl apply -f -
$ helm upgrade --install flights charts/training-job -f job.yaml
```
"""


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the chart's files; 1 where one is stale."""
    return write_or_check(pages(), arguments)


if __name__ == "__main__":
    sys.exit(main())
