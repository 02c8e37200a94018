"""A published model: where `MODEL` on a command line points, what its manifest says, and how to run it.

A model is published when `model/MANIFEST.json` is there: it is written last and names every file with its
size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainer import storage
from trainer.errors import ConfigError, DataError, ModelCodeError
from trainer.run_id import check_run_id
from trainer.schema import CodeField, Column, LabelField, Layout, NumberField
from trainer.serving.verify_export import own_classes
from trainer.user_code import add_working_folder

FORMAT = 1
MANIFEST = "MANIFEST.json"
KERAS_FILE = "model.keras"


@dataclass(frozen=True)
class Published:
    """A model that can be asked.

    Attributes:
        uri: Its folder.
        run: The run it comes from.
        layout: Its columns and its label. Vocabularies are inside the model, not here.
        model: The Keras model: raw columns by input name -> [rows, outputs].
        inputs: Column name -> input name. Empty for a model of an older kfit, whose inputs are the columns' names.
    """

    uri: str
    run: str
    layout: Layout
    model: Any
    inputs: Mapping[str, str] = field(default_factory=dict)

    def predict(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Predictions for raw columns.

        Args:
            columns: Column name -> [rows] or [rows, size].

        Returns:
            [rows, outputs]: probabilities, or the value of a regression in the label's units; float32, float64
            where the label is too large for it (`LabelField.offset`). NaN in a row that has no answer. Several labels
            stand side by side.
        """
        return self.predict_with_logits(columns)[0]

    def predict_with_logits(self, columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Predictions as of `predict`, and what their probabilities were made of.

        Returns:
            The predictions, and of each label that ends in a sigmoid or softmax of its own the logits under it, by the
            label's name: float32 [rows, its outputs].
        """
        from trainer.serving.signature import named_tensors

        answer = self._function(named_tensors(columns, self.inputs))
        return np.asarray(answer["predictions"]), {name: np.asarray(one) for name, one in answer["logits"].items()}

    @property
    def trained(self) -> Any:
        """The trained model on packed inputs, inside the one on raw columns."""
        import keras

        from trainer.serving.signature import PACKING

        return next(one for one in self.model.layers if isinstance(one, keras.Model) and one.name != PACKING)

    @cached_property
    def _function(self) -> Any:
        import tensorflow as tf

        def answer(columns: Any) -> dict[str, Any]:
            answers = self.model(columns, training=False)
            labels = [label.name for label in self.layout.labels]
            parts = [answers[label] for label in labels] if isinstance(answers, dict) else [answers]
            widest = tf.float64 if any(part.dtype == tf.float64 for part in parts) else tf.float32
            logits = {label: logits_under(part) for label, part in zip(labels, parts, strict=True)}
            return {
                "predictions": tf.concat([tf.cast(part, widest) for part in parts], axis=1),
                "logits": {label: tensor for label, tensor in logits.items() if tensor is not None},
            }

        # One trace for every number of rows.
        return tf.function(answer, reduce_retracing=True)


def logits_under(predictions: Any) -> Any:
    """The input of the sigmoid or softmax whose output a tensor of a graph is; None where it is another's."""
    operation = predictions.op
    while operation.type == "Identity" or _gives_nan(operation):
        operation = operation.inputs[-1].op
    part = _part_of_all(operation)
    if part is not None:
        return logits_under(part)
    return operation.inputs[0] if operation.type in ("Sigmoid", "Softmax") else None


def _part_of_all(operation: Any) -> Any:
    """The tensor that a label's columns of all predictions, side by side, are; None where it is not one alone."""
    import tensorflow as tf

    if operation.type != "StridedSlice":
        return None
    joined = operation.inputs[0].op
    while joined.type == "Identity":
        joined = joined.inputs[0].op
    columns = tuple(int(tf.get_static_value(bound)[-1]) for bound in operation.inputs[1:3])
    start = 0
    for part in joined.inputs[:-1] if joined.type == "ConcatV2" else ():
        if columns == (start, start + part.shape[-1]):
            return part
        start += part.shape[-1]
    return None


def _gives_nan(operation: Any) -> bool:
    """Whether it is the choice between NaN and an answer that an export ends in, see `serving_model`."""
    import tensorflow as tf

    if operation.type != "SelectV2":
        return False
    chosen = tf.get_static_value(operation.inputs[1])
    return chosen is not None and bool(np.isnan(chosen).all())


def resolve(where: str) -> str:
    """The `model/` folder that a run's URI, a `model/` folder or an `output.uri` names.

    Raises:
        ConfigError: None of them.
        DataError: production.json is damaged.
    """
    for folder in (where, storage.join(where, "model")):
        if storage.exists(storage.join(folder, MANIFEST)):
            return folder
    pointer = storage.join(where, "production.json")
    if storage.exists(pointer):
        return storage.join(where, "runs", _run_in(pointer), "model")
    raise ConfigError(
        "no published model there",
        where=where,
        remedy="name a run's folder (<output.uri>/runs/<run id>), its model/, or an output.uri with a production.json",
    )


def _run_in(pointer: str) -> str:
    try:
        return check_run_id(json.loads(storage.read(pointer))["run"], pointer)
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise DataError(
            "production.json is damaged: it names no run",
            where=pointer,
            remedy="promote a run again with kfit promote, or name a run's folder",
        ) from error


def load(where: str) -> Published:
    """Loads a published model and checks its files against the manifest.

    Args:
        where: A run's URI, its `model/`, or an `output.uri`.

    Raises:
        ConfigError: There is none.
        DataError: The manifest is damaged, or a file is not what it says.
        ModelCodeError: Keras does not load it: it holds code, or classes that are not installed.
    """
    uri = resolve(where)
    manifest = read_manifest(uri)
    data = storage.read(storage.join(uri, KERAS_FILE))
    if hashlib.sha256(data).hexdigest() != manifest["files"][KERAS_FILE]["sha256"]:
        raise DataError("the file is not the one that was published", where=storage.join(uri, KERAS_FILE))
    model = load_keras(data, storage.join(uri, KERAS_FILE))
    return Published(uri, manifest["run"], layout_from(manifest["layout"]), model, manifest.get("inputs", {}))


def read_manifest(uri: str) -> dict[str, Any]:
    """The manifest of a `model/` folder.

    Raises:
        DataError: It is not one.
        NotFound: None there.
    """
    where = storage.join(uri, MANIFEST)
    try:
        manifest = json.loads(storage.read(where))
        layout_from(manifest["layout"])
        if manifest["run"] and manifest["files"][KERAS_FILE]["sha256"]:
            return dict(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the model's manifest is damaged ({type(error).__name__}: {error})",
            where=where,
            remedy="restore the file from a copy, or publish the model again by a new run",
        ) from error
    raise DataError("the model's manifest names no run or no model", where=where, remedy="publish it by a new run")


def load_keras(data: bytes, uri: str) -> Any:
    """The model in the bytes of a `.keras` file from a URI, uncompiled; no code of the file runs.

    Raises:
        ModelCodeError: Keras does not load it: it holds code, or classes that are not installed.
    """
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, KERAS_FILE)
        path.write_bytes(data)
        try:
            add_working_folder()  # where a class of one's own may be
            return keras.models.load_model(path, custom_objects=own_classes(path), compile=False, safe_mode=True)
        except Exception as error:  # the model's own layers run here, and raise what they like
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            remedy = "build the model of stock Keras layers, or install the package that its own layers are in"
            raise ModelCodeError(
                f"Keras does not load the model: {type(error).__name__}: {reason}",
                where=uri,
                remedy=remedy
                if zipfile.is_zipfile(path)
                else "give a whole file that model.save('….keras') has written",
            ) from error


