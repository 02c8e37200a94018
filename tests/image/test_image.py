"""The image that `make image` built, run as a pod runs it. Skipped where no engine or no image is at hand."""

from __future__ import annotations

import json

import pytest

from tests.image import containers


@pytest.fixture(scope="module", autouse=True)
def _image():
    if reason := containers.why_not():
        pytest.skip(f"{containers.IMAGE}: {reason}")


def python(code: str) -> str:
    done = containers.run("-c", code, entrypoint="python")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_its_command_is_the_trainer():
    done = containers.run("--version")
    assert (done.returncode, done.stdout[:16]) == (0, "trainer, version")
    assert "Usage: trainer" in containers.run().stdout


def test_it_runs_as_a_user_without_rights():
    assert containers.inspect("{{.Config.User}}") == "10001:10001"
    assert python("import os; print(os.getuid(), os.getgid(), os.access('/opt/kfit', os.W_OK))") == "10001 10001 False"


def test_a_configuration_that_is_wrong_ends_with_its_exit_code():
    done = containers.run("fit", "/nowhere.yaml")
    assert done.returncode == 64
    assert "no such job file" in done.stderr


def test_tensorflow_starts_on_a_read_only_root():
    assert python(
        "from trainer.tensorflow_import import import_tensorflow as i; i(); "
        "import keras; print(keras.backend.backend())"
    )


def test_all_byte_code_is_there_and_is_not_compared_with_its_source():
    code = """
import pathlib, importlib.util
root = pathlib.Path("/opt/kfit/lib/python3.11/site-packages")
files = [p for p in root.rglob("*.py") if "tensorflow" not in p.parts or p.parts[-2] == "tensorflow"]
caches = [pathlib.Path(importlib.util.cache_from_source(str(p))) for p in files]
missing = [str(f) for f, c in zip(files, caches) if not c.exists()]
# PEP 552: bit 0 says the hash decides, bit 1 unset says it is never checked
checked = [str(c) for c in caches if c.exists() and c.read_bytes()[4:8] != b"\\x01\\0\\0\\0"]
print(len(files) > 1000, missing[:5], checked[:5])
"""
    assert python(code) == "True [] []"


def test_nothing_to_build_with_is_left():
    code = """
import os, shutil
left = [shutil.which(n) for n in ("gcc", "cc", "clang", "g++", "ld", "make")]
site = "/opt/kfit/lib/python3.11/site-packages"
static = [os.path.join(d, f) for d, _, fs in os.walk("/opt") for f in fs if f.endswith(".a")]
folders = [f for f in ("clang", "tensorflow/include", "pip") if os.path.exists(f"{site}/{f}")]
caches = [f for f in ("/root/.cache", "/build") if os.path.exists(f)]
print([x for x in left if x], static, folders, caches)
"""
    assert python(code) == "[] [] [] []"


def test_its_labels_say_what_it_is():
    labels = json.loads(containers.inspect("{{json .Config.Labels}}"))
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "kfit trainer"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert {f"{prefix}{n}" for n in ("version", "revision", "source", "description", "base.name")} <= set(labels)
