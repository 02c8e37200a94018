"""A published model: where `MODEL` on a command line points, what its manifest says, and how to run it.

A model is published when `model/MANIFEST.json` is there: it is written last and names every file with its
size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainer import storage
from trainer.errors import ConfigError, DataError
from trainer.schema import CodeField, Column, LabelField, Layout, NumberField

FORMAT = 1


@dataclass(frozen=True)
class Published:
    """A model that can be asked.

    Attributes:
        uri: Its folder.
        run: The run it comes from.
        layout: Its columns and its label. Vocabularies are inside the model, not here.
        model: The Keras model: raw columns by name -> [rows, outputs].
    """

    uri: str
    run: str
    layout: Layout
    model: Any

    def predict(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Predictions for raw columns.

        Args:
            columns: Column name -> [rows] or [rows, size].

        Returns:
            [rows, outputs]: probabilities, or the value of a regression in the label's units; float32, float64
            where the label is too large for it (`LabelField.offset`).
        """
        import tensorflow as tf

        tensors = {name: tf.constant(values) for name, values in columns.items()}
        return np.asarray(self._function(tensors))

    @cached_property
    def _function(self) -> Any:
        import tensorflow as tf

        # One trace for every number of rows.
        return tf.function(lambda x: self.model(x, training=False), reduce_retracing=True)


def resolve(where: str) -> str:
    """The `model/` folder that a run's URI, a `model/` folder or an `output.uri` names.

    Raises:
        ConfigError: None of them.
    """
    for folder in (where, storage.join(where, "model")):
        if storage.exists(storage.join(folder, "MANIFEST.json")):
            return folder
    pointer = storage.join(where, "production.json")
    if storage.exists(pointer):
        run = json.loads(storage.read(pointer))["run"]
        return storage.join(where, "runs", run, "model")
    raise ConfigError(
        "no published model there",
        where=where,
        remedy="name a run's folder (<output.uri>/runs/<run id>), its model/, or an output.uri with a production.json",
    )


def load(where: str) -> Published:
    """Loads a published model and checks its files against the manifest.

    Raises:
        ConfigError: There is none.
        DataError: A file is not what the manifest says.
    """
    import keras

    uri = resolve(where)
    manifest = json.loads(storage.read(storage.join(uri, "MANIFEST.json")))
    entry = manifest["files"]["model.keras"]
    data = storage.read(storage.join(uri, "model.keras"))
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DataError("the file is not the one that was published", where=storage.join(uri, "model.keras"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(data)
        model = keras.models.load_model(path)
    return Published(uri, manifest["run"], layout_from(manifest["layout"]), model)


def manifest_of(run: str, folder: Path, layout: Layout) -> dict[str, Any]:
    """The manifest of a model folder on this machine."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        "format": FORMAT,
        "run": run,
        "layout": _layout_json(layout),
        "vocabularies": {f.column.name: list(f.vocabulary) for f in layout.codes if f.vocabulary},
        "files": files,
    }


def _layout_json(layout: Layout) -> dict[str, Any]:
    return {
        "features": [
            *({**asdict(f.column), "codes": False} for f in layout.numbers),
            *({**asdict(f.column), "codes": True} for f in layout.codes),
            *({**asdict(column), "codes": False} for column in layout.images),
        ],
        "label": {**asdict(layout.label), "classes": list(layout.label.classes)},
        "sample_weight": layout.sample_weight,
    }


def layout_from(document: Mapping[str, Any]) -> Layout:
    """A layout from a manifest, without vocabularies."""
    numbers: list[NumberField] = []
    codes: list[CodeField] = []
    images: list[Column] = []
    start = codes_start = 0
    for entry in document["features"]:
        known = {k: v for k, v in entry.items() if k not in ("codes", "shape")}
        column = Column(**known, shape=tuple(entry.get("shape", ())))
        if column.kind == "image":
            images.append(column)
        elif entry["codes"]:
            codes.append(CodeField(column, codes_start))
            codes_start += 0 if column.ragged else column.size
        else:
            numbers.append(NumberField(column, start))
            start += column.size
    label = document["label"]
    return Layout(
        tuple(numbers),
        tuple(codes),
        LabelField(**{**label, "classes": tuple(label["classes"])}),
        document["sample_weight"],
        tuple(images),
    )
