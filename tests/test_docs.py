"""What is written beside the code says what the code says."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import jsonschema
import keras
import pytest
import yaml

from tests import markdown
from trainer.config import Config, reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
JOBS = sorted((ROOT / "examples").rglob("job.yaml"))


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_generated_page_is_fresh(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.pages()[name], "run `make docs`"


def test_a_stale_page_fails_the_check(tmp_path, capsys):
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "exit-codes.md").write_text("old")
    assert reference.main([str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/exit-codes.md is stale; run `make docs`\n"


def test_every_argument_of_fit_and_compile_names_its_tests():
    page = (ROOT / "docs/model-fit.md").read_text()
    rows = re.findall(r"^\| (`.*) \|.*\|.*\| (.*) \|$", page.partition("\n## `compile`\n")[2], flags=re.MULTILINE)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {argument: re.findall(r"`(\w+)`", cell) for argument, cell in rows}
    assert len(named) >= 20
    assert [argument for argument, names in named.items() if not names] == []
    assert [name for names in named.values() for name in names if f"def {name}(" not in tests] == []
    arguments = set(re.findall(r"`(\w+)`", " ".join(named)))
    known = {name for method in (keras.Model.compile, keras.Model.fit) for name in inspect.signature(method).parameters}
    assert known - arguments == {"self"}


def test_every_option_says_what_it_means():
    empty = [
        f"{model.__name__}.{name}"
        for _, model in reference.parts("run", Config)
        for name, field in model.model_fields.items()
        if not field.description and reference._type(field.annotation)[:1] not in ("[", "`")
    ]
    assert empty == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        goal = (page.parent / path) if path else page
        assert goal.exists(), target
        assert not anchor or anchor in markdown.anchors(goal.read_text()), target


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.parent.name)
def test_an_example_is_right_for_the_trainer_and_the_editor(path):
    Config.load(path)
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads((ROOT / "docs" / "run.schema.json").read_text()))


def test_the_job_file_of_the_readme_is_right(tmp_path):
    (block,) = re.findall(r"```yaml\n(name:.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    path = tmp_path / "job.yaml"
    path.write_text(block)
    Config.load(path)


def test_contributing_names_every_room_and_files_that_exist():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`([\w./-]+)`", page))
    rooms = [path for package in ("trainer", "k8s") for path in (ROOT / package).iterdir()]
    expected = {f"{path.name}/" for path in rooms if (path / "__init__.py").is_file()}
    expected |= {path.name for path in (ROOT / "trainer").glob("*.py")} - {"__init__.py"}
    assert expected - named == set()
    paths = [
        name for name in named if name.partition("/")[0] in ("trainer", "k8s", "tests", "docs", "charts", "examples")
    ]
    assert [path for path in paths if path.count("/") > 1 and not (ROOT / path).exists()] == []


def test_every_test_that_the_page_on_security_names_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())
    missing = [name for path, name in named if f"def {name}(" not in (ROOT / "tests" / path).read_text()]
    assert (len(named) >= 38, missing) == (True, [])
