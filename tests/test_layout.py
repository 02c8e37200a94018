"""The shape of the repository, where no linter holds it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "module",
    [
        "trainer",
        "trainer.config.loader",
        "trainer.storage",
        "trainer.cli",
        "trainer.progress.views",
        "trainer.report.page",
        "k8s.cli",
        "k8s.commands.author.init",
        "k8s.chart.values",
    ],
)
def test_it_is_imported_without_tensorflow(module):
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'kubernetes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_the_lock_files_name_no_registry_and_hash_everything():
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text()
        assert "://" not in text
        pins = re.findall(r"^[A-Za-z0-9][^\n]*==[^\n]*", text, flags=re.MULTILINE)
        assert pins
        assert all(pin.rstrip().endswith("\\") for pin in pins)


def test_ci_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
