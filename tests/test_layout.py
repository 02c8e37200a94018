"""The shape of the repository, where no linter holds it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
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


def modules(*packages: str) -> list[Path]:
    """Python files of packages that git tracks."""
    patterns = [f"{package}/*.py" for package in packages]
    done = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True, cwd=ROOT)
    paths = [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]
    assert paths, "git lists no Python file: run the tests in a checkout"
    return paths


def test_no_folder_holds_more_than_14_modules():
    counts = Counter(
        path.parent for path in modules("trainer", "k8s", "benchmarks", "tests") if path.name != "__init__.py"
    )
    assert {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > 14} == {}


def test_a_module_of_more_than_350_lines_says_why_it_is_long():
    long = {}
    for path in modules("trainer", "k8s", "benchmarks", "examples", "tests"):
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > 350 and "Long because " not in (ast.get_docstring(ast.parse(text)) or ""):
            long[str(path.relative_to(ROOT))] = lines
    assert long == {}


def test_no_function_has_more_than_60_lines():
    long = {}
    for path in modules("trainer", "k8s", "benchmarks", "examples", "tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 60:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}
