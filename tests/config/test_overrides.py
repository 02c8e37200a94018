"""`--set` means what helm means by it."""

from __future__ import annotations

import copy
import subprocess

import pytest
import yaml

from trainer.config.overrides import apply_override
from trainer.errors import ConfigError

BEFORE = {"run": {"fit": {"epochs": 3}, "list": ["a", "b"]}, "name": "x"}


@pytest.mark.parametrize(
    ("expression", "path", "value"),
    [
        ("run.fit.epochs=5", ("run", "fit", "epochs"), 5),
        ("run.fit.seed=-1", ("run", "fit", "seed"), -1),
        ("run.fit.jit=true", ("run", "fit", "jit"), True),
        ("run.fit.jit=false", ("run", "fit", "jit"), False),
        ("name=007", ("name",), "007"),
        ("name=a=b", ("name",), "a=b"),
        ("name=", ("name",), ""),
        (r"name=a\,b", ("name",), "a,b"),
        ("run.rate=0.5", ("run", "rate"), 0.5),
        ("run.rate=1e-3", ("run", "rate"), 0.001),
        ("image.tag=1.10", ("image", "tag"), "1.10"),
        ("image.tag=1e3", ("image", "tag"), "1e3"),
        ("new[1].b=1", ("new",), [None, {"b": 1}]),
        ("new[2][1]=x", ("new",), [None, None, [None, "x"]]),
        ("run.list={x,y}", ("run", "list"), ["x", "y"]),
        ("run.list={}", ("run", "list"), []),
        ("run.list[1]=z", ("run", "list"), ["a", "z"]),
        ("run.list[2]=z", ("run", "list"), ["a", "b", "z"]),
        ("new[0].a=1", ("new",), [{"a": 1}]),
        (r"run.a\.b=1", ("run", "a.b"), 1),
        ("name=1,other=2", ("other",), 2),
    ],
)
def test_set_means_what_helm_means(expression, path, value):
    document = copy.deepcopy(BEFORE)
    apply_override(document, expression)
    found = document
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


HELM_TOO = [
    *["a[1].b=1", "a[3].b=1", "a[1][2]=x", "list[1].q=2", "x=1.10", "x=1e-3", "x=TRUE", "x=+5", "x=-5", "x=0", "x=00"],
    *["x=99999999999999999999", "x=9223372036854775808", "x=1_000", "x={1,1.5,true,null}", r"x={a\,b,c}", "x= 5"],
    *[r"a.b\.c=1", "x=a=b", "x=", "x=a{b", "x=-", "a[0].b=1,a[1].b=2", "x=[1]"],
]
HELM_REFUSES = [
    "list[65537]=1",
    "list.a=1",
    "m[0]=1",
    "m.x.k.z=1",
    "x={a",
    "x",
    "a[0]b=1",
    "list[-1]=1",
    "a" + ".a" * 31 + "=1",
]


@pytest.fixture(scope="module")
def helm_chart(tmp_path_factory):
    """A chart that prints its values."""
    chart = tmp_path_factory.mktemp("chart")
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: t\nversion: 0.1.0\n")
    (chart / "job.yaml").write_text("list: [a, b]\nm: {x: {k: 1}}\n")
    (chart / "templates" / "values.yaml").write_text("values: {{ .Values | toJson }}\n")
    return chart


def helm_values(chart, expression):
    done = subprocess.run(
        ["helm", "template", str(chart), "--values", str(chart / "job.yaml"), "--set", expression],
        capture_output=True,
        text=True,
        check=False,
    )
    return yaml.safe_load(done.stdout)["values"] if done.returncode == 0 else None


@pytest.mark.parametrize("expression", HELM_TOO)
def test_helm_itself_reads_a_set_the_same_way(helm_chart, expression):
    document = {"list": ["a", "b"], "m": {"x": {"k": 1}}}
    apply_override(document, expression)
    assert helm_values(helm_chart, expression) == document


@pytest.mark.parametrize("expression", HELM_REFUSES)
def test_what_helm_refuses_is_refused(helm_chart, expression):
    assert helm_values(helm_chart, expression) is None
    with pytest.raises(ConfigError, match="--set"):
        apply_override({"list": ["a", "b"], "m": {"x": {"k": 1}}}, expression)


def test_set_to_null_removes_the_key():
    document = copy.deepcopy(BEFORE)
    apply_override(document, "run.fit.epochs=null,run.fit.never=null")
    assert document["run"]["fit"] == {}


@pytest.mark.parametrize("expression", ["run.fit.epochs", "=3", "run.list.a=1", "run.fit[0]=1"])
def test_a_set_that_cannot_be_is_refused(expression):
    with pytest.raises(ConfigError, match="--set") as caught:
        apply_override(copy.deepcopy(BEFORE), expression)
    assert caught.value.remedy
