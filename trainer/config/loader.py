"""Checks the `run:` key of a job file: a document with line numbers in, one configuration or one clear error out."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from trainer.config.job_document import JobDocument
from trainer.config.yaml_file import KeyPath, describe
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from trainer.config import Config


M = typing.TypeVar("M", bound=BaseModel)


#: Keys of a job file beside `run:`; they belong to the chart.
CHART_KEYS = frozenset(
    {"name", "nodes", "image", "resources", "schedule", "queue", "suspend", "runId", "again", "activeDeadlineSeconds"}
    | {"backoffLimit", "ttlSecondsAfterFinished", "terminationGracePeriodSeconds", "priorityClassName"}
    | {"runtimeClassName", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "serviceAccount"}
    | {"imagePullSecrets", "env", "envFrom", "volumes", "volumeMounts", "podLabels", "podAnnotations", "networkPolicy"}
    | {"alerts", "kubeVersion", "managedBy", "hostAliases", "fullnameOverride", "enabled", "lifecycle", "jobLabels"}
    | {"schedulerName", "podDisruptionBudget", "initContainers", "command", "dnsConfig", "podFailurePolicyRules"}
    | {"securityContext", "args", "commonLabels", "jobAnnotations", "podSecurityContext", "preemptionPolicy"}
    | {"hostNetwork", "dnsPolicy", "extraObjects"}
)


def run_of(model: type[Config], document: JobDocument, warn: Callable[[str], None] = lambda _: None) -> Config:
    """Checks a job file's `run:` key.

    Args:
        model: The configuration's model.
        document: The job file; keys outside `run` belong to the chart and are ignored here.
        warn: Called for each key outside `run` that is none of the chart's either: a mistyped one has no effect.

    Returns:
        The configuration.

    Raises:
        ConfigError: With every fault, its line and its remedy.
    """
    if "run" not in document.values:
        near = difflib.get_close_matches("run", map(str, document.values), n=1)
        raise ConfigError(
            "the key `run:` is missing" + (f"; did you mean it by {near[0]!r}?" if near else ""),
            where=document.source,
            remedy="put the trainer's configuration under run:, see docs/job-file.md",
        )
    for warning in _unknown_keys(document):
        warn(warning)
    return validate(model, document.values["run"], document, prefix=("run",))


def _unknown_keys(document: JobDocument) -> Iterator[str]:
    """A warning for each key beside `run:` that is none of the chart's."""
    for key in document.values:
        if key != "run" and key not in CHART_KEYS:
            near = difflib.get_close_matches(str(key), sorted(CHART_KEYS | {"run"}), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the chart knows {', '.join(sorted(CHART_KEYS))}"
            yield f"{_place(document, (str(key),))}: unknown key, which has no effect{hint}"


# --- errors a person can act on -------------------------------------------------------------------


def validate(model: type[M], values: Any, document: JobDocument, prefix: KeyPath = ()) -> M:
    """Checks values against a model.

    Args:
        model: The pydantic model.
        values: What is checked.
        document: What the values are a part of: its name and the places of its keys are for the message.
        prefix: Path of `values` in the document.

    Returns:
        The model's instance.

    Raises:
        ConfigError: Every fault with its place, its value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        faults: dict[KeyPath, list[str]] = {}
        for error in invalid.errors():
            at = _real_path(error["loc"], values)
            if error["type"] == "union_tag_invalid":
                at = (*at, "kind")
            faults.setdefault(at, []).append(_message(model, error, at, values))
    # A union reports each member it tried: a fault further down says more than one at the union itself.
    kept = {p: m for p, m in faults.items() if not any(q != p and q[: len(p)] == p for q in faults)}
    shown = [
        f"{_place(document, (*prefix, *at))}: {' or '.join(dict.fromkeys(messages))}" for at, messages in kept.items()
    ]
    raise ConfigError(
        shown[0] if len(shown) == 1 else "\n  ".join([f"{len(shown)} faults", *shown]),
        remedy="docs/job-file.md describes every key",
    ) from None


def _place(document: JobDocument, at: KeyPath) -> str:
    above = (at[:n] for n in range(len(at), 0, -1))
    place = next((document.places[key] for key in above if key in document.places), document.source)
    return f"{place}: " + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in at).lstrip(".")


def _real_path(loc: KeyPath, values: Any) -> KeyPath:
    """The part of a pydantic location that stands in the file: tags of unions are left out."""
    path: list[str | int] = []
    at = values
    for index, part in enumerate(loc):
        if isinstance(at, dict) and (part in at or (index == len(loc) - 1 and not _is_tag(part))):
            path.append(part)
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            path.append(part)
            at = at[part]
    return tuple(path)


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and (
        part[:1].isupper()
        or "[" in part
        or part.startswith("constrained-")
        or part in ("str", "int", "float", "bool", "numeric", "categorical", "vector")
    )


def _message(model: type[BaseModel], error: Any, at: KeyPath, values: Any) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        allowed = sorted(_keys_at(model, error["loc"][:-1]))
        near = difflib.get_close_matches(str(at[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key; {hint}"
    if kind == "missing":
        return "missing; it must be set"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tags = str(error.get("ctx", {}).get("expected_tags", ""))
        near = difflib.get_close_matches(str(error.get("ctx", {}).get("tag", "")), re.findall(r"'(\w+)'", tags), n=1)
        return f"`kind` must be one of {tags}" + (f"; did you mean {near[0]!r}?" if near else "")
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if kind == "literal_error":
        near = difflib.get_close_matches(str(given), re.findall(r"'(\w+)'", text), n=1)
        text += f"; did you mean {near[0]!r}?" if near else ""
    return text if kind == "value_error" else f"{describe(given)}: {text}"


def _keys_at(model: Any, loc: KeyPath) -> set[str]:
    """The keys a model allows at a pydantic location."""
    if not loc:
        fields = getattr(model, "model_fields", None)
        return set(fields) if fields else set()
    part, rest = loc[0], loc[1:]
    members = _members(model)
    if len(members) > 1:
        chosen = [m for m in members if part in (getattr(m, "__name__", ""), _kind_of(m))]
        if chosen:
            return _keys_at(chosen[0], rest)
        return set().union(*(_keys_at(m, loc) for m in members))
    if members[0] is not model and hasattr(members[0], "model_fields"):
        only = members[0]
        return _keys_at(only, rest if part in (only.__name__, _kind_of(only)) else loc)
    origin = typing.get_origin(model)
    if origin in (dict, list):
        return _keys_at(_plain(typing.get_args(model)[-1]), rest)
    fields = getattr(model, "model_fields", {})
    return _keys_at(_plain(fields[part].annotation), rest) if part in fields else set()


def _plain(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [m for a in typing.get_args(annotation) for m in _members(_plain(a))]
        models = [m for m in inner if hasattr(m, "model_fields") or typing.get_origin(m) is dict]
        return models or inner
    return [annotation]


def _kind_of(member: Any) -> str:
    field = getattr(member, "model_fields", {}).get("kind")
    return str(typing.get_args(field.annotation)[0]) if field else ""
