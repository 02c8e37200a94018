"""Publication of a model: exported, proved in a clean process on raw rows, uploaded, manifest last."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.errors import ModelCodeError
from trainer.feed.statistics.prepare import Prepared
from trainer.model.objective.label_scale import all_predicted
from trainer.schema import Layout
from trainer.serving import published_model
from trainer.serving.proof import proof_rows, prove
from trainer.serving.signature import ServingModel, export, serving_model


def publish(folder: RunFolder, prepared: Prepared, trained: Any, check: Callable[[], None]) -> None:
    """Exports the trained model and publishes it once it has proved itself.

    A model that is published already (the process was stopped between this and `result.json`) stays as it
    is: its bytes are never replaced, so a reader that has its manifest finds the files it names.

    Args:
        folder: The run's folder; the model goes to `model/`.
        prepared: The data's description; the export is proved on rows of it.
        trained: The fitted Keras model on packed inputs.
        check: Raises where this process may not write any more; asked before each file.

    Raises:
        ModelCodeError: The model cannot be exported, or the export does not predict what the trained model does.
        Superseded: Another process has taken over the run.
        StorageError: The store is out of reach or refuses.
    """
    target = folder.path("model")
    if storage.exists(storage.join(target, published_model.MANIFEST)):
        return
    rows = proof_rows(prepared)
    answers = trained({key: tf.constant(values) for key, values in rows.packed.items()}, training=False)
    expected = np.asarray(all_predicted(prepared.layout.targets, answers))
    with tempfile.TemporaryDirectory(prefix="kfit-export-") as temporary:
        local = Path(temporary, "model")
        serving = _export(trained, local, prepared.layout)
        prove(local, serving, rows, prepared.layout, expected)
        manifest = published_model.manifest_of(folder.run_id, local, prepared.layout, serving.inputs)
        # TensorFlow Serving takes a folder for whole once saved_model.pb is there.
        for name in sorted(manifest["files"], key=lambda name: (name.endswith("/saved_model.pb"), name)):
            _upload(local / name, storage.join(target, name), check)
    check()
    # Create-only: of two processes of one run, the second finds the first's and leaves it.
    with contextlib.suppress(storage.AlreadyExists):
        storage.write(storage.join(target, published_model.MANIFEST), to_json(manifest), create_only=True)


def _export(trained: Any, local: Path, layout: Layout) -> ServingModel:
    try:
        serving = serving_model(trained, layout)
        export(serving, local, layout)
    except Exception as error:  # saving runs the model's own code, which raises what it likes
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ModelCodeError(
            f"the model cannot be exported: {type(error).__name__}: {reason}",
            where="model/",
            remedy="build the model of stock Keras layers, or give its own layers a get_config",
        ) from error
    return serving


def _upload(source: Path, uri: str, check: Callable[[], None]) -> None:
    check()
    try:
        # Create-only: the upload of a process that was cut off in the midst must not land on a published file.
        storage.write_file(uri, source, create_only=True)
    except storage.AlreadyExists:  # left by a process that was killed before its manifest
        check()
        storage.write_file(uri, source)
