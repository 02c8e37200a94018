"""A small set of every kind of column, packed by hand: the oracle for what feed and export do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.schema import CodeField, Column, ColumnStatistics, LabelField, Layout, NumberField, Statistics

FEATURES: dict[str, Any] = {
    "f32": {"kind": "numeric", "scale": "standard", "impute": "mean", "indicator": True},
    "f64": {"kind": "numeric", "scale": "min_max", "impute": "median"},
    "i64": {"kind": "numeric", "scale": "robust"},
    "i64_null": {"kind": "numeric", "scale": "none", "impute": {"constant": -1}, "indicator": True},
    "stamp": {"kind": "numeric", "scale": "standard"},
    "flag": {"kind": "numeric", "scale": "none"},
    "u8": {"kind": "numeric"},
    "constant": {"kind": "numeric", "impute": "mean"},
    "tiny": {"kind": "numeric", "scale": "standard"},
    "vec": {"kind": "vector", "size": 3, "scale": "standard"},
    "vec_null": {"kind": "vector", "size": 2, "impute": {"constant": 0.5}, "indicator": True},
    "s_hot": {"kind": "categorical"},
    "s_emb": {"kind": "categorical", "encode": "embedding", "size": 4, "impute": {"constant": "b"}},
    "s_both": {"kind": "categorical", "impute": {"constant": "a"}, "indicator": True},
    "s_hash": {"kind": "categorical", "encode": "hash", "buckets": 5},
    "s_hash_emb": {"kind": "categorical", "encode": "hash", "buckets": 7, "size": 3},
    "i_hot": {"kind": "categorical"},
    "i_null": {"kind": "categorical", "encode": "embedding"},
    "i_hash": {"kind": "categorical", "encode": "hash", "buckets": 6},
    "big id": {"kind": "categorical"},
    "b_hot": {"kind": "categorical"},
    "b_null": {"kind": "categorical", "indicator": True},
}
BIG = 2**64 - 3


@dataclass(frozen=True)
class PackedSet:
    """Raw columns as the exported model takes them, and the same rows as the feed packs them."""

    raw: dict[str, np.ndarray]
    x: dict[str, np.ndarray]
    layout: Layout
    statistics: Statistics


def make_config(task: str = "binary", features: dict[str, Any] | None = None, **parts: Any) -> Config:
    return Config.model_validate(
        {
            "data": {"train": "x", "label": "y", "features": features or FEATURES},
            "task": task,
            "model": parts.pop("model", {"builtin": "mlp", "hidden": [8, 8], "residual": True, "dropout": 0.1}),
            "fit": parts.pop("fit", {}),
            "output": {"uri": "out"},
        }
    )


#: One column of each way of packing: models of these are traced quickly.
FEW = ("f32", "vec", "s_hot", "s_emb")


def every_kind(
    rows: int, seed: int = 0, task: str = "binary", unseen: bool = False, names: Iterable[str] = tuple(FEATURES)
) -> PackedSet:
    """Rows of every kind of column; `unseen` adds values that are in no vocabulary."""
    rng = np.random.default_rng(seed)
    null = lambda: rng.random(rows) < 0.2  # noqa: E731
    strings = np.array(["a", "b", "ü c", "d" if unseen else "a"], dtype=object)
    ints = np.array([-1, 7, 10**12, 99 if unseen else 7])
    text = lambda: np.where(null(), "", rng.choice(strings, rows)).astype(object)  # noqa: E731
    vec_null = rng.normal(size=(rows, 2)).astype("float32")
    vec_null[null()] = np.nan
    raw = {
        "f32": np.where(null(), np.nan, rng.normal(3, 2, rows)).astype("float32"),
        "f64": np.where(null(), np.nan, rng.exponential(5, rows)),
        "i64": rng.integers(-1000, 1000, rows),
        "i64_null": np.where(null(), np.nan, rng.integers(0, 9, rows)).astype("float64"),
        "stamp": 1_700_000_000_000_000 + rng.integers(0, 10**9, rows),
        "flag": rng.random(rows) < 0.5,
        "u8": rng.integers(0, 255, rows).astype("uint8"),
        "constant": np.where(null(), np.nan, 4.25).astype("float32"),
        "tiny": rng.normal(0, 1e-12, rows),
        "vec": rng.normal([1, 20, 300], [1, 2, 0.1], (rows, 3)).astype("float32"),
        "vec_null": vec_null,
        "s_hot": text(),
        "s_emb": text(),
        "s_both": text(),
        "s_hash": text(),
        "s_hash_emb": text(),
        "i_hot": rng.choice(ints, rows),
        "i_null": np.where(null(), np.nan, rng.choice(ints, rows)).astype("float64"),
        "i_hash": rng.choice(ints, rows),
        "big id": rng.choice(np.array([5, BIG, 6], dtype="uint64"), rows),
        "b_hot": rng.random(rows) < 0.5,
        "b_null": np.where(null(), np.nan, rng.random(rows) < 0.5).astype("float64"),
    }
    layout = make_layout(task, names)
    return PackedSet(
        {name: raw[name] for name in names}, pack(layout, raw), layout, measure(layout, every_kind_training(rows, task))
    )


def every_kind_training(rows: int, task: str) -> dict[str, np.ndarray]:
    """The raw rows statistics are taken of: always those of seed 0."""
    if rows in _TRAINING:
        return _TRAINING[rows]
    _TRAINING[rows] = {}
    _TRAINING[rows] = every_kind(rows, 0, task).raw
    return _TRAINING[rows]


_TRAINING: dict[int, dict[str, np.ndarray]] = {}


def make_layout(task: str = "binary", names: Iterable[str] = tuple(FEATURES)) -> Layout:
    dtypes = {"f32": "float32", "i64": "int64", "stamp": "int64", "flag": "bool", "u8": "uint8", "constant": "float32"}
    dtypes |= {"vec": "float32", "vec_null": "float32", "big id": "uint64", "b_hot": "bool"}
    dtypes |= dict.fromkeys(("s_hot", "s_emb", "s_both", "s_hash", "s_hash_emb"), "string")
    dtypes |= dict.fromkeys(("i_hot", "i_hash"), "int64")
    # Nullable integers and bools, and doubles, are float64.
    columns = [
        Column(name, feature["kind"], "?", dtypes.get(name, "float64"), feature.get("size", 1) if "vec" in name else 1)
        for name, feature in FEATURES.items()
        if name in names
    ]
    numbers, start = [], 0
    for column in columns:
        if column.kind != "categorical":
            numbers.append(NumberField(column, start, 1_700_000_500_000_000.0 if column.name == "stamp" else 0.0))
            start += column.size
    vocabularies = {
        "i_hot": (7, -1, 10**12),
        "i_null": (7, 10**12, -1),
        "big id": (BIG, 5),
        "b_hot": (0, 1),
        "b_null": (1, 0),
    }
    codes = []
    for column in columns:
        if column.kind == "categorical":
            buckets = FEATURES[column.name].get("buckets", 0)
            vocabulary = () if buckets else vocabularies.get(column.name, ("ü c", "b", "a"))
            codes.append(CodeField(column, len(codes), vocabulary, buckets, "b" if column.name == "s_emb" else None))
    classes = ("red", "green", "blue") if task == "multiclass" else ()
    return Layout(tuple(numbers), tuple(codes), LabelField("y", "?", task, classes))


def pack(layout: Layout, raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The schema's contract, one value at a time."""
    numbers = [raw[f.column.name].astype("float64").reshape(-1, f.column.size) - f.offset for f in layout.numbers]
    codes = [[_code(field, value) for value in raw[field.column.name].tolist()] for field in layout.codes]
    packed = {}
    if numbers:
        packed["numbers"] = np.concatenate(numbers, axis=1).astype("float32")
    if codes:
        packed["codes"] = np.array(codes, dtype="int32").T.copy()
    return packed


