"""A warm start: a new run begins with the vocabularies and weights of a published model.

Weights have a meaning only beside the columns, codes and classes that they were trained on. So these are compared by
name with the model's manifest before anything is copied: equal shapes say little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared
from trainer.schema import CodeField, Column, LabelField, Layout
from trainer.serving import published_model

_WHERE = "run.fit.warm_start"
_NAMES_SHOWN = 3

Refused = Callable[[str], ConfigError]


def with_vocabularies_of(where: str, prepared: Prepared, key: str = _WHERE) -> Prepared:
    """Gives the data the codes of an earlier model: a category keeps its code, so weights keep their meaning.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        prepared: The new run's data.
        key: The key of the job file that names the model.

    Returns:
        The data with that model's vocabularies and scale of the label, and a warning for each column with values
        that the vocabularies lack: those count as unseen until a run that starts cold.

    Raises:
        ConfigError: There is no such model, or its features, vocabularies or classes are not those of the new run.
    """
    manifest = published_model.read_manifest(published_model.resolve(where))
    run, vocabularies = str(manifest["run"]), manifest.get("vocabularies", {})
    earlier, layout = published_model.layout_from(manifest["layout"]), prepared.layout
    refused = partial(_refused, run, key)
    _compare_features(refused, earlier, layout)
    _compare_labels(refused, earlier, layout)
    codes = tuple(_with_vocabulary(refused, field, vocabularies) for field in layout.codes)
    warnings = [w for old, new in zip(layout.codes, codes, strict=True) if (w := _unknown_values(run, old, new))]
    if earlier.label.name != layout.label.name:
        warnings.append(f"warm start: run {run} predicts {earlier.label.name!r}, this job {layout.label.name!r}")
    # With another scale, the copied weights would predict other values.
    labels = [
        replace(label, offset=scale.offset, mean=scale.mean, deviation=scale.deviation)
        for label, scale in zip(layout.labels, earlier.labels, strict=True)
    ]
    layout = replace(layout, codes=codes, label=labels[0], further_labels=tuple(labels[1:]))
    return replace(prepared, layout=layout, warnings=(*prepared.warnings, *warnings))


def with_packing_of(where: str, prepared: Prepared) -> Prepared:
    """As `with_vocabularies_of`, for `model.from`: a model that is taken whole also needs its numbers shifted as ever.

    Raises:
        ConfigError: As there; or the model is of a kfit that did not publish by how much.
    """
    prepared = with_vocabularies_of(where, prepared, "run.model.from")
    manifest = published_model.read_manifest(published_model.resolve(where))
    offsets, layout = manifest.get("offsets"), prepared.layout
    if offsets is None and any(field.offset for field in layout.numbers):
        raise ConfigError(
            f"run {manifest['run']} was published by an earlier kfit, without what is subtracted from its dates and "
            "large numbers",
            where="run.model.from",
            remedy="take fit.warm_start with the run's own model, or publish it again by a new run",
        )
    numbers = tuple(replace(field, offset=(offsets or {}).get(field.column.name, 0.0)) for field in layout.numbers)
    return replace(prepared, layout=replace(layout, numbers=numbers))


def _compare_features(refused: Refused, earlier: Layout, layout: Layout) -> None:
    """By name first, then by what each column is, then by order: each decides which weight a value meets."""
    before, now = [c.name for c in earlier.columns], [c.name for c in layout.columns]
    if missing := [name for name in now if name not in before]:
        raise refused(f"has no feature {_listed(missing)}")
    if extra := [name for name in before if name not in now]:
        raise refused(f"has the feature {_listed(extra)}, which this job lacks")
    by_name = {c.name: c for c in earlier.columns}
    for column in layout.columns:
        if _nature(by_name[column.name]) != _nature(column):
            raise refused(f"takes {column.name!r} as {_nature(by_name[column.name])}, this job as {_nature(column)}")
    if before != now:
        raise refused(f"has its features in another order: {_listed(before)}")


def _nature(column: Column) -> str:
    """What a column is to the model, whatever integers or floats store it."""
    words = [column.kind, *(["of strings"] if column.dtype == "string" else [])]
    words += [f"of size {column.size}"] if column.size != 1 else []
    words += [f"with {', '.join(column.parts)}"] if column.parts else []
    words += [f"of shape {column.shape}"] if column.shape else []
    return " ".join([*words, *(["ragged"] if column.ragged else [])])


def _compare_labels(refused: Refused, earlier: Layout, layout: Layout) -> None:
    before, now = ([label.name for label in of.labels] for of in (earlier, layout))
    if len(now) + len(before) > 2 and before != now:
        raise refused(f"predicts {_listed(before)}, this job {_listed(now)}")
    for theirs, ours in zip(earlier.labels, layout.labels, strict=True):
        _compare_label(refused, theirs, ours)


def _compare_label(refused: Refused, before: LabelField, now: LabelField) -> None:
    if before.task != now.task:
        raise refused(f"was trained for the task {before.task}, this job is {now.task}")
    if before.classes != now.classes:
        raise refused(f"knows the classes {_listed(before.classes)}, this data has {_listed(now.classes)}")
    if before.quantiles != now.quantiles:
        raise refused(f"predicts the quantiles {_listed(before.quantiles)}, this job {_listed(now.quantiles)}")
    if before.transform != now.transform:
        raise refused(f"learns the label by transform {before.transform}, this job by {now.transform}")


def _with_vocabulary(refused: Refused, field: CodeField, vocabularies: Mapping[str, Sequence[Any]]) -> CodeField:
    known = vocabularies.get(field.column.name)
    if bool(known) == bool(field.buckets):
        before, now = ("by a vocabulary", "hashed") if field.buckets else ("hashed", "by a vocabulary")
        raise refused(f"encodes {field.column.name!r} {before}, this job {now}")
    return field if field.buckets or not known else replace(field, vocabulary=tuple(known))


def _unknown_values(run: str, ours: CodeField, theirs: CodeField) -> str:
    unknown = [value for value in ours.vocabulary if value not in set(theirs.vocabulary)]
    if not unknown:
        return ""
    return (
        f"warm start: {len(unknown)} of {len(ours.vocabulary)} values of {ours.column.name!r} are unknown to run {run} "
        f"and count as unseen: {_listed(unknown)}"
    )


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(map(repr, values[:_NAMES_SHOWN]))
    return shown if len(values) <= _NAMES_SHOWN else f"{shown} and {len(values) - _NAMES_SHOWN} more"


def _refused(run: str, key: str, what: str) -> ConfigError:
    return ConfigError(
        f"run {run} {what}; its weights would be copied to where they mean something else",
        where=key,
        remedy="warm start from a run with the same features, classes and model, or start cold",
    )


def copy_weights(where: str, built: Any, note: Callable[[str], None]) -> None:
    """Copies the trainable weights of a published model into a newly built one.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.
        built: The model on packed inputs. What is not trained stays that of the new run.
        note: Told what was copied and what was not.

    Raises:
        ConfigError: The models do not have the same shapes.
    """
    serving = published_model.load(where)
    frozen = [layer for layer in built._flatten_layers() if not layer.trainable]
    # A layer that is frozen here or was there has weights to copy all the same.
    serving.trained.trainable = built.trainable = True
    theirs, ours = serving.trained.trainable_variables, built.trainable_variables
    for layer in frozen:
        layer.trainable = False
    differing = [
        f"{new.path}: {tuple(old.shape)} -> {tuple(new.shape)}"
        for old, new in zip(theirs, ours, strict=False)
        if tuple(old.shape) != tuple(new.shape)
    ]
    if len(theirs) != len(ours) or differing:
        raise ConfigError(
            f"the model there is another one: {len(theirs)} -> {len(ours)} variables; {'; '.join(differing[:3])}",
            where=_WHERE,
            remedy="warm start from a run with the same features and model, or start cold",
        )
    for old, new in zip(theirs, ours, strict=True):
        new.assign(old)
    note(
        f"begins with the weights of run {serving.run}; not copied: the optimizer's state, and what is not trained "
        "(scaling and imputation are those of the new data)"
    )
