"""`make image` and its kin, without a builder: what they would run, and what they write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.chart.charts import ROOT

DIGEST = "sha256:" + "ab" * 32


def make(*words, cwd=ROOT, **environ):
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", *words], cwd=cwd, capture_output=True, text=True, check=False, env={**outer, **environ}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("localhost/trainer:dev", "dev"),
        ("localhost:5000/trainer", "latest"),
        ("localhost:5000/team/trainer:1.2", "1.2"),
        ("registry.example/trainer", "latest"),
        ("trainer:3", "3"),
    ],
)
def test_the_version_is_the_tag_whatever_port_the_registry_has(image, version):
    _, text = make("-n", "image", "BUILDER=podman", f"IMAGE={image}")
    assert re.findall(r"VERSION=(\S+)", text) == [version]
    assert f"--tag {image} ." in text


@pytest.mark.parametrize(
    ("builder", "flag"), [("docker", ""), ("podman", "--timestamp 7"), ("buildah", "--timestamp 7")]
)
def test_files_of_an_image_have_the_time_of_the_commit(builder, flag):
    _, text = make("-n", "image", f"BUILDER={builder}", "EPOCH=7")
    assert f"SOURCE_DATE_EPOCH=7 {builder} build {flag}" in text
    _, text = make("-n", "image", f"BUILDER={builder}")
    commit = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"SOURCE_DATE_EPOCH={commit.stdout.strip()} " in text


@pytest.mark.parametrize(("builder", "engine"), [("docker", "docker"), ("podman", "podman"), ("buildah", "podman")])
def test_the_bill_of_materials_is_copied_out_of_the_image(builder, engine):
    _, text = make("-n", "sbom", f"BUILDER={builder}", "IMAGE=r/t:1")
    assert f"{engine} create r/t:1" in text
    assert re.search(rf"{engine} cp \S+:/opt/kfit/kfit.cdx.json dist/", text)


@pytest.fixture
def checkout(tmp_path):
    """Dockerfile and Makefile, and a skopeo that tells what a registry would."""
    for name in ("Dockerfile", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    skopeo = tmp_path / "bin" / "skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text('#!/bin/sh\necho "$*" >asked\n[ -n "$ANSWER" ] && echo "$ANSWER"\n')
    skopeo.chmod(0o755)
    return tmp_path


def test_the_digest_of_the_base_is_renewed(checkout):
    code, text = make("base-digest", cwd=checkout, PATH=f"{checkout}/bin:{os.environ['PATH']}", ANSWER=DIGEST)
    base = "docker.io/library/python:3.11-slim-bookworm"
    assert (code, text) == (0, f"ARG BASE={base}@{DIGEST}\n")
    assert (checkout / "asked").read_text().split()[-1] == f"docker://{base}"
    before, after = (ROOT / "Dockerfile").read_text(), (checkout / "Dockerfile").read_text()
    assert after == re.sub(r"(?m)^(ARG BASE=.*@).*$", rf"\g<1>{DIGEST}", before)
    assert not (checkout / "Dockerfile.old").exists()


@pytest.mark.parametrize("answer", ["", "<html>", "sha256:12"])
def test_what_is_no_digest_changes_nothing(checkout, answer):
    code, text = make("base-digest", cwd=checkout, PATH=f"{checkout}/bin:{os.environ['PATH']}", ANSWER=answer)
    assert code != 0
    assert "no digest of docker.io/library/python:3.11-slim-bookworm" in text
    assert (checkout / "Dockerfile").read_text() == (ROOT / "Dockerfile").read_text()
