"""The model that `model.from` names: in a `.keras` file, or published by a run. TensorFlow only where it is loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from trainer import storage
from trainer.config import SavedModel
from trainer.errors import ConfigError
from trainer.serving import published_model


@dataclass(frozen=True)
class Loaded:
    """A saved model.

    Attributes:
        model: The Keras model, uncompiled.
        inputs: What it takes: `packed`, `encoded` or `raw`.
    """

    model: Any
    inputs: str


def published_at(wanted: SavedModel) -> str | None:
    """The `model/` folder of the run that published the model; None for a `.keras` file that no run did.

    Raises:
        ConfigError: There is no model, or `inputs` is given for a published one.
    """
    if wanted.uri.endswith(".keras"):
        folder = wanted.uri.rpartition("/")[0]
        published = wanted.uri == storage.join(folder, published_model.KERAS_FILE)
        if not published or not storage.exists(storage.join(folder, published_model.MANIFEST)):
            if storage.exists(wanted.uri):
                return None
            raise ConfigError(
                f"there is no file {wanted.uri}",
                where="run.model.from",
                remedy="correct the path; model.save('….keras') writes such a file",
            )
    elif wanted.uri.endswith((".h5", ".hdf5", ".pb", ".tf", ".pt", ".onnx")):
        raise ConfigError(
            f"{wanted.uri} is no .keras file",
            where="run.model.from",
            remedy="load it where it was made, and save it anew: model.save('….keras')",
        )
    else:
        folder = published_model.resolve(wanted.uri)
    if wanted.inputs is not None:
        raise ConfigError(
            f"inputs: {wanted.inputs} goes with a .keras file; what a published model takes is known",
            where="run.model.inputs",
            remedy="leave it out",
        )
    return folder


def content_digest(wanted: SavedModel) -> str:
    """The SHA-256 of the model's file: under the same URI may be another model tomorrow."""
    folder = published_at(wanted)
    if folder is not None:
        return str(published_model.read_manifest(folder)["files"][published_model.KERAS_FILE]["sha256"])
    return hashlib.sha256(storage.read(wanted.uri)).hexdigest()


def load(wanted: SavedModel) -> Loaded:
    """Loads the model. Call it in the scope of the strategy.

    Raises:
        ConfigError: There is none.
        DataError: It was published, and is damaged.
        ModelCodeError: Keras does not load it: it holds code, or classes that are not installed.
    """
    folder = published_at(wanted)
    if folder is not None:
        return Loaded(_unwrapped(published_model.load(folder).trained), "packed")
    return Loaded(published_model.load_keras(storage.read(wanted.uri), wanted.uri), wanted.inputs or "raw")


def _unwrapped(trained: Any) -> Any:
    """The model that an earlier fine-tuning put behind inputs, so that each does not add a layer around the last."""
    import keras

    # Operations, not layers: in front of a model that takes columns stand some that are no layers.
    inner = [one for one in trained.operations if not isinstance(one, keras.layers.InputLayer)]
    return inner[0] if len(inner) == 1 and isinstance(inner[0], keras.Model) else trained
