"""Classes of one's own in a published model: found by name for Keras, and nothing else that a file may name."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainer.serving.verify_export import own_classes

CODE = """
import keras

LOADED = True


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class Half(keras.Regularizer):
    def __call__(self, x):
        return keras.ops.sum(x) / 2

    def get_config(self):
        return {}


class NoLayer:
    pass


def function(x):
    return x


def build():
    inputs = keras.Input((2,))
    return keras.Sequential([inputs, Twice(), keras.layers.Dense(1, kernel_regularizer=Half())])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "classes_of_mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("classes_of_mine", None)


def archive(path: Path, *parts: tuple[str, str]) -> Path:
    layers = [{"module": module, "class_name": name, "registered_name": name} for module, name in parts]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential", "config": layers}))
    return path


def test_a_model_of_own_layers_loads_in_a_process_that_has_not_imported_them(folder):
    script = (
        "import sys, keras, numpy as np\n"
        "from trainer.serving.verify_export import own_classes\n"
        "if sys.argv[1] == 'save':\n"
        "    import classes_of_mine\n"
        "    model = classes_of_mine.build()\n"
        "    model.save('m.keras')\n"
        "else:\n"
        "    model = keras.models.load_model('m.keras', custom_objects=own_classes('m.keras'))\n"
        "print(model(np.ones((1, 2), 'float32')).numpy().tolist())\n"
    )
    root = str(Path(__file__).parents[2])
    said = [
        subprocess.run(
            [sys.executable, "-c", script, step],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
            env={"PYTHONPATH": f"{root}:{folder}", "TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=120,
        ).stdout
        for step in ("save", "load")
    ]
    assert said[0] == said[1] != ""


def test_only_classes_that_a_layer_is_made_of_are_taken(folder):
    names = ["Twice", "Half", "NoLayer", "function", "missing"]
    path = archive(folder / "m.keras", *(("classes_of_mine", name) for name in names))
    assert sorted(own_classes(path)) == ["Half", "Twice"]


def test_a_module_of_the_standard_library_is_not_imported(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    assert own_classes(archive(folder / "m.keras", ("antigravity", "fly"), ("os", "system"))) == {}
    assert "antigravity" not in sys.modules


def test_a_class_is_found_within_a_wheel_on_the_path(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "shop-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("classes_of_a_wheel.py", CODE)
    monkeypatch.syspath_prepend(tmp_path / "shop-1.0-py3-none-any.whl")
    path = archive(tmp_path / "m.keras", ("classes_of_a_wheel", "Twice"), ("classes_of_a_wheel", "NoLayer"))
    assert sorted(own_classes(path)) == ["Twice"]


def test_a_module_that_is_not_there_is_named(folder):
    with pytest.raises(ImportError, match="nowhere_at_all"):
        own_classes(archive(folder / "m.keras", ("nowhere_at_all", "Layer")))


def test_a_module_that_does_not_define_the_class_is_not_imported(folder):
    """A stranger's file must not be able to run whatever module happens to be installed."""
    (folder / "harmful.py").write_text("raise SystemExit('imported')\n\n\ndef Twice():\n    pass\n")
    assert own_classes(archive(folder / "m.keras", ("harmful", "Twice"), ("harmful", "LOADED"))) == {}
    assert "harmful" not in sys.modules
