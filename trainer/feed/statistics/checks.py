"""Checks the statistics against the data's contract: the first breach is an error, oddities are warnings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainer.config import Categorical, Config, Feature, Image, Sequence, Target, Text
from trainer.errors import DataError
from trainer.feed.packing.memory_limit import default_budget
from trainer.feed.shards.split import SplitName
from trainer.feed.statistics.accumulators import ColumnPart, SplitPart
from trainer.schema import OF_NUMBERS

#: Number formats whose steps exceed this share of a column's standard deviation lose too much of it.
_COARSE = 0.01
_FLOAT32_MAX = float(np.finfo(np.float32).max)
#: TensorFlow flushes what is smaller to 0.
_FLOAT32_LEAST = float(np.finfo(np.float32).tiny)


def check_parts(config: Config, parts: Mapping[SplitName, SplitPart]) -> None:
    """Checks label, sample weight and features of both splits.

    Args:
        config: The configuration.
        parts: Statistics of the splits.

    Raises:
        DataError: The first breach; names the column, the number of rows, and the first of them.
    """
    for split, part in parts.items():
        if not part.rows:
            continue
        for target in config.targets:
            _check_label(target, split, part.columns[target.label.column])
        if config.data.sample_weight is not None:
            _check_weight(config.data.sample_weight, split, part.columns[config.data.sample_weight])
        for name, feature in config.data.features.items():
            _check_feature(name, feature, split, part.columns[name], config.data.memory)


def _check_label(target: Target, split: SplitName, part: ColumnPart) -> None:
    name, task, key = target.label.column, target.task, f"run.{target.label_key}"
    column = key if target.prefix else f"{key}.column"
    if part.nulls or part.nans:
        what = "null" if part.nulls else "NaN"
        raise DataError(
            f"label {name!r} is {what} in {part.nulls or part.nans} {split} rows",
            where=part.first_null or part.first_bad, remedy="fill the label, or leave those rows out",
        )  # fmt: skip
    if part.infinities:
        raise DataError(
            f"label {name!r} is infinite in {part.infinities} {split} rows", where=part.first_bad,
            remedy="fix the label, or leave those rows out",
        )  # fmt: skip
    if task in OF_NUMBERS:
        assert part.moments is not None
        if task == "count" and part.moments.minimum < 0:
            raise DataError(
                f"label {name!r} is {part.moments.minimum:g} in {split} rows; task count needs counts >= 0",
                where=column, remedy="set task: regression, or leave those rows out",
            )  # fmt: skip
        if target.label.transform == "log1p" and part.moments.minimum <= -1:
            raise DataError(
                f"label {name!r} is {part.moments.minimum:g} in {split} rows; log1p takes what is above -1",
                where=f"{key}.transform", remedy="set transform: standard",
            )  # fmt: skip
        return
    classes = sorted(part.counts)
    if task == "binary" and not set(classes) <= {0, 1}:
        shown = ", ".join(map(str, classes[:5])) + (", …" if len(classes) > 5 else "")
        raise DataError(
            f"label {name!r} takes the values {shown} in {split} rows; task binary needs 0 and 1",
            where=column, remedy="set task: multiclass or regression, or write the label as 0 and 1",
        )  # fmt: skip
    if task == "multilabel":
        if split == "train" and not classes:
            raise DataError(
                f"label {name!r} is empty in all {part.rows} training rows", where=column,
                remedy="train on data that holds every class",
            )  # fmt: skip
        return
    if split == "train" and len(classes) < 2:
        raise DataError(
            f"label {name!r} has one class only ({classes[0]}) in {part.rows} training rows",
            where=column, remedy="train on data that holds every class",
        )  # fmt: skip


def _check_weight(name: str, split: SplitName, part: ColumnPart) -> None:
    assert part.moments is not None
    broken, least, largest = part.nulls + part.nans + part.infinities, part.moments.minimum, part.moments.maximum
    finite, train = "give every row a finite weight >= 0", split == "train"
    too_small = f"is at most {largest:g}, which float32 arithmetic takes for 0"
    faults = (
        (broken > 0, f"is null, NaN or infinite in {broken} {split} rows", finite),
        (least < 0, f"is negative in {split} rows (least: {least:g})", finite),
        (train and largest == 0, "is 0 in all training rows", "give some rows a weight above 0"),
        (train and largest < _FLOAT32_LEAST, too_small, "scale the weights, so that they are about 1"),
    )
    for is_fault, what, remedy in faults:
        if is_fault:
            where = part.first_null or part.first_bad or "run.data.sample_weight"
            raise DataError(f"sample weight {name!r} {what}", where=where, remedy=remedy)


def _check_feature(name: str, feature: Feature, split: SplitName, part: ColumnPart, memory: int | None) -> None:
    if split == "train" and part.rows == part.nulls + (
        part.nans if part.moments and part.moments.mean.ndim == 0 else 0
    ):
        raise DataError(
            f"column {name!r} is null in all {part.rows} training rows", where=f"run.data.features.{name}",
            remedy="remove the feature, or fix the column",
        )  # fmt: skip
    if isinstance(feature, Categorical | Sequence | Text):
        return
    if isinstance(feature, Image):
        _check_images(name, split, part, memory)
        return
    if part.infinities:
        raise DataError(
            f"column {name!r} is infinite in {part.infinities} {split} values", where=part.first_bad,
            remedy="write a finite number, or null with impute",
        )  # fmt: skip
    if feature.impute is None and (part.nulls or part.nans):
        what = "null" if part.nulls else "NaN"
        remedy = "impute: mean" if feature.kind in ("numeric", "date") else "impute: {constant: 0}"
        raise DataError(
            f"column {name!r} is {what} in {part.nulls or part.nans} of {part.rows} {split} rows",
            where=part.first_null if part.nulls else part.first_bad,
            remedy=f"set {remedy} for the feature, or fix the column",
        )  # fmt: skip
    assert part.moments is not None
    if split == "train" and part.lowest != part.highest and feature.kind != "date":
        _check_resolution(name, part)
    largest = max(abs(part.moments.minimum), abs(part.moments.maximum))
    if np.isfinite(largest) and largest > _FLOAT32_MAX:
        raise DataError(
            f"column {name!r} has values of {largest:.3g}, beyond what float32 holds",
            where=f"run.data.features.{name}",
            remedy="scale the column before it is written",
        )  # fmt: skip


def _check_resolution(name: str, part: ColumnPart) -> None:
    """Refuses large values that lie so near each other that float64 cannot tell them apart."""
    assert part.moments is not None
    largest = max(abs(part.moments.minimum), abs(part.moments.maximum))
    step, deviation = float(np.spacing(largest)), float(np.sqrt(part.moments.pooled()[1]))
    if part.moments.mean.ndim == 0 and largest > 2.0**53 and step > _COARSE * deviation:
        raise DataError(
            f"column {name!r} has values near {largest:.3g} that differ by {part.highest - part.lowest:.3g} at most; "
            f"float64 counts in steps of {step:g} there", where=f"run.data.features.{name}",
            remedy="subtract a constant from the column before it is written, or use kind: categorical",
        )  # fmt: skip


def _check_images(name: str, split: SplitName, part: ColumnPart, memory: int | None) -> None:
    if part.nulls:
        raise DataError(
            f"column {name!r} is null in {part.nulls} of {part.rows} {split} rows", where=part.first_null,
            remedy=f"set data.filter: {{{name}: {{null: false}}}}, or fix the column",
        )  # fmt: skip
    if part.nans:
        raise DataError(
            f"column {name!r} holds no image in {part.nans} of {part.rows} {split} rows", where=part.first_bad,
            remedy="write encoded PNG, JPEG, GIF or BMP files",
        )  # fmt: skip
    budget = memory or default_budget()
    if part.highest > budget:
        raise DataError(
            f"column {name!r} has an image that takes {part.highest / 2**20:.0f} MiB to decode; the feed may hold "
            f"{budget / 2**20:.0f} MiB", where=part.largest_image,
            remedy="write a smaller image, or raise data.memory and the memory limit",
        )  # fmt: skip


#: A step of float32 above this share of a column's standard deviation is a loss worth a warning.
_MOST_BLUR = 0.01


def odd_columns(config: Config, part: SplitPart) -> list[str]:
    """Returns one warning for each column from which nothing can be learnt, or of which float32 loses digits."""
    out = []
    for name in config.data.features:
        column = part.columns[name]
        if column.moments is None:
            same = len(column.counts) == 1 and not column.nulls
        else:
            same = column.lowest == column.highest and not column.nulls and not column.nans
        if same:
            out.append(f"column {name!r} is constant: nothing can be learnt from it")
        if config.data.features[name].kind == "vector" and (step := _lossy_step(column)):
            out.append(
                f"column {name!r} loses digits: vectors are float32, which near its values has steps of {step:g}; "
                "subtract their mean before they are written"
            )
    for target in config.targets:
        label = target.label
        is_plain = target.task in OF_NUMBERS and label.transform == "none"
        if is_plain and (step := _lossy_step(part.columns[label.column])):
            out.append(
                f"label {label.column!r} loses digits: float32 near its values has steps of {step:g}; "
                f"set run.{target.label_key}.transform: standard"
            )
    return out


def _lossy_step(column: ColumnPart) -> float:
    """The distance of neighbouring float32 numbers near a column's mean, where it blurs its spread; else 0."""
    if column.moments is None:
        return 0.0
    deviation = np.sqrt(column.moments.squares / np.maximum(column.moments.count, 1.0))
    steps = np.spacing(np.abs(column.moments.mean).astype(np.float32)).astype(np.float64)
    blurred = (deviation > 0.0) & (steps > _MOST_BLUR * deviation)
    return float(np.max(steps, where=blurred, initial=0.0))
