"""Loads an exported model as a stranger would and says what it predicts; run as a script, in a process of its own.

It imports Keras and TensorFlow and nothing of kfit: what works here works where kfit is not installed.

Usage: python verify_export.py FOLDER ROWS.npz OUT.npz
"""

import sys

import numpy as np


def main(folder: str, rows_path: str, out_path: str) -> None:
    """Predicts the rows with both forms of the model and writes `keras` and `saved_model`, each [rows, outputs]."""
    import keras
    import tensorflow as tf

    with np.load(rows_path, allow_pickle=False) as archive:
        rows = {name: archive[name] for name in archive.files}
    tensors = {
        name: tf.constant(values.astype(object) if values.dtype.kind in "US" else values)
        for name, values in rows.items()
    }
    whole = keras.models.load_model(f"{folder}/model.keras")
    signature = tf.saved_model.load(f"{folder}/saved_model").signatures["serving_default"]
    served = next(iter(signature(**tensors).values()))
    np.savez(out_path, keras=np.asarray(whole(tensors, training=False)), saved_model=np.asarray(served))


if __name__ == "__main__":
    main(*sys.argv[1:])
