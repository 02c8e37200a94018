"""Manifests as text: YAML that Python and Go read alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

Object = dict[str, Any]

#: Go reads these as a number or as a truth value, PyYAML as text.
_GO_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_GO_BOOL = re.compile(r"[yYnN]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a number as Go writes it: helm prints a million as 1e+06."""


# Plain `=` and `<<` as values are text to Go.
_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in _Loader.yaml_implicit_resolvers.items() if k != "="}
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: str(node.value))


class _Dumper(yaml.SafeDumper):
    """Quotes text that Go would read as another type; writes text of several lines as a block."""


def _number(loader: Any, node: yaml.ScalarNode) -> float | int:
    value = float(loader.construct_yaml_float(node))
    return int(value) if "." not in node.value and value.is_integer() else value


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{_GO_FLOAT.pattern}$"), list("-+0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{_GO_FLOAT.pattern}$"), list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(f"^{_GO_BOOL.pattern}$"), list("yYnN"))
_Dumper.add_representer(str, _text)


def from_yaml(text: bytes | str) -> list[Object]:
    """Returns the documents of a YAML stream, empty ones left out."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


def to_yaml(manifests: Sequence[Object]) -> str:
    """Returns manifests as one YAML stream, which kubectl and `from_yaml` read alike."""
    return "".join(f"---\n{yaml.dump(m, Dumper=_Dumper, sort_keys=False, width=1000)}" for m in manifests)


def workload(manifests: Sequence[Object]) -> Object:
    """Returns the Job or CronJob among the manifests of a job file."""
    return next(m for m in manifests if m["kind"] in ("Job", "CronJob"))


def annotation(manifest: Object, key: str) -> str:
    """Returns the annotation `kfit.dev/KEY` of a Job, or of the Jobs that a CronJob creates; empty without one."""
    template = manifest["spec"]["jobTemplate"] if manifest["kind"] == "CronJob" else manifest
    return str(((template.get("metadata") or {}).get("annotations") or {}).get(f"kfit.dev/{key}", ""))


def label(manifest: Object, key: str) -> str:
    """Returns a label of an object; empty without it."""
    return str((manifest["metadata"].get("labels") or {}).get(key, ""))


def run_id(job: Object) -> str:
    """Returns the id of the run that a Job works on: its own name, unless it continues another Job's run."""
    pod = job["spec"]["template"]["spec"]
    env = {e["name"]: e.get("value", "") for c in pod["containers"] if c["name"] == "trainer" for e in c.get("env", [])}
    return env.get("KFIT_RUN") or str(job["metadata"]["name"])
