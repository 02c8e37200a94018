"""`model.from` for every task and for several labels: fine-tuning goes on with what a published model predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trainer
from tests import sets
from trainer.config import Config
from trainer.serving import published_model
from trainer.serving.evaluation import evaluate

ROWS = 300
TASKS: dict[str, dict[str, Any]] = {
    "multiclass": {"data__label": "kind", "task": "multiclass"},
    "multilabel": {"data__label": "tags", "task": "multilabel"},
    "count": {"data__label": "events", "task": "count"},
    "quantile": {"data__label": {"column": "minutes", "quantiles": [0.1, 0.9]}, "task": "quantile"},
    "several": {
        "data__label": None,
        "task": None,
        "data__labels": {
            "kind": {"task": "multiclass"},
            "tags": {"task": "multilabel"},
            "minutes": {"task": "quantile"},
            "events": {"task": "count", "weight": 0.5},
        },
    },
}
#: A step that moves nothing, so that the second run has to predict what the first did.
STILL = {"epochs": 1, "batch_size": 50, "optimizer": {"name": "sgd", "learning_rate": 1e-12}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    x, city = rng.normal(size=ROWS), rng.choice(["bonn", "ulm"], ROWS)
    tags = [[tag for tag, on in (("low", a < 0), ("ulm", b == "ulm")) if on] for a, b in zip(x, city, strict=True)]
    table = pa.table(
        {
            "x": x,
            "city": city,
            "kind": np.where(x > 0.5, "red", np.where(city == "ulm", "green", "blue")),
            "tags": pa.array(tags, pa.list_(pa.string())),
            "minutes": np.exp(x) * 100,
            "events": rng.poisson(np.exp(x)),
        }
    )
    pq.write_table(table, folder / "rows.parquet", row_group_size=100)
    return folder


def run(data: Path, out: Path, name: str, model: dict[str, Any], **changes: Any) -> str:
    document = sets.job(
        data,
        out,
        **{
            "data__features": {"x": {"kind": "numeric"}, "city": {"kind": "categorical"}},
            "model": model,
            "fit": STILL,
            "output__tensorboard": False,
            **changes,
        },
    )
    return trainer.fit(Config.model_validate(document["run"]), run_id=name).uri


@pytest.mark.parametrize("task", ["quantile", "several"])
def test_a_published_model_of_any_task_is_trained_on_from_where_it_ended(data: Path, tmp_path: Path, task: str) -> None:
    made = {"fit": {"epochs": 3, "batch_size": 50}}
    first = run(data, tmp_path, "first", {"builtin": "mlp", "hidden": [8]}, **{**TASKS[task], **made})
    second = run(data, tmp_path, "second", {"from": first}, **TASKS[task])
    third = run(data, tmp_path, "third", {"from": f"{second}/model/model.keras"}, **TASKS[task])
    rows = {"x": np.linspace(-2, 2, 5, dtype="float32"), "city": np.array(["bonn", "ulm", "", "rom", "ulm"])}
    one, two, three = (published_model.load(uri).predict(rows) for uri in (first, second, third))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    np.testing.assert_allclose(three, one, rtol=1e-5)
    assert np.ptp(one, axis=0).max() > 0
    scores = [evaluate(uri, str(data))["metrics"] for uri in (first, third)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)


def raw_model(outputs: int, activation: str) -> keras.Model:
    """As a plain script makes and trains it."""
    keras.utils.set_random_seed(1)
    x, city = keras.Input((1,), name="x"), keras.Input((1,), name="city", dtype="string")
    codes = keras.layers.StringLookup(vocabulary=["bonn", "ulm"], output_mode="one_hot")(city)
    hidden = keras.layers.Dense(4, "tanh", name="body")(keras.layers.Concatenate()([x, codes]))
    return keras.Model([x, city], keras.layers.Dense(outputs, activation, name="head")(hidden))


@pytest.mark.parametrize(
    ("task", "outputs", "activation"),
    [("multiclass", 3, "softmax"), ("multilabel", 2, "sigmoid"), ("count", 1, "linear"), ("quantile", 2, "linear")],
)
def test_a_keras_file_of_any_task_is_trained_on_with_its_body_frozen(
    data: Path, tmp_path: Path, task: str, outputs: int, activation: str
) -> None:
    before = raw_model(outputs, activation)
    before.save(tmp_path / "base.keras")
    start = {"from": str(tmp_path / "base.keras"), "freeze": ["body"]}
    end = run(data, tmp_path, "tuned", start, **TASKS[task], fit={"epochs": 2, "batch_size": 50})
    layers = {layer.name: layer for layer in published_model.load(end).model._flatten_layers()}
    np.testing.assert_array_equal(layers["body"].get_weights()[0], before.get_layer("body").get_weights()[0])
    assert np.abs(layers["head"].get_weights()[0] - before.get_layer("head").get_weights()[0]).max() > 0
    if task == "multiclass":
        rows = {"x": np.array([-1, 1], "float32"), "city": np.array(["bonn", "ulm"])}
        still = run(data, tmp_path, "still", {"from": start["from"]}, **TASKS[task])
        plain = before.predict([rows["x"][:, None], keras.ops.convert_to_tensor(rows["city"][:, None])], verbose=0)
        np.testing.assert_allclose(published_model.load(still).predict(rows), plain, atol=1e-6)
