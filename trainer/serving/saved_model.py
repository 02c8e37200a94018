"""The model that `model.from` names: in a `.keras` file, or published by a run. TensorFlow only where it is loaded."""

from __future__ import annotations

import hashlib
from typing import Any

from trainer import storage
from trainer.config import SavedModel
from trainer.errors import ConfigError
from trainer.serving import published_model


def published_at(spec: SavedModel) -> str | None:
    """The `model/` folder of the run that published the model; None for a `.keras` file that no run did.

    Raises:
        ConfigError: There is no model, or `inputs` is given for a published one.
    """
    if spec.uri.endswith(".keras"):
        folder = spec.uri.rpartition("/")[0]
        published = spec.uri == storage.join(folder, published_model.KERAS_FILE)
        if not published or not storage.exists(storage.join(folder, published_model.MANIFEST)):
            if storage.exists(spec.uri):
                return None
            raise ConfigError(
                f"there is no file {spec.uri}",
                where="run.model.from",
                remedy="correct the path; model.save('….keras') writes such a file",
            )
    elif spec.uri.endswith((".h5", ".hdf5", ".pb", ".tf", ".pt", ".onnx")):
        raise ConfigError(
            f"{spec.uri} is no .keras file",
            where="run.model.from",
            remedy="load it where it was made, and save it anew: model.save('….keras')",
        )
    else:
        folder = published_model.resolve(spec.uri)
    if spec.inputs is not None:
        raise ConfigError(
            f"inputs: {spec.inputs} goes with a .keras file; what a published model takes is known",
            where="run.model.inputs",
            remedy="leave it out",
        )
    return folder


def content_digest(spec: SavedModel) -> str:
    """The SHA-256 of the model's file: under the same URI may be another model tomorrow."""
    folder = published_at(spec)
    if folder is not None:
        return str(published_model.read_manifest(folder)["files"][published_model.KERAS_FILE]["sha256"])
    return hashlib.sha256(storage.read(spec.uri)).hexdigest()


def load(spec: SavedModel) -> tuple[Any, str]:
    """Loads the model. Call it in the scope of the strategy.

    Returns:
        The Keras model, uncompiled, and what it takes: `packed`, `encoded` or `raw`.

    Raises:
        ConfigError: There is none.
        DataError: It was published, and is damaged.
        ModelCodeError: Keras does not load it: it holds code, or classes that are not installed.
    """
    folder = published_at(spec)
    if folder is not None:
        return _unwrapped(published_model.load(folder).trained), "packed"
    return published_model.load_keras(storage.read(spec.uri), spec.uri), spec.inputs or "raw"


def _unwrapped(trained: Any) -> Any:
    """The model that an earlier fine-tuning put behind inputs, so that each does not add a layer around the last."""
    import keras

    # Operations, not layers: in front of a model that takes columns stand some that are no layers.
    inner = [one for one in trained.operations if not isinstance(one, keras.layers.InputLayer)]
    return inner[0] if len(inner) == 1 and isinstance(inner[0], keras.Model) else trained
