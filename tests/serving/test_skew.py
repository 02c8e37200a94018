"""No train/serve skew: for any schema, the exported model on raw rows equals the model on the feed's batches.

Arrow packs the training batches and TensorFlow the raw rows of the export; these are two programs, and this
is where they are compared.
"""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.config import Config
from trainer.date_parts import CYCLES, GROWING, OF_DATE
from trainer.feed.packing.raw_columns import raw_batches
from trainer.feed.pipeline.dataset import Feed
from trainer.feed.statistics.prepare import prepare
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.objective.label_scale import predicted
from trainer.serving.signature import serving_model

ROWS = 90
NUMBERS: dict[str, pa.DataType] = {
    "int8": pa.int8(),
    "int64": pa.int64(),
    "uint16": pa.uint16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "decimal": pa.decimal128(12, 3),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
DATES: dict[str, pa.DataType] = {
    "date32": pa.date32(),
    "date64": pa.date64(),
    "seconds": pa.timestamp("s"),
    "milliseconds": pa.timestamp("ms", tz="UTC"),
    "microseconds": pa.timestamp("us", tz="America/New_York"),
    "nanoseconds": pa.timestamp("ns", tz="+05:45"),
    "half hours": pa.timestamp("us", tz="Australia/Lord_Howe"),
}
#: Seconds since 1970: 1903, the epoch, a leap century, the future (of nanoseconds int64 ends in 2262).
CENTRES = [-(2 * 10**9), 0, 951_782_400, 7_000_000_000]
WORDS = ["a", "bb", "ü", "Z z", "0", "null", "a\0", "a\0b", "\0", "[UNK]", "a\nb", " a", "", "9007199254740993"]
#: Where integers lie that a category takes: float64 and float32 lose their digits, int64 ends.
BASES = [0, 2**24, 2**53, -(2**53), 2**63 - 5, -(2**63) + 4]
#: Columns are called by these and a number.
NAMES = ["c", "é", "a/b", " ", "_", "self", "x.y", "\n", "日"]


def category_values(kind: str, base: int, rng: np.random.Generator) -> pa.Array:
    if kind == "int":
        return pa.array([base + int(v) for v in rng.integers(-3, 4, ROWS)], pa.int64())
    if kind == "uint":
        return pa.array([2**64 - 1 - int(v) for v in rng.integers(0, 7, ROWS)], pa.uint64())
    if kind == "bool":
        return pa.array(rng.integers(0, 2, ROWS).astype(bool))
    return pa.array(rng.choice(np.array(WORDS, object), ROWS).tolist(), pa.string())


def number_values(kind: pa.DataType, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(rng.integers(0, 2, ROWS).astype(bool))
    if pa.types.is_timestamp(kind):
        return pa.array(1_356_998_400_000_000 + rng.integers(0, 10**13, ROWS)).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.normal(3, 20, ROWS)).cast(kind)
    if pa.types.is_decimal(kind):
        return pa.array(rng.integers(0, 100_000, ROWS) / 1000).cast(kind)
    return pa.array(rng.integers(0, 100, ROWS)).cast(pa.int32() if pa.types.is_date(kind) else kind).cast(kind)


def date_values(kind: pa.DataType, centre_s: int, rng: np.random.Generator) -> pa.Array:
    """Dates within 3 years of a second since 1970, on the edges of days and hours too."""
    seconds = centre_s + rng.integers(-(10**8), 10**8, ROWS)
    seconds[::3] -= seconds[::3] % rng.choice([60, 3600, 86_400]) + rng.integers(0, 2)
    if pa.types.is_date(kind):
        return pa.array(seconds // 86_400, pa.int32()).cast(pa.date32()).cast(kind)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    return pa.array(seconds * per_second + rng.integers(0, per_second, ROWS)).cast(kind)


def with_nulls(values: pa.Array, share: float, rng: np.random.Generator) -> pa.Array:
    keep = rng.random(len(values)) >= share
    keep[:2] = True
    return pa.array(values.to_pylist(), values.type, mask=~keep)


@st.composite
def models(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A builtin model and the transform of a regression's label."""
    builtin = draw(st.sampled_from(["linear", "mlp", "dcn"]))
    numbers = draw(st.sampled_from(["periodic", "piecewise", "none"]))
    transform = draw(st.sampled_from(["standard", "log1p", "none"]))
    return {"builtin": builtin, "hidden": [5], "numbers": numbers, "cross_layers": 2}, transform


@st.composite
def dates(draw: st.DrawFn, rng: np.random.Generator) -> dict[str, tuple[pa.Array, dict[str, Any]]]:
    """Columns of dates and their features."""
    columns = {}
    for i, name in enumerate(draw(st.lists(st.sampled_from(sorted(DATES)), max_size=3))):
        nulls = draw(st.sampled_from([0.0, 0.3]))
        values = with_nulls(date_values(DATES[name], draw(st.sampled_from(CENTRES)), rng), nulls, rng)
        named = st.lists(st.sampled_from([*(OF_DATE if name.startswith("date") else [*CYCLES, *GROWING])]), min_size=1)
        impute = draw(st.sampled_from(["mean", "median", {"constant": "1999-12-31"}]))
        feature = {
            "kind": "date",
            "parts": draw(st.just("auto") | named),
            "cyclic": draw(st.booleans()),
            **({"impute": impute, "indicator": draw(st.booleans())} if nulls else {}),
        }
        columns[f"d{i}"] = (values, feature)
    return columns


@st.composite
def schemas(draw: st.DrawFn) -> tuple[pa.Table, dict[str, Any], str]:
    """A table, its features, and its task."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns: dict[str, pa.Array] = {}
    features: dict[str, Any] = {}
    for i, name in enumerate(draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=6))):
        nulls = draw(st.sampled_from([0.0, 0.3]))
        columns[f"n{i}"] = with_nulls(number_values(NUMBERS[name], rng), nulls, rng)
        impute = draw(st.sampled_from(["mean", "median", {"constant": -1}]))
        features[f"n{i}"] = {
            "kind": "numeric",
            "scale": draw(
                st.sampled_from(
                    ["robust_clip", "standard", "min_max", "robust", "none" if "time" not in name else "robust"]
                )
            ),
            **({"impute": impute, "indicator": draw(st.booleans())} if nulls else {}),
        }
    for name, (values, feature) in draw(dates(rng)).items():
        columns[name], features[name] = values, feature
    kinds = st.sampled_from(["string", "dictionary", "int", "uint", "bool"])
    name = draw(st.sampled_from(NAMES))
    for i, kind in enumerate(draw(st.lists(kinds, max_size=4))):
        values = category_values(kind, draw(st.sampled_from(BASES)), rng)
        array = with_nulls(values, draw(st.sampled_from([0.0, 0.4])), rng)
        columns[f"{name}{i}"] = array.dictionary_encode() if kind == "dictionary" else array
        encode = draw(st.sampled_from(["auto", "one_hot", "embedding", "hash"]))
        features[f"{name}{i}"] = {
            "kind": "categorical",
            "encode": encode,
            "min_count": draw(st.sampled_from([1, 4])),
            **({"buckets": 7} if encode == "hash" else {}),
            "indicator": draw(st.booleans()),
        }
    if draw(st.booleans()):
        flat = rng.normal(size=ROWS * 3).astype(np.float32)
        columns["v"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), 3)
        features["v"] = {"kind": "vector", "size": 3, "scale": draw(st.sampled_from(["standard", "none"]))}
    for i, kind in enumerate(draw(st.lists(st.sampled_from(["string", "int"]), max_size=2))):
        values = np.array(WORDS, object)[rng.integers(0, len(WORDS), (ROWS, 9))]
        if kind == "int":
            values = draw(st.sampled_from(BASES)) + rng.integers(-3, 4, (ROWS, 9)).astype(object)
        lists = [row[:n] for row, n in zip(values.tolist(), rng.integers(0, 10, ROWS).tolist(), strict=True)]
        columns[f"s{i}"] = pa.array(lists, pa.list_(pa.string() if kind == "string" else pa.int64()))
        length, ragged = draw(st.sampled_from([3, 30])), draw(st.booleans())
        features[f"s{i}"] = {"kind": "sequence", "length": length, "ragged": ragged}
    if draw(st.booleans()):
        words = np.array(WORDS, object)[rng.integers(0, len(WORDS), (ROWS, 5))]
        columns["t"] = pa.array([" ".join(row) for row in words.tolist()])
        features["t"] = {"kind": "text", "length": draw(st.sampled_from([2, 9]))}
    task = draw(st.sampled_from(["binary", "multiclass", "regression"]))
    large = draw(st.sampled_from([0.0, 1e12]))
    label = {
        "binary": pa.array(rng.integers(0, 2, ROWS)),
        "multiclass": pa.array(rng.choice(["x", "y", "z"], ROWS)),
        "regression": pa.array(rng.uniform(size=ROWS) * 50 + large),
    }
    return pa.table({**columns, "label": label[task]}), features, task


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(schemas(), models())
def test_the_export_on_raw_rows_equals_the_model_on_batches(
    drawn: tuple[pa.Table, dict[str, Any], str], modelled: tuple[dict[str, Any], str]
) -> None:
    (table, features, task), (builtin, transform) = drawn, modelled
    label = {"column": "label"} | ({"transform": transform} if task == "regression" else {})
    keras.utils.set_random_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(3):
            pq.write_table(table.slice(i * 30, 30), Path(folder, f"{i}.parquet"), row_group_size=13)
        config = Config.model_validate(
            {
                "data": {"train": folder, "label": label, "features": features},
                "task": task,
                "model": builtin,
                "fit": {"batch_size": 32},
                "output": {"uri": folder + "/out"},
            }
        )
        prepared = prepare(config)
        spec = Features(prepared.layout, config, prepared.statistics["train"])
        model = build(spec, config)
        with Feed(prepared, "train", batch_size=32, seed=0, shuffle=False) as feed:
            batches = [x for x, _, _ in feed.dataset().take(feed.steps)]
        inside = np.concatenate([np.asarray(predicted(prepared.layout.label, model(x))) for x in batches])[:ROWS]
        served = serving_model(model, prepared.layout)
        raw = [columns for _, columns in raw_batches(prepared.layout, folder, rows=32)]
        outside = np.concatenate([served.predict(columns) for columns in raw])
        seen = [served.packing([columns[c.name] for c in prepared.layout.columns]) for columns in raw]
    np.testing.assert_allclose(outside, inside, rtol=1e-4, atol=1e-5)
    for key in ("numbers", "codes"):
        if key in seen[0]:
            packed = np.concatenate([x[key].numpy() for x in batches])[:ROWS]
            np.testing.assert_allclose(np.concatenate([x[key] for x in seen]), packed, rtol=1e-6)
