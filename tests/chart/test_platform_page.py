"""docs/platform.md: the values in its tables are all of the chart's, and what shows them exists."""

from __future__ import annotations

import ast
import re

from k8s.chart.value_models import Resources
from k8s.chart.values import JobFile
from tests.chart.charts import ROOT

PAGE = (ROOT / "docs" / "platform.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| wanted"))
]


def functions(folder):
    """Names of the tests in a folder, and of those outside tests/cluster for the whole tree."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "tests" / folder).rglob("test_*.py"))
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test_and_cases_that_exist():
    tests, cases = functions("chart") | functions("k8s") | functions("monitoring"), functions("cluster")
    assert len(ROWS) > 40
    for wanted, _, test, case in ([*row, ""][:4] for row in ROWS):
        assert test, wanted
        assert set(test.split(", ")) <= tests, (wanted, test)
        assert set(filter(None, case.split(", "))) <= cases, wanted


def test_every_value_of_the_chart_is_in_a_table():
    named = {value for row in ROWS for value in re.findall(r"`([^`]+)`", row[1])}
    known = {name: field.annotation for name, field in JobFile.model_fields.items()}
    for value in named:
        model = known[value.partition(".")[0]]
        inner = value.partition(".")[2]
        assert not inner or inner in model.model_fields, value
    assert set(known) - {value.partition(".")[0] for value in named} == set()
    assert {f"resources.{name}" for name in Resources.model_fields} - named == set()
