"""Loads an exported model as a stranger would and says what it predicts; run as a script, in a process of its own.

It imports Keras and TensorFlow and nothing of kfit: what works here works where kfit is not installed.

Usage: python verify_export.py FOLDER ROWS.npz ROWS.json OUT.npz
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: str, numbers_path: str, texts_path: str, out_path: str) -> None:
    """Predicts raw rows with both forms of the model.

    Args:
        folder: Holds `model.keras` and `saved_model/`.
        numbers_path: Arrays by input name.
        texts_path: JSON: `texts` (nested lists of strings by input name), `packing` (name of the layer that packs raw
            columns, or null) and `packing_inputs` (its inputs' names in order).
        out_path: Written: `keras` and `saved_model`, each [rows, outputs], and `packed/<key>` of the packing layer.
    """
    import keras
    import tensorflow as tf

    document = json.loads(Path(texts_path).read_text())
    tensors = {name: tf.constant(np.array(values, object)) for name, values in document["texts"].items()}
    with np.load(numbers_path, allow_pickle=False) as archive:
        tensors |= {name: tf.constant(archive[name]) for name in archive.files}
    whole = keras.models.load_model(f"{folder}/model.keras")
    signature = tf.saved_model.load(f"{folder}/saved_model").signatures["serving_default"]
    answers: dict[str, Any] = {
        "keras": np.asarray(whole(tensors, training=False)),
        "saved_model": np.asarray(next(iter(signature(**tensors).values()))),
    }
    if document["packing"] is not None:
        packed = whole.get_layer(document["packing"])([tensors[name] for name in document["packing_inputs"]])
        answers |= {f"packed/{key}": np.asarray(values) for key, values in packed.items()}
    np.savez(out_path, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
