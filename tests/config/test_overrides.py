"""Several job files and `--set` as one document: what helm makes of the same words."""

from __future__ import annotations

import base64
import copy
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from trainer.config import JobDocument, load_document
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
    here = document
    for key in path:
        here = here[key]
    assert here == value
    assert type(here) is type(value)


HELM_TOO = [
    *["a[1].b=1", "a[3].b=1", "a[1][2]=x", "list[1].q=2", "x=1.10", "x=1e-3", "x=TRUE", "x=+5", "x=-5", "x=0", "x=00"],
    *["x=99999999999999999999", "x=9223372036854775808", "x=1_000", "x={1,1.5,true,null}", r"x={a\,b,c}", "x= 5"],
    *[
        "x=null",
        "m.x.k=null",
        "list=null",
        "list[0]=null",
        "a[0]=null",
        r"a.b\.c=1",
        "x=a=b",
        "x=",
        "x=a{b",
        "x=-",
        "a[0].b=1,a[1].b=2",
        "x=[1]",
    ],
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


def helm_values(chart, *words):
    done = subprocess.run(
        ["helm", "template", str(chart), "--values", str(chart / "job.yaml"), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return yaml.safe_load(done.stdout)["values"] if done.returncode == 0 else None


@pytest.mark.parametrize("expression", HELM_TOO)
def test_helm_itself_reads_a_set_the_same_way(helm_chart, expression):
    document = {"list": ["a", "b"], "m": {"x": {"k": 1}}}
    apply_override(document, expression)
    assert helm_values(helm_chart, "--set", expression) == document


@pytest.mark.parametrize("expression", HELM_REFUSES)
def test_what_helm_refuses_is_refused(helm_chart, expression):
    assert helm_values(helm_chart, "--set", expression) is None
    with pytest.raises(ConfigError, match="--set"):
        apply_override({"list": ["a", "b"], "m": {"x": {"k": 1}}}, expression)


OTHER_FLAGS = [
    *[("--set-string", e) for e in ["x=5", "x=true", "x=null", "x={1,true}", r"a.b[1]=1\,2", "x=", "x=1,m.x.k=2"]],
    *[("--set-json", e) for e in ['x={"a":[1,null,"b,c"]}', "x=1,m.x.k=[2, 3] ,y=null", "x=", 'x="a=b"', "x= 1.5e3"]],
    *[("--set-json", e) for e in ['{"m":{"x":{"k":null,"l":1}},"list":[]}', ' {"new": 1.5} ', 'list[1]={"a":1}']],
    *[("--set-file", e) for e in ["x=text.txt", "x.y=text.txt,list[0]=text.txt"]],
]


@pytest.mark.parametrize(("flag", "expression"), OTHER_FLAGS)
def test_helm_reads_the_other_flags_the_same_way(helm_chart, monkeypatch, flag, expression):
    monkeypatch.chdir(helm_chart)
    (helm_chart / "text.txt").write_text("a: 1,\n  b\n")
    document = {"list": ["a", "b"], "m": {"x": {"k": 1}}}
    apply_override(document, expression, flag)
    assert helm_values(helm_chart, flag, expression) == document


@pytest.mark.parametrize(
    ("flag", "expression"),
    [
        ("--set-json", "x={"),
        ("--set-json", "x=abc"),
        ("--set-json", "x=NaN"),
        ("--set-json", "x"),
        ("--set-json", "list.a=1"),
        ("--set-json", '{"a": 1} b'),
        ("--set-file", "x=no-such-file"),
        ("--set-string", "x"),
        ("--set-string", "m[0]=1"),
    ],
)
def test_what_helm_refuses_of_the_other_flags_is_refused(helm_chart, flag, expression):
    assert helm_values(helm_chart, flag, expression) is None
    with pytest.raises(ConfigError, match=flag) as caught:
        apply_override({"list": ["a", "b"], "m": {"x": {"k": 1}}}, expression, flag)
    assert caught.value.remedy


@pytest.mark.parametrize("flag", ["--set", "--set-json"])
def test_a_whole_number_that_helm_rounds_is_refused(flag):
    with pytest.raises(ConfigError, match="above 2\\^53"):
        apply_override({}, "x=9007199254740993", flag)


def test_several_files_are_merged_as_helm_merges_them(helm_chart):
    above = "list: [c]\nm: {x: {l: 2}, z: null}\nnew: {a: 1}\n"
    (helm_chart / "above.yaml").write_text(above)
    (helm_chart / "top.yaml").write_text("m: {x: {k: {deep: 1}}}\nnew: 3\n")
    files = [helm_chart / name for name in ("job.yaml", "above.yaml", "top.yaml")]
    words = [word for file in files[1:] for word in ("--values", str(file))]
    document = load_document(files, [("--set-json", "n=1"), ("--set", "n=2"), ("--set-string", "list[1]=3")])
    assert document.values == helm_values(
        helm_chart, *words, "--set-json", "n=1", "--set", "n=2", "--set-string", "list[1]=3"
    )
    assert document.values == {
        "list": ["c", "3"], "m": {"x": {"k": {"deep": 1}, "l": 2}, "z": None}, "new": 3, "n": 2,
    }  # fmt: skip


def test_an_override_reaches_one_of_the_places_that_an_alias_fills(helm_chart):
    (helm_chart / "above.yaml").write_text("a: &a {k: {l: 1}}\nb: *a\nc: [*a, *a]\n")
    overrides = [("--set", "a.k.l=2"), ("--set", "c[1].k.l=3"), ("--set-json", '{"b":{"k":{"m":4}}}')]
    document = load_document([helm_chart / "job.yaml", helm_chart / "above.yaml"], overrides)
    values = {"a": {"k": {"l": 2}}, "b": {"k": {"l": 1, "m": 4}}, "c": [{"k": {"l": 1}}, {"k": {"l": 3}}]}
    assert {key: document.values[key] for key in values} == values
    words = ["--values", str(helm_chart / "above.yaml"), *(word for pair in overrides for word in pair)]
    assert document.values == helm_values(helm_chart, *words)


def test_a_fault_names_the_file_or_the_flag_that_wrote_the_key(tmp_path):
    (tmp_path / "a.yaml").write_text("run:\n  task: binary\n  fit: {epochs: 3}\n")
    (tmp_path / "b.yaml").write_text("run:\n  fit:\n    seed: x\n")
    document = load_document([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["run.fit.epochs=no"])
    assert document.places["run", "task"] == f"{tmp_path}/a.yaml:2"
    assert document.places["run", "fit", "seed"] == f"{tmp_path}/b.yaml:3"
    assert document.places["run", "fit", "epochs"] == "--set run.fit.epochs=no"


def test_a_hyphen_is_stdin(monkeypatch, tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\nb: 1\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"b: 2\n")))
    document = load_document([tmp_path / "a.yaml", "-"])
    assert document.values == {"a": 1, "b": 2}
    assert document.places["b",] == "(stdin):1"


TEXTS = ["\x7f", "\x85", "\u2028", "\ufeff", "😀", "\t\n", "y", "1e3", "007", "<<", "=", "a: b", "#", "'", '"', "\\"]


def test_helm_reads_the_values_as_they_are_in_the_document(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: t\nversion: 0.1.0\n")
    (tmp_path / "templates" / "values.yaml").write_text("values: {{ .Values | toJson | b64enc }}\n")
    values = {"texts": TEXTS, "numbers": [1, -5, 1e-07, 2.5e30, 2**53, 1000000], "rest": [True, None, [], {}]}
    done = subprocess.run(
        ["helm", "template", str(tmp_path), "--values", "-"],
        input=JobDocument(values).as_yaml().encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(base64.b64decode(done.stdout.partition(b"values: ")[2])) == values


@pytest.mark.parametrize("value", [float("inf"), b"x", {"a"}])
def test_a_value_that_helm_does_not_take_is_refused(value):
    with pytest.raises(ConfigError, match="does not take"):
        JobDocument({"a": value}).as_yaml()


def test_set_to_null_is_the_null_that_helm_gives_the_pod():
    document = copy.deepcopy(BEFORE)
    apply_override(document, "run.fit.epochs=null,run.fit.never=null")
    assert document["run"]["fit"] == {"epochs": None, "never": None}


@pytest.mark.parametrize("expression", ["run.fit.epochs", "=3", "run.list.a=1", "run.fit[0]=1"])
def test_a_set_that_cannot_be_is_refused(expression):
    with pytest.raises(ConfigError, match="--set") as caught:
        apply_override(copy.deepcopy(BEFORE), expression)
    assert caught.value.remedy
