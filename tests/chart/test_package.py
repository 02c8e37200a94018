"""The chart as a whole: lint, package, and its place in the wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

from tests.chart.charts import CHART, JOB, ROOT, helm, values


@pytest.mark.parametrize("given", [{}, JOB, values(nodes=2, schedule={"cron": "@daily"})], ids=["bare", "job", "cron"])
def test_lint_finds_nothing(tmp_path, given):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(given))
    done = helm("lint", "--strict", str(CHART), "-f", str(tmp_path / "job.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout
    assert "[WARNING]" not in done.stdout


def test_helm_packages_it_and_renders_the_package_to_the_same_bytes(tmp_path):
    done = helm("package", str(CHART), "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("training-job-*.tgz")
    with tarfile.open(package) as archive:
        names = {n.removeprefix("training-job/") for n in archive.getnames()}
    assert {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "templates/NOTES.txt"} <= names
    words = ("-f", "-", "--kube-version", "1.34")
    texts = {helm("template", "x", str(c), *words, stdin=yaml.safe_dump(JOB)).stdout for c in (CHART, package)}
    assert len(texts) == 1
    assert "kind: Job" in texts.pop()


def test_the_wheel_has_the_chart(tmp_path):
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("kfit-*.whl")
    inside = "k8s/charts/training-job/"
    with zipfile.ZipFile(wheel) as archive:
        packed = {n.removeprefix(inside): archive.read(n) for n in archive.namelist() if n.startswith(inside)}
    files = {str(p.relative_to(CHART)): p.read_bytes() for p in CHART.rglob("*") if p.is_file()}
    assert packed == files
