"""The image that `make image` built, run as a pod runs it. Skipped where no engine or no image is at hand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from benchmarks.image import make_data
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
files = [os.path.join(d, f) for d, _, fs in os.walk("/opt") if ".dist-info" not in d for f in fs]
to_compile = [f for f in files if f.endswith((".a", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".pxd", ".pyx"))]
folders = [f for f in ("clang", "tensorflow/include", "pip") if os.path.exists(f"{site}/{f}")]
caches = [f for f in ("/root/.cache", "/build") if os.path.exists(f)]
print([x for x in left if x], to_compile[:5], folders, caches)
"""
    assert python(code) == "[] [] [] []"


@pytest.mark.parametrize(("devices", "code"), [("auto", 0), ("gpu", 64)])
def test_it_trains_and_not_on_other_devices_than_those_asked_for(devices, code):
    """One epoch from Parquet to a published model, on the CPU whichever image it is; no machine of ours has a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        mounts = (f"--volume={folder}/data:/data:ro", f"--volume={folder}/job.yaml:/etc/kfit/job.yaml:ro")
        environment = ("--env=HOME=/tmp", f"--env=KFIT_DEVICES={devices}")
        done = containers.run("fit", "/etc/kfit/job.yaml", flags=(*mounts, *environment))
    assert done.returncode == code, done.stderr
    assert ("no GPU found" in done.stderr) == (code == 64)


def test_cuda_is_whole_or_not_there():
    """Its libraries load without a driver, which the node brings; the image for CPUs has no code for GPUs."""
    code = """
import ctypes, glob, json
import tensorflow as tf
libraries = glob.glob("/opt/kfit/lib/python3.11/site-packages/nvidia/*/lib/lib*.so*")
wanted = ("cudart", "cublas", "cublasLt", "cudnn", "cufft", "cusolver", "cusparse", "nccl")
found = {n: [f for f in libraries if f"/lib{n}.so." in f] for n in wanted}
devices = sorted({d.device_type for d in tf.config.list_physical_devices()})
cuda = tf.sysconfig.get_build_info()["is_cuda_build"]
for files in found.values():
    for file in files:
        ctypes.CDLL(file)
print(json.dumps([cuda, sorted(n for n in wanted if found[n]) == sorted(wanted), bool(libraries), devices]))
"""
    assert json.loads(python(code)) in ([True, True, True, ["CPU"]], [False, False, False, ["CPU"]])


def test_it_has_the_package_of_every_object_store():
    assert python("import s3fs, gcsfs, adlfs; print('all')") == "all"


def test_its_bill_of_materials_names_every_package():
    code = """
import importlib.metadata, json, re
bill = json.load(open("/opt/kfit/kfit.cdx.json"))
named = {(re.sub(r"[-_.]+", "-", c["name"]).lower(), c["version"]) for c in bill["components"]}
found = {(re.sub(r"[-_.]+", "-", d.name).lower(), d.version) for d in importlib.metadata.distributions()}
print(bill["bomFormat"], len(found) > 50, ("kfit", importlib.metadata.version("kfit")) in named, sorted(named ^ found))
"""
    assert python(code) == "CycloneDX True True []"


def test_its_labels_say_what_it_is():
    labels = json.loads(containers.inspect("{{json .Config.Labels}}"))
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "kfit trainer"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}base.name"].startswith("docker.io/library/python:3.11-slim-bookworm")
    assert {f"{prefix}{n}" for n in ("version", "revision", "source", "description", "base.name")} <= set(labels)
