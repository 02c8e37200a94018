"""What a warm start takes from a published model, and when it refuses to: by names, not by shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import Config
from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared, prepare
from trainer.serving.published_model import manifest_of
from trainer.training.warm_start import with_vocabularies_of

ROWS = 30
NUMBERS: dict[str, Any] = {"a": {"kind": "numeric"}, "b": {"kind": "numeric"}}


def data_of(
    folder: Path, features: dict[str, Any], colours: str = "ruby", classes: str = "pqr", task: str = "multiclass"
) -> Prepared:
    """A set whose column `colour` and label have these letters as values."""
    columns: dict[str, Any] = {name: [float(i) for i in range(ROWS)] for name in "abc"}
    columns["colour"] = [colours[i % len(colours)] for i in range(ROWS)]
    columns["digit"] = [i % 4 for i in range(ROWS)]
    columns["label"] = [classes[i % len(classes)] for i in range(ROWS)]
    columns["other"] = columns["label"]
    if task == "binary":
        columns["label"] = [i % 2 for i in range(ROWS)]
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "part.parquet")
    run = {
        "data": {"train": str(folder), "label": "label", "features": features},
        "task": task,
        "model": {"builtin": "mlp"},
        "fit": {"batch_size": 5},
        "output": {"uri": str(folder / "out")},
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps({"run": run}))
    return prepare(Config.load(path))


def published(folder: Path, prepared: Prepared) -> str:
    """The manifest that a run of this data leaves."""
    (folder / "model").mkdir(parents=True)
    (folder / "model/model.keras").write_bytes(b"a model")
    inputs = {column.name: column.name for column in prepared.layout.columns}
    manifest = manifest_of("before", folder / "model", prepared.layout, inputs)
    (folder / "model/MANIFEST.json").write_text(json.dumps(manifest))
    return str(folder)


def test_the_same_features_take_the_vocabulary_in_its_old_order(tmp_path: Path) -> None:
    features = {**NUMBERS, "colour": {"kind": "categorical"}}
    before = data_of(tmp_path / "before", features, colours="rruubbbyyyy")
    now = data_of(tmp_path / "now", features, colours="yubrrr")
    assert now.layout.codes[0].vocabulary != before.layout.codes[0].vocabulary
    warm = with_vocabularies_of(published(tmp_path / "run", before), now)
    assert warm.layout.codes[0].vocabulary == before.layout.codes[0].vocabulary
    assert warm.warnings == now.warnings


def test_values_that_the_earlier_model_does_not_know_are_named(tmp_path: Path) -> None:
    features = {**NUMBERS, "colour": {"kind": "categorical"}}
    before = data_of(tmp_path / "before", features, colours="ruby")
    now = data_of(tmp_path / "now", features, colours="rubxyz")
    warm = with_vocabularies_of(published(tmp_path / "run", before), now)
    assert set(warm.layout.codes[0].vocabulary) == set("ruby")
    assert warm.warnings[len(now.warnings) :] == (
        "warm start: 2 of 6 values of 'colour' are unknown to run before and count as unseen: 'x', 'z'",
    )


def test_the_order_of_features_counts_in_the_model_and_not_in_the_job_file(tmp_path: Path) -> None:
    run = published(tmp_path / "run", data_of(tmp_path / "before", NUMBERS))
    now = data_of(tmp_path / "now", dict(reversed(NUMBERS.items())))
    assert with_vocabularies_of(run, now).layout == now.layout
    path = tmp_path / "run/model/MANIFEST.json"
    manifest = json.loads(path.read_text())
    manifest["layout"]["features"].reverse()
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="run before has its features in another order: 'b', 'a'"):
        with_vocabularies_of(run, now)


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({"features": NUMBERS}, {"features": {"a": NUMBERS["a"], "c": NUMBERS["b"]}}, "has no feature 'c'"),
        (
            {"features": {**NUMBERS, "c": {"kind": "numeric"}}},
            {"features": NUMBERS},
            "has the feature 'c', which this job lacks",
        ),
        (
            {"features": {"a": NUMBERS["a"], "digit": {"kind": "numeric"}}},
            {"features": {"a": NUMBERS["a"], "digit": {"kind": "categorical"}}},
            "takes 'digit' as numeric, this job as categorical",
        ),
        (
            {"features": {"colour": {"kind": "categorical"}}},
            {"features": {"colour": {"kind": "categorical", "encode": "hash", "buckets": 5}}},
            "encodes 'colour' by a vocabulary, this job hashed",
        ),
        (
            {"features": {"colour": {"kind": "categorical", "encode": "hash", "buckets": 5}}},
            {"features": {"colour": {"kind": "categorical"}}},
            "encodes 'colour' hashed, this job by a vocabulary",
        ),
        (
            {"features": NUMBERS, "classes": "pqr"},
            {"features": NUMBERS, "classes": "prs"},
            "knows the classes 'p', 'q', 'r', this data has 'p', 'r', 's'",
        ),
        (
            {"features": NUMBERS},
            {"features": NUMBERS, "task": "binary"},
            "was trained for the task multiclass, this job is binary",
        ),
    ],
)
def test_another_meaning_under_the_same_shapes_is_refused(
    before: dict[str, Any], now: dict[str, Any], says: str, tmp_path: Path
) -> None:
    run = published(tmp_path / "run", data_of(tmp_path / "before", **before))
    with pytest.raises(ConfigError, match=f"run before {says}") as refused:
        with_vocabularies_of(run, data_of(tmp_path / "now", **now))
    assert refused.value.where == "run.fit.warm_start"
    assert "start cold" in refused.value.remedy
