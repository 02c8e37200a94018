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


FUNCTION_LINES, MODULE_LINES, FOLDER_MODULES = 60, 350, 14
FOLDERS = ("trainer", "k8s", "benchmarks", "examples", "tests")
SOURCES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
    p for name in ("trainer", "k8s", "benchmarks", "examples", "tests") for p in (ROOT / name).rglob("*.py")
)


def test_no_function_is_longer_than_sixty_lines():
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions) and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_a_module_over_350_lines_gives_its_reason():
    """The docstring has a sentence that begins with `Long because`."""
    long = [
        f"{path.relative_to(ROOT)} has {len(text.splitlines())} lines and no `Long because` in its docstring"
        for path in SOURCES
        if len((text := path.read_text()).splitlines()) > MODULE_LINES
        and "Long because" not in (ast.get_docstring(ast.parse(text)) or "")
    ]
    assert not long, "\n".join(long)


def test_no_folder_has_more_than_14_modules():
    counts = Counter(path.parent.relative_to(ROOT) for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > FOLDER_MODULES} == {}
