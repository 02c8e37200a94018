"""What is published: proved on raw rows against the feed, whatever columns are called and hold."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest

from tests.serving.published import configuration, publish_untrained, write_set
from trainer.errors import ModelCodeError
from trainer.feed.packing.packed_inputs import packed_inputs
from trainer.feed.packing.raw_columns import raw_batches
from trainer.model.build import build
from trainer.model.features import Features
from trainer.serving import proof, published_model
from trainer.serving.holdout import predict_holdout
from trainer.serving.proof import proof_rows
from trainer.serving.signature import serving_model

HOSTILE_NAMES = [
    "_x", "1abc", "é", "日本語", "/", "a\nb", "__index_level_0__", "a b", "a_b", "A", "a", "self", "class", "mlp",
    "stack", "", "numbers", "kfit_packing", "x" * 500, "a.b.c", "'\"", "a:0", "\t", "prediction", "%s{0}",
]  # fmt: skip


def test_a_set_with_any_column_names_is_published_and_answers(tmp_path):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=120) for name in HOSTILE_NAMES}
    columns |= {f"{name} text": rng.choice(["a", "b", "c"], 120) for name in HOSTILE_NAMES}
    table = pa.table({**columns, "label": rng.integers(0, 2, 120)})
    features = {name: {"kind": "categorical" if name.endswith(" text") else "numeric"} for name in columns}
    data = write_set(tmp_path / "data", table)
    uri, prepared = publish_untrained(configuration(data, tmp_path / "out", features))
    manifest = json.loads((Path(uri) / "model/MANIFEST.json").read_text())
    assert set(manifest["inputs"]) == set(columns)
    assert len(set(manifest["inputs"].values())) == len(columns)
    model = published_model.load(uri)
    (_, raw), *_ = raw_batches(prepared.layout, str(data), rows=120)
    assert np.ptp(model.predict(raw)) > 0


def test_a_model_of_an_older_manifest_is_asked_by_column_names(tmp_path):
    data = write_set(tmp_path / "data", pa.table({"x": np.arange(60.0), "label": [0, 1] * 30}))
    uri, _ = publish_untrained(configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}))
    path = Path(uri) / "model/MANIFEST.json"
    manifest = json.loads(path.read_text())
    raw = {"x": np.array([1.0, 2.0])}
    before = published_model.load(uri).predict(raw)
    del manifest["inputs"]
    path.write_text(json.dumps(manifest))
    np.testing.assert_array_equal(published_model.load(uri).predict(raw), before)


def filtered(tmp_path: Path, x: pa.Array, labels: list[int | None]) -> tuple[str, Path]:
    """A set of which every third row belongs to another country, with nulls, and does not count."""
    country = ["fr" if i % 3 == 0 else "de" for i in range(len(labels))]
    data = write_set(tmp_path / "data", pa.table({"x": x, "country": country, "label": pa.array(labels, pa.int64())}))
    config = configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}, filter={"country": {"equals": "de"}})
    return publish_untrained(config)[0], data


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_nulls_that_the_filter_leaves_out_do_not_end_a_run(tmp_path, dtype):
    x = pa.array([None if i % 3 == 0 else i for i in range(120)], pa.int64()).cast(dtype)
    uri, data = filtered(tmp_path, x, [None if i % 3 == 0 else i % 2 for i in range(120)])
    assert (Path(uri) / "model/MANIFEST.json").exists()
    from trainer.config import Condition

    holdout = predict_holdout([uri], str(data), ["country"], row_filter={"country": Condition(equals="de")})
    assert holdout.labels.tolist() == [i % 2 for i in range(120) if i % 3]
    assert set(holdout.slices["country"]) == {"de"}
    assert holdout.predictions[0].shape == (80,)


def all_kinds(tmp_path: Path, **columns: pa.Array) -> tuple[pa.Table, dict[str, dict[str, object]]]:
    kinds = {name: name.rstrip("0123456789") for name in columns}
    extra: dict[str, dict[str, object]] = {
        "sequence": {"length": 3}, "text": {"length": 4}, "vector": {"size": 2}, "numeric": {"impute": "mean"},
    }  # fmt: skip
    hashed = {"hashed": {"kind": "categorical", "encode": "hash", "buckets": 50}}
    features = {name: hashed.get(kind, {"kind": kind, **extra.get(kind, {})}) for name, kind in kinds.items()}
    length = len(next(iter(columns.values())))
    return pa.table({**columns, "label": [i % 2 for i in range(length)]}), features


LARGE = 2**53


def hostile_columns() -> dict[str, pa.Array]:
    texts = ["a", "a\0", "a\0b", "", " ", "a\nb", "Ü", "[UNK]", "日本", "0", "a ", "A"] * 10
    large = [LARGE + i % 7 for i in range(120)]
    with_null = [None if i == 5 else v for i, v in enumerate(large)]
    unsigned = [2**64 - 1 - i % 5 for i in range(120)]
    return {
        "categorical0": pa.array(texts),
        "categorical1": pa.array(large),
        "categorical2": pa.array(with_null),
        "categorical3": pa.array(unsigned, pa.uint64()),
        "categorical4": pa.array([None if i == 5 else v for i, v in enumerate(unsigned)], pa.uint64()),
        "categorical5": pa.array([-(2**63) if i % 2 else 2**63 - 1 for i in range(120)]),
        "categorical6": pa.array([None if i == 3 else bool(i % 2) for i in range(120)]),
        "hashed0": pa.array(texts),
        "hashed1": pa.array(large),
        "hashed2": pa.array(with_null),
        "hashed3": pa.array(unsigned, pa.uint64()),
        "hashed4": pa.array([None if i == 5 else v for i, v in enumerate(unsigned)], pa.uint64()),
        "sequence0": pa.array([[v, v + 1] if i % 4 else [] for i, v in enumerate(large)]),
        "sequence1": pa.array([[t, t] if i % 4 else None for i, t in enumerate(texts)]),
        "sequence2": pa.array([[v] * (i % 5) for i, v in enumerate(unsigned)], pa.list_(pa.uint64())),
        "text0": pa.array([f"{t} word\0 \0 wo\0rd, {t}!" for t in texts]),
        "numeric0": pa.array([LARGE + i * 1000 for i in range(120)]),
        "numeric1": pa.array([2**64 - 1 - i * 2**50 for i in range(120)], pa.uint64()),
        "numeric2": pa.array([i * 1e-44 for i in range(120)]),
        "vector0": pa.array([[float(i), 1e30] for i in range(120)]),
    }


def test_extremes_reach_the_served_model_as_the_feed_gives_them(tmp_path):
    table, features = all_kinds(tmp_path, **hostile_columns())
    data = write_set(tmp_path / "data", table)
    uri, prepared = publish_untrained(configuration(data, tmp_path / "out", features))
    model = published_model.load(uri)
    tables = list(raw_batches(prepared.layout, str(data), rows=120, extra=["label"]))
    packed = packed_inputs(prepared.layout, pa.concat_tables([t for t, _ in tables]))
    inside = np.asarray(model.trained(packed))
    outside = np.concatenate([model.predict(raw) for _, raw in tables])
    np.testing.assert_allclose(outside, inside, rtol=1e-5)


def test_the_proof_rows_hold_extremes_of_every_column(tmp_path):
    table, features = all_kinds(tmp_path, **hostile_columns())
    config = configuration(write_set(tmp_path / "data", table), tmp_path / "out", features)
    from trainer.feed.statistics.prepare import prepare

    prepared = prepare(config)
    rows = proof_rows(prepared)
    assert rows.golden == 50  # the first row group
    assert rows.golden < rows.ordinary < len(rows.raw["numeric0"])
    codes = {f.column.name: rows.packed["codes"][:, f.start] for f in prepared.layout.packed_codes}
    for name in ("categorical0", "categorical2", "categorical4", "categorical6", "sequence0", "sequence1", "text0"):
        assert codes[name].min() == 0, name
    for name in ("categorical0", "categorical1", "categorical2", "sequence0", "text0"):
        assert {1, 2}.issubset(codes[name].tolist()), name
    assert float(2**63 - 1) in rows.raw["numeric0"].tolist() or np.isnan(rows.raw["numeric0"]).any()


def test_an_export_that_sees_other_values_than_the_feed_gave_is_refused_by_name(tmp_path, monkeypatch):
    """A packing that is wrong in the same way in this process and in the clean one."""
    data = write_set(tmp_path / "data", pa.table({"city": ["a", "b", "c"] * 40, "label": [0, 1] * 60}))
    config = configuration(data, tmp_path / "out", {"city": {"kind": "categorical"}})

    def broken(layout, table):
        packed = packed_inputs(layout, table)
        packed["codes"][packed["codes"] == 3] = 4
        return packed

    monkeypatch.setattr(proof, "packed_inputs", broken)
    with pytest.raises(ModelCodeError, match="sees 3 in column 'city' where the feed gave 4"):
        publish_untrained(config)
    assert not (tmp_path / "out/runs/r1/model").exists()


def test_the_graph_of_a_wide_table_does_not_grow_with_its_columns(tmp_path):
    rng = np.random.default_rng(0)

    def operations(width: int) -> int:
        columns = {f"c{i}": rng.choice(["a", "b", "c"], 60) for i in range(width)}
        columns |= {f"i{i}": rng.integers(0, 3, 60) for i in range(width)}
        columns |= {f"n{i}": rng.normal(size=60) for i in range(width)}
        features = {name: {"kind": "numeric" if name[0] == "n" else "categorical"} for name in columns}
        data = write_set(tmp_path / f"{width}", pa.table({**columns, "label": [0, 1] * 30}))
        config = configuration(data, tmp_path / "out", features)
        from trainer.feed.statistics.prepare import prepare

        prepared = prepare(config)
        model = build(Features(prepared.layout, config, prepared.statistics["train"]), config)
        packing = serving_model(model, prepared.layout).packing
        assert packing is not None
        every = [*packing.operations, *model.operations]
        return sum(not isinstance(one, keras.layers.InputLayer) for one in every)

    assert operations(3) == operations(30)


def test_a_published_model_that_keras_refuses_is_the_models_fault(tmp_path):
    """As an older kfit published them: a Lambda holds Python code, which Keras does not run when it loads."""
    import hashlib

    data = write_set(tmp_path / "data", pa.table({"x": np.arange(60.0), "label": [0, 1] * 30}))
    uri, _ = publish_untrained(configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}))
    x = keras.Input((), name="x")
    refused = keras.Model({"x": x}, keras.layers.Lambda(lambda t: 2 * t, output_shape=(1,))(x))
    path, manifest_path = (Path(uri) / "model" / name for name in ("model.keras", "MANIFEST.json"))
    refused.save(path)
    manifest = json.loads(manifest_path.read_text())
    manifest["files"]["model.keras"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(ModelCodeError, match="Keras does not load the model") as error:
        published_model.load(uri)
    assert error.value.where.endswith("model/model.keras")


def test_a_model_whose_own_layer_cannot_be_saved_is_the_models_fault(tmp_path, monkeypatch):
    data = write_set(tmp_path / "data", pa.table({"x": np.arange(60.0), "label": [0, 1] * 30}))

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

        def get_config(self):
            raise ZeroDivisionError("mine")

    import tests.serving.published as published

    def with_own_layer(features, config):
        inputs = features.inputs()
        return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(Own()(features.encode(inputs))), name="own")

    monkeypatch.setattr(published, "build", with_own_layer)
    with pytest.raises(ModelCodeError, match="the model cannot be exported: ZeroDivisionError: mine"):
        publish_untrained(configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}))


def test_a_model_that_computes_in_half_precision_is_proved_by_its_rounding(tmp_path):
    """A SavedModel rounds seldomer than Keras does step by step: of bfloat16 by up to 1e-3 of a probability."""
    rng = np.random.default_rng(2)
    table = pa.table({"x": rng.normal(size=90), "label": [0, 1] * 45, "count": rng.poisson(3.0, 90)})
    table = table.append_column("tags", pa.array([["s"], ["t", "u"], []] * 30))
    tasks = {"label": "binary", "count": "count", "tags": "multilabel"}
    labels = {name: {"task": task} for name, task in tasks.items()}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        several = {"task": None, "label": None, "labels": labels}
        data = write_set(tmp_path / "data", table)
        uri, _ = publish_untrained(configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}, **several))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(published_model.load(uri).predict({"x": np.arange(3.0)})).all()


def test_saved_model_pb_is_the_last_file_and_the_manifest_comes_after_it(tmp_path):
    data = write_set(tmp_path / "data", pa.table({"x": np.arange(60.0), "label": [0, 1] * 30}))
    config = configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}})
    listed: list[set[str]] = []
    target = tmp_path / "out/runs/r1/model"

    def note() -> None:
        listed.append({file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()})

    publish_untrained(config, check=note)
    order = [*(new for before, after in pairwise(listed) for new in after - before)]
    assert set(order) == set(json.loads((target / "MANIFEST.json").read_text())["files"])
    assert order[-1] == "saved_model/saved_model.pb"


def test_the_code_of_the_page_on_serving_asks_both_forms(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    carriers = [None if i % 7 == 0 else "UA" for i in range(60)]
    table = pa.table({"distance": range(60), "carrier": carriers, "label": [0, 1] * 30})
    features = {"distance": {"kind": "numeric"}, "carrier": {"kind": "categorical"}}
    monkeypatch.chdir(tmp_path)
    publish_untrained(configuration(write_set(tmp_path / "data", table), Path("out"), features))
    names: dict[str, Any] = {}
    exec(code, names)  # the page's own code
    assert names["probabilities"].shape == (2, 1)
    np.testing.assert_allclose(names["probabilities"], names["model"](names["tensors"]), rtol=1e-5)
