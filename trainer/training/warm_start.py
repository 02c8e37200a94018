"""A warm start: the vocabularies and weights of a published model as the beginning of a new run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainer import storage
from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared
from trainer.schema import CodeField
from trainer.serving import published_model

_WHERE = "run.fit.warm_start"


def with_vocabularies_of(where: str, prepared: Prepared) -> Prepared:
    """The data with the codes of an earlier model: a category keeps its code, so weights keep their meaning.

    Values that came up since count as unseen until a run that starts cold.

    Raises:
        ConfigError: There is no such model, or its categorical columns are others.
    """
    manifest = json.loads(storage.read(storage.join(published_model.resolve(where), "MANIFEST.json")))
    known: dict[str, list[Any]] = manifest.get("vocabularies", {})
    return replace(
        prepared, layout=replace(prepared.layout, codes=tuple(_coded(f, known) for f in prepared.layout.codes))
    )


def _coded(field: CodeField, known: dict[str, list[Any]]) -> CodeField:
    if field.buckets:
        return field
    if not known.get(field.column.name):
        raise ConfigError(
            f"that model has no vocabulary of column {field.column.name!r}",
            where=_WHERE,
            remedy="warm start from a run with the same categorical features, or start cold",
        )
    return replace(field, vocabulary=tuple(known[field.column.name]))


def copy_weights(where: str, built: Any, note: Callable[[str], None]) -> None:
    """Copies the weights of a published model into a newly built one.

    Args:
        where: As `published.resolve` takes it.
        built: The model on packed inputs; its scaling stays that of the new data.
        note: Told what was taken.

    Raises:
        ConfigError: The models are not of the same shape.
    """
    serving = published_model.load(where)
    theirs = serving.trained.trainable_variables
    ours = built.trainable_variables
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
    note(f"begins with the weights of run {serving.run}")