def _code(field: CodeField, value: Any) -> int:
    if value == "" or value != value:
        if field.fill is None:
            return 0
        value = field.fill
    value = value if isinstance(value, str) else int(value)
    if field.buckets:
        return 1 + int(tf.strings.to_hash_bucket_fast(str(value), field.buckets))
    return 2 + field.vocabulary.index(value) if value in field.vocabulary else 1


def measure(layout: Layout, raw: dict[str, np.ndarray]) -> Statistics:
    columns = {}
    for field in layout.numbers:
        if field.column.name not in raw:
            continue
        values = raw[field.column.name].astype("float64").reshape(-1, field.column.size)
        finite = values[np.isfinite(values)]
        columns[field.column.name] = ColumnStatistics(
            rows=len(values),
            nulls=int(np.isnan(values[:, 0]).sum()),
            mean=float(finite.mean()),
            variance=float(finite.var()),
            minimum=float(finite.min()),
            maximum=float(finite.max()),
            quantiles={q: float(np.quantile(finite, q)) for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)},
            element_means=tuple(np.nanmean(values, axis=0).tolist()) if field.column.kind == "vector" else (),
            element_variances=tuple(np.nanvar(values, axis=0).tolist()) if field.column.kind == "vector" else (),
        )
    return Statistics(rows=len(next(iter(raw.values()), ())), columns=columns)


def batches(
    x: dict[str, np.ndarray], y: np.ndarray, batch_size: int, weights: np.ndarray | None = None
) -> tf.data.Dataset:
    """(x, y, w) batches as the feed makes them: the last one is filled up with rows of weight 0."""
    rows = len(y)
    total = -(-rows // batch_size) * batch_size
    weights = np.ones(rows) if weights is None else weights
    fill = np.ones(total)
    weight = np.concatenate([weights, np.zeros(total - rows)])
    last = total - batch_size
    fill[last:] = (rows - last) / batch_size
    weight[last:] /= fill[last:]
    padded = {name: np.concatenate([value, np.repeat(value[-1:], total - rows, axis=0)]) for name, value in x.items()}
    labels = np.concatenate([y, np.repeat(y[-1:], total - rows, axis=0)])
    w = np.stack([weight, fill], axis=1).astype("float32")
    return tf.data.Dataset.from_tensor_slices((padded, labels, w)).batch(batch_size, drop_remainder=True)


def labels(rows: int, task: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 100)
    if task == "multiclass":
        return rng.integers(0, 3, rows).astype("int32")
    return (rng.random(rows) < 0.3).astype("float32") if task == "binary" else rng.normal(5, 2, rows).astype("float32")
