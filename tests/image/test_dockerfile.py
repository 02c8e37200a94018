"""What the Dockerfiles say; what the image is, is in test_image.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart.charts import ROOT, render, values

DOCKERFILES = [ROOT / "Dockerfile", ROOT / "examples" / "custom-model" / "Dockerfile"]
HADOLINT = Path(sys.executable).parent / "hadolint"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.parent.name)
def test_hadolint_finds_nothing(path):
    done = subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_context_is_what_the_dockerfile_copies():
    """What is not copied is not sent to the builder, and no file of a machine gets into a layer."""
    text = (ROOT / "Dockerfile").read_text()
    copied = {
        word.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE)
        for word in line.split()[:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    for name in copied:
        assert (ROOT / name).exists()


def test_the_base_is_named_once_and_by_digest():
    text = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG BASE=(.*)$", text, flags=re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)) == {"${BASE}", "packages"}


def test_every_package_is_pinned_by_hash():
    text = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"pip [^\n]*install [^\n]*", text)
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line
    assert (ROOT / "requirements" / "build.lock").is_file()


def pins(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ]+)", text, flags=re.MULTILINE))


def test_the_gpu_image_has_the_same_packages():
    """TensorFlow too: by another name where it has no CUDA."""
    cpu, gpu = pins("cpu"), pins("gpu")
    assert cpu.pop("tensorflow-cpu") == cpu["tensorflow"]
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert any(name.startswith("nvidia-cudnn") for name in gpu)
    assert not any(name.startswith("nvidia") for name in cpu)


@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_each_image_reads_every_object_store(lock):
    assert {"s3fs", "gcsfs", "adlfs"} <= set(pins(lock))


def test_no_image_takes_gpus_that_its_pod_did_not_ask_for():
    """Where NVIDIA's runtime heeds the variable, `all` gives every GPU of a node to any pod of the image."""
    text = (ROOT / "Dockerfile").read_text()
    assert "NVIDIA_VISIBLE_DEVICES" not in text
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in text


def test_chart_and_image_agree_on_the_user():
    (user,) = re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert render(values()).pod["securityContext"]["runAsUser"] == int(user)


def test_no_registry_nor_certificate_of_a_machine_is_written_down():
    for path in DOCKERFILES:
        text = path.read_text()
        assert "index-url" not in text
        assert "PIP_INDEX_URL" not in text
