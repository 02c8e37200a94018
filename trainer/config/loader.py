"""Checks the `run:` key of a job file: a document with line numbers in, one configuration or one clear error out."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Tag, ValidationError

from trainer.config.job_document import JobDocument
from trainer.config.values import is_member
from trainer.config.yaml_file import KeyPath, describe
from trainer.errors import ConfigError
from trainer.progress.terminal import visible

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from trainer.config import Config


M = typing.TypeVar("M", bound=BaseModel)


RUN_PAGE = "docs/job-file.md describes every key"
CHART_PAGE = "charts/training-job/README.md describes every key"
#: Keys of a job file beside `run:`; they belong to the chart.
CHART_KEYS = frozenset(
    {"name", "nodes", "minNodes", "image", "resources", "schedule", "queue", "suspend", "runId", "again"}
    | {"activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "terminationGracePeriodSeconds"}
    | {"priorityClassName"}
    | {"runtimeClassName", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "serviceAccount"}
    | {"imagePullSecrets", "env", "envFrom", "volumes", "volumeMounts", "podLabels", "podAnnotations", "networkPolicy"}
    | {"alerts", "kubeVersion", "managedBy", "hostAliases", "fullnameOverride", "enabled", "lifecycle", "jobLabels"}
    | {"schedulerName", "podDisruptionBudget", "initContainers", "command", "dnsConfig", "podFailurePolicyRules"}
    | {"securityContext", "args", "commonLabels", "jobAnnotations", "podSecurityContext", "preemptionPolicy"}
    | {"hostNetwork", "dnsPolicy", "extraObjects", "livenessProbe", "commonAnnotations", "dashboard"}
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
            hint = _nearest(key, sorted(CHART_KEYS | {"run"})) or f"; the chart knows {', '.join(sorted(CHART_KEYS))}"
            yield f"{place_of(document, (str(key),))}: unknown key, which has no effect{hint}"


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
        faults: dict[KeyPath, list[tuple[str, str]]] = {}
        for error in invalid.errors():
            at, value, message = _fault(model, error)
            faults.setdefault(at, []).append((value, message))
    # A union reports each member it tried: a fault further down says more than one at the union itself.
    deepest = {p: m for p, m in faults.items() if not any(q != p and q[: len(p)] == p for q in faults)}
    page = RUN_PAGE if prefix or any(at[:1] == ("run",) for at in deepest) else CHART_PAGE
    shown = [visible(f"{place_of(document, (*prefix, *at))}: {_joined(messages)}") for at, messages in deepest.items()]
    raise faults_as_one(shown, remedy=page) from None


def faults_as_one(faults: Sequence[str], *, remedy: str) -> ConfigError:
    """Returns the error of one fault or more, each on a line."""
    what = faults[0] if len(faults) == 1 else "\n  ".join([f"{len(faults)} faults", *faults])
    return ConfigError(what, remedy=remedy)


def place_of(document: JobDocument, at: KeyPath) -> str:
    """Returns where a key stands, and its path: `job.yaml:3: run.fit.epochs`."""
    above = (at[:n] for n in range(len(at), 0, -1))
    place = next((document.places[key] for key in above if key in document.places), document.source)
    return f"{place}: " + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in at).lstrip(".")


#: Where pydantic speaks of Python's types.
_WORDS = {
    "bool_type": "should be true or false",
    "string_type": "should be text; quote it in a file, or use --set-string",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
}


def _fault(model: type[BaseModel], error: ErrorDetails) -> tuple[KeyPath, str, str]:
    """Where a fault stands in the file, the value where it helps, and what is wrong with it."""
    kind, given, loc = error["type"], error["input"], error["loc"]
    at = _file_path(loc)
    text = _WORDS.get(kind) or str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if kind == "extra_forbidden":
        allowed = _keys_at(model, loc[:-1])
        return at, "", "unknown key" + (_nearest(at[-1], allowed) or f"; allowed here: {', '.join(allowed)}")
    if kind == "missing":
        return at, "", "missing; it must be set"
    if kind == "value_error":
        return at, "", text
    if kind == "unknown_kind":
        if not isinstance(given, dict):
            return at, describe(given), f"should be a mapping with `kind`, which {text}"
        if "kind" not in given:
            return at, "", f"`kind` is missing; it {text}"
        at, given = (*at, "kind"), given["kind"]
    hint = _nearest(given, re.findall(r"'(\w+)'", text)) if kind in ("literal_error", "unknown_kind") else ""
    return at, describe(given), text + hint


def _joined(faults: list[tuple[str, str]]) -> str:
    """The faults of one place: the value once, then what each member of a union says of it."""
    value = faults[0][0] if len({value for value, _ in faults}) == 1 else ""
    texts = " or ".join(dict.fromkeys(text for _, text in faults))
    return f"{value}: {texts}" if value else texts


def _nearest(given: object, allowed: list[str]) -> str:
    near = difflib.get_close_matches(str(given), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _file_path(loc: KeyPath) -> KeyPath:
    """The part of a pydantic location that stands in the file."""
    keys = tuple(part for part in loc if not is_member(part))
    return keys[:-1] if keys[-1:] == ("[key]",) else keys  # pydantic's mark of a mapping's key that is wrong itself


def _keys_at(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """The keys of the model at a pydantic location."""
    annotation: Any = model
    for part in loc:
        annotation = _below(annotation, part)
    return sorted(field.alias or name for name, field in annotation.model_fields.items())


def _below(annotation: Any, part: str | int) -> Any:
    """The type at one part of a location: a union's member, a model's field, or what a mapping or a list holds."""
    arguments = typing.get_args(annotation)
    if is_member(part):
        return _bare(next(m for m in arguments if Tag(str(part)) in getattr(m, "__metadata__", ())))
    fields = getattr(annotation, "model_fields", None)
    return _bare(fields[part].annotation if fields else arguments[-1])


def _bare(annotation: Any) -> Any:
    """A type without its metadata and without None."""
    arguments = [a for a in typing.get_args(annotation) if a is not types.NoneType]
    if typing.get_origin(annotation) is typing.Annotated or (len(arguments) == 1 and _is_union(annotation)):
        return _bare(arguments[0])
    return annotation


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
