"""Publication of a model: exported, proved in a clean process on golden raw rows, uploaded, manifest last."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.errors import ModelCodeError
from trainer.feed.packing.raw_columns import raw_batches
from trainer.feed.statistics.prepare import Prepared
from trainer.model.features import Features
from trainer.schema import LabelField
from trainer.serving import published_model
from trainer.serving.signature import export, serving_model

GOLDEN_ROWS = 64
#: Largest difference between this process and the clean one, of a probability or in the scale a regression is learnt
#: in. Both run the same float32 graph, but XLA or another instruction set may order a sum otherwise.
TOLERANCE = 1e-4
#: And what float32 rounds off, as a share of the prediction.
_ROUNDING = 1e-6


def publish(folder: RunFolder, prepared: Prepared, features: Features, trained: Any, check: Callable[[], None]) -> None:
    """Exports the trained model and publishes it once it has proved itself.

    A model that is published already (the process was stopped between this and `result.json`) stays as it
    is: its bytes are never replaced, so a reader that has its manifest finds the files it names.

    Args:
        folder: The run's folder; the model goes to `model/`.
        prepared: The data's description; golden rows come from its validation shards, else its training.
        features: What the model was built with.
        trained: The fitted Keras model on packed inputs.
        check: Raises where this process may not write any more; asked before each file.

    Raises:
        ModelCodeError: The export does not predict what the model in this process does.
        Superseded: Another process has taken over the run.
        StorageError: The store is out of reach or refuses.
    """
    target = folder.path("model")
    if storage.exists(storage.join(target, "MANIFEST.json")):
        return
    model = serving_model(features, trained, prepared.layout)
    rows = golden_rows(prepared)
    expected = np.asarray(model(_tensors(rows), training=False))
    with tempfile.TemporaryDirectory(prefix="kfit-export-") as temporary:
        local = Path(temporary, "model")
        export(model, local, prepared.layout)
        _prove(local, rows, expected, Path(temporary), tolerance(prepared.layout.label, expected))
        manifest = published_model.manifest_of(folder.run_id, local, prepared.layout)
        for name in manifest["files"]:
            _upload(local / name, storage.join(target, name), check)
    check()
    # Create-only: of two processes of one run, the second finds the first's and leaves it.
    with contextlib.suppress(storage.AlreadyExists):
        storage.write(storage.join(target, "MANIFEST.json"), to_json(manifest), create_only=True)


def _upload(source: Path, uri: str, check: Callable[[], None]) -> None:
    check()
    try:
        # Create-only: the upload of a process that was cut off in the midst must not land on a published file.
        storage.write_file(uri, source, create_only=True)
    except storage.AlreadyExists:  # left by a process that was killed before its manifest
        check()
        storage.write_file(uri, source)


def golden_rows(prepared: Prepared) -> dict[str, np.ndarray]:
    """The first raw rows of the set: column name -> [rows] or [rows, size]."""
    uris = [shard.uri for shard in prepared.shards if shard.rows]
    _, columns = next(iter(islice(raw_batches(prepared.layout, uris, rows=GOLDEN_ROWS), 1)))
    return {name: values[:GOLDEN_ROWS] for name, values in columns.items()}


def _tensors(rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.constant(values) for name, values in rows.items()}


def tolerance(label: LabelField, expected: np.ndarray) -> np.ndarray:
    """How far each prediction of the clean process may be from the expected one: [rows, outputs], in their units."""
    per_unit = label.deviation * (1.0 + np.abs(expected)) if label.transform == "log1p" else label.deviation
    return np.asarray(TOLERANCE * per_unit + _ROUNDING * np.abs(expected))


def _prove(
    local: Path, rows: Mapping[str, np.ndarray], expected: np.ndarray, scratch: Path, allowed: np.ndarray
) -> None:
    rows_path, out_path = scratch / "rows.npz", scratch / "out.npz"
    # Strings as fixed-width text: .npz without pickle holds no objects.
    flat: dict[str, Any] = {n: v.astype(str) if v.dtype == object else v for n, v in rows.items()}
    np.savez(rows_path, **flat)
    script = Path(__file__).with_name("verify_export.py")
    # -P: the script's own folder is not on the path, so nothing of kfit can shadow or help.
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(local), str(rows_path), str(out_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelCodeError(
            f"the exported model cannot be loaded in a clean process: {last}",
            where="model/",
            remedy="build the model of stock Keras layers, or register custom ones in a package the image has",
        )
    with np.load(out_path) as got:
        for form in ("keras", "saved_model"):
            difference = float(np.max(np.abs(got[form] - expected), initial=0.0))
            if not (np.abs(got[form] - expected) <= allowed).all():
                raise ModelCodeError(
                    f"the exported {form} predicts otherwise than the trained model, by up to {difference:.3g}",
                    where="model/",
                    remedy="look for a layer whose state or behaviour is not saved with the model",
                )
