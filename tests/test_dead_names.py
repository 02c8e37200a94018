"""Every name is used: by code, a test, or the library that calls it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import vulture

ROOT = Path(__file__).parent.parent
#: What they decorate is registered, and called by that.
DECORATORS = ["@pytest.fixture", "@click.command", "@*.command", "@model_validator", "@*_serializer", "@case*"]
#: What libraries call or read by its name.
NAMES = [
    "pytest_*",
    *("do_*", "log_message", "handle_*", "protocol_version", "disable_nagle_algorithm"),  # http.server, html.parser
    *("close_connection", "daemon_threads"),  # http.server, socketserver
    *("on_train_*", "on_test_*", "train_step", "test_step", "get_config"),  # Keras
    *("list_commands", "format_commands", "convert", "parameter"),  # click
    *("retries", "keep_alive", "user_agent", "proxy_headers"),  # the Kubernetes client, s3fs
    *("auto_shard_policy", "kept_alive"),  # tf.data; an attribute that holds a reference
    "complete_for_kubectl",  # an entry point of pyproject.toml
    *("linear", "boosting"),  # benchmarks.quality calls its peers by name
    *("__getattr__", "exc"),  # Python: of modules, and what a context manager is given
    "server_name",  # tests.k8s.api.recorder compares whole records
]


def names_in_templates() -> list[str]:
    pages = (ROOT / "trainer" / "report" / "templates").glob("*.j2")
    return [name for page in pages for name in re.findall(r"\.(\w+)", page.read_text())]


def fixtures() -> list[str]:
    """A test may ask for a fixture without looking at it."""
    tests = (path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    return [name for test in tests for name in re.findall(r"@pytest\.fixture.*\ndef (\w+)", test)]


def fields_of_models(path: Path) -> set[int]:
    """Lines of a file that declare a key of a pydantic model: a job file, a kubeconfig or helm uses it."""
    source = path.read_text()
    if "pydantic" not in source:
        return set()
    classes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    members = [node for model in classes for node in model.body]
    return {node.lineno for node in members if isinstance(node, ast.AnnAssign) or "model_config" in ast.unparse(node)}


def test_no_name_is_unused():
    finder = vulture.Vulture(ignore_names=[*NAMES, *names_in_templates(), *fixtures()], ignore_decorators=DECORATORS)
    finder.scavenge([ROOT / folder for folder in ("trainer", "k8s", "benchmarks", "tests")])
    unused = [
        item.get_report().removeprefix(f"{ROOT}/")
        for item in finder.get_unused_code(min_confidence=60)
        if item.first_lineno not in fields_of_models(Path(item.filename))
    ]
    assert unused == []