def manifest_of(run: str, folder: Path, layout: Layout, inputs: Mapping[str, str]) -> dict[str, Any]:
    """The manifest of a model's files in a folder on this machine; `inputs`: column name -> input name."""
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
        "inputs": dict(inputs),
        "offsets": {f.column.name: f.offset for f in layout.numbers if f.offset},
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
        "label": asdict(layout.label),
        **({"further_labels": [asdict(label) for label in layout.further_labels]} if layout.further_labels else {}),
        "sample_weight": layout.sample_weight,
    }


def layout_from(document: Mapping[str, Any]) -> Layout:
    """A layout from a manifest, without vocabularies."""
    numbers: list[NumberField] = []
    codes: list[CodeField] = []
    images: list[Column] = []
    start = codes_start = 0
    for entry in document["features"]:
        known = {k: v for k, v in entry.items() if k not in ("codes", "shape", "parts")}
        column = Column(**known, shape=tuple(entry.get("shape", ())), parts=tuple(entry.get("parts", ())))
        if column.kind == "image":
            images.append(column)
        elif entry["codes"]:
            codes.append(CodeField(column, codes_start))
            codes_start += 0 if column.ragged else column.size
        else:
            numbers.append(NumberField(column, start))
            start += column.size
    labels = [
        LabelField(**{**label, **{key: tuple(label.get(key, ())) for key in ("classes", "quantiles")}})
        for label in (document["label"], *document.get("further_labels", ()))
    ]
    first, *further = labels
    return Layout(tuple(numbers), tuple(codes), first, document["sample_weight"], tuple(images), tuple(further))
