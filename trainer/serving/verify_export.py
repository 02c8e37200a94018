"""Loads an exported model as a stranger would and says what it predicts; run as a script, in a process of its own.

It imports Keras and TensorFlow and nothing of kfit: what works here works where kfit is not installed.

Usage: python verify_export.py FOLDER ROWS.npz ROWS.json OUT.npz
"""

import ast
import importlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def own_classes(path: str | Path) -> dict[str, type]:
    """The classes of a `.keras` file that are none of Keras's, for `load_model(path, custom_objects=…)`.

    Keras finds a class where its module is imported and it is registered, or where it is given. So modules that the
    file names are imported, none of the standard library and none whose source does not define the class, and what has
    the name there is taken if it is a class of a layer or of what a layer is made of. Functions have to be registered:
    the file of a stranger could name any.

    Raises:
        ImportError: A module is not there, or does not import.
    """
    import keras

    kinds = (keras.layers.Layer, keras.Initializer, keras.Regularizer, keras.constraints.Constraint, keras.DTypePolicy)
    with zipfile.ZipFile(path) as archive:
        parts = list(_parts(json.loads(archive.read("config.json"))))
    classes: dict[str, type] = {}
    for part in parts:
        top = str(part["module"]).partition(".")[0]
        if top == "keras" or top in sys.stdlib_module_names:
            continue
        named = _defined(str(part["module"]), str(part["class_name"]))
        if isinstance(named, type) and issubclass(named, kinds):
            classes[part.get("registered_name") or named.__name__] = named
    return classes


def _defined(module: str, name: str) -> object:
    """What the name is in the module. A module that is not imported yet is read first: importing runs its code."""
    if module not in sys.modules:
        spec = importlib.util.find_spec(module)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
        # By the loader, which also reads from within a wheel on the path.
        source = getattr(spec.loader, "get_source", lambda _: None)(module) or ""
        if not any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.walk(ast.parse(source))):
            return None
    return getattr(importlib.import_module(module), name, None)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Everything in a model's configuration that is an object of a class."""
    if isinstance(config, dict) and config.get("module") and "class_name" in config:
        yield config
    children = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for child in children:
        yield from _parts(child)


def _side_by_side(answer: Any, labels: list[str]) -> np.ndarray:
    """Predictions [rows, outputs] of every label, one after another."""
    return np.concatenate([np.asarray(answer[label]) for label in labels], axis=1) if labels else np.asarray(answer)


def main(folder: str, numbers_path: str, texts_path: str, out_path: str) -> None:
    """Predicts raw rows with both forms of the model.

    Args:
        folder: Holds `model.keras` and `saved_model/`.
        numbers_path: Arrays by input name.
        texts_path: JSON: `texts` (nested lists of strings by input name), `packing` (name of the layer that packs raw
            columns, or null), `packing_inputs` (its inputs' names in order) and `labels` (where there are several).
        out_path: Written: `keras` and `saved_model`, each [rows, outputs], and `packed/<key>` of the packing layer.
    """
    import keras
    import tensorflow as tf

    document = json.loads(Path(texts_path).read_text())
    tensors = {name: tf.constant(np.array(values, object)) for name, values in document["texts"].items()}
    with np.load(numbers_path, allow_pickle=False) as archive:
        tensors |= {name: tf.constant(archive[name]) for name in archive.files}
    path = f"{folder}/model.keras"
    whole = keras.models.load_model(path, custom_objects=own_classes(path))
    signature = tf.saved_model.load(f"{folder}/saved_model").signatures["serving_default"]
    answers: dict[str, Any] = {
        "keras": _side_by_side(whole(tensors, training=False), document["labels"]),
        "saved_model": _side_by_side(signature(**tensors), document["labels"] or ["prediction"]),
    }
    if document["packing"] is not None:
        packed = whole.get_layer(document["packing"])([tensors[name] for name in document["packing_inputs"]])
        answers |= {f"packed/{key}": np.asarray(values) for key, values in packed.items()}
    np.savez(out_path, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
