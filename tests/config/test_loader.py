"""Job files: every fault is reported with its line and its remedy."""

from __future__ import annotations

import itertools
import json
import re
import typing
from pathlib import Path

import jsonschema
import pytest
import yaml

from k8s.chart.values import JobFile
from trainer.config import Config, Feature
from trainer.config.loader import CHART_KEYS
from trainer.config.values import is_member
from trainer.config.yaml_file import load_yaml
from trainer.errors import ConfigError

JOB = """\
name: flights
run:
  data:
    train: lake
    validation: {fraction: 0.1}
    label: late
    features:
      distance: {kind: numeric}
      carrier:
        kind: categorical
        encode: one_hot
  task: binary
  model: {builtin: mlp}
  fit:
    epochs: 3
  output:
    uri: models
nodes: 1
"""


@pytest.fixture
def job(tmp_path: Path):
    """Writes JOB with one text replaced and gives its path."""

    def write(old: str = "", new: str = "") -> Path:
        assert old in JOB
        path = tmp_path / "job.yaml"
        path.write_text(JOB.replace(old, new, 1))
        return path

    return write


def test_the_other_keys_belong_to_the_chart(job):
    config = Config.load(job())
    assert config.fit.epochs == 3
    assert config.data.label.column == "late"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("epochs: 3", "epoch: 3", 15, "fit.epoch: unknown key; did you mean 'epochs'?"),
        ("label: late", "lable: late", 6, "data.lable: unknown key; did you mean 'label'?"),
        ("  task: binary", "  taks: binary", 12, "taks: unknown key; did you mean 'task'?"),
        ("encode: one_hot", "encoding: one_hot", 11, "carrier.encoding: unknown key; did you mean 'encode'?"),
        ("{kind: numeric}", "{kind: numeric, scael: none}", 8, "distance.scael: unknown key; did you mean 'scale'?"),
        ("{fraction: 0.1}", "{fractoin: 0.1}", 5, "did you mean 'fraction'?"),
        ("{builtin: mlp}", "{builtin: mlp, hiden: [3]}", 13, "model.hiden: unknown key; did you mean 'hidden'?"),
        (
            "epochs: 3",
            "stall: off",
            15,
            "fit.stall: false (a truth value) is not a duration; write it like 90s, 30m or 2h, or never",
        ),
        ("epochs: 3", "stall: 10", 15, "fit.stall: 10 (a whole number) is not a duration; write it like 90s"),
        ("epochs: 3", "profile: {steps: 3}", 15, "fit.profile.steps: 3 (a whole number): should be a list"),
        ("epochs: 3", "epochs: three", 15, "fit.epochs: 'three' (text): should be a valid integer"),
        (
            "label: late",
            "label: {column: 3}",
            6,
            "label.column: 3 (a whole number): should be text; quote it in a file",
        ),
        ("epochs: 3", "deterministic: some", 15, "fit.deterministic: 'some' (text): should be true or false"),
        (
            "  model: {builtin: mlp}\n  fit:\n    epochs: 3",
            "  model: {builtin: mlp}\n  fit: 3",
            14,
            "fit: 3 (a whole number): should be a mapping",
        ),
        ("epochs: 3", "epochs: 0", 15, "fit.epochs: 0 (a whole number): should be greater than 0"),
        ("epochs: 3", "batch_size: 0", 15, "fit.batch_size: 0 (a whole number): should be greater than 0"),
        ("epochs: 3", "epochs: [1]", 15, "fit.epochs: a list: should be a valid integer"),
        ("encode: one_hot", "encode: onehot", 11, "did you mean 'one_hot'?"),
        ("task: binary", "task: binray", 12, "did you mean 'binary'?"),
        ("kind: categorical", "kind: categoric", 10, "did you mean 'categorical'?"),
        ("{kind: numeric}", "{kind: vector}", 8, "distance.size: missing; it must be set"),
        ("{builtin: mlp}", "{entrypoint: nonsense}", 13, "'nonsense' is not package.module:name"),
        ("{fraction: 0.1}", "{fraction: 1.5}", 5, "should be less than 1"),
        (
            "{kind: numeric}",
            "{kind: image, height: 1, width: 1, augment: {flop: 1}}",
            8,
            "augment.flop: unknown key; did ",
        ),
        (
            "epochs: 3",
            "reduce_on_plateau: {factr: 1}",
            15,
            "reduce_on_plateau.factr: unknown key; did you mean 'factor'?",
        ),
        ("epochs: 3", "class_weight: {a: x}", 15, "fit.class_weight.a: 'x' (text): should be a valid number"),
        (
            "label: late",
            "label: late\n    filter: {Window: {equls: 1}}",
            7,
            "filter.Window.equls: unknown key; did you mean",
        ),
        ("epochs: 3", "epochs: [1]", 15, "fit.epochs: a list: should be a valid integer or should be 'auto'\n"),
        ("{kind: numeric}", "{scale: none}", 8, "features.distance: `kind` is missing; it should be 'numeric', "),
        (
            "{kind: numeric}",
            "numeric",
            8,
            "features.distance: 'numeric' (text): should be a mapping with `kind`, which ",
        ),
    ],
)
def test_a_fault_is_said_with_its_line(job, old, new, line, said):
    path = job(old, new)
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    text = str(caught.value)
    assert f"{path}:{line}: run." in text
    assert said in text


def unions(schema):
    """The unions of a pydantic core schema, each as the names of its members."""
    if isinstance(schema, dict):
        if schema.get("type") == "union":
            yield [member[1] if isinstance(member, tuple) else member for member in schema["choices"]]
        elif schema.get("type") == "tagged-union":
            yield list(schema["choices"])
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list | tuple) else ():
        yield from unions(part)


def test_members_of_unions_are_no_keys_in_the_location_of_a_fault():
    names = list(unions(JobFile.__pydantic_core_schema__))
    assert len(names) > 20
    assert all(is_member(name) for members in names for name in members)


def test_the_kinds_of_features_are_all_named_where_one_is_unknown(job):
    kinds = {model.model_fields["kind"].annotation.__args__[0] for model in typing.get_args(Feature.__origin__)}
    with pytest.raises(ConfigError) as caught:
        Config.load(job("{kind: numeric}", "{kind: 3}"))
    assert "features.distance.kind: 3 (a whole number): should be " in str(caught.value)
    assert set(re.findall(r"'(\w+)'", str(caught.value))) == kinds


def test_all_faults_are_said_at_once(job):
    path = job("    epochs: 3", "    epoch: 3\n    batch_size: x")
    with pytest.raises(ConfigError, match="2 faults") as caught:
        Config.load(path)
    assert f"{path}:15: run.fit.epoch:" in str(caught.value)
    assert f"{path}:16: run.fit.batch_size:" in str(caught.value)


def test_a_key_that_stands_twice_is_refused(job):
    path = job("    epochs: 3", "    epochs: 3\n    epochs: 4")
    with pytest.raises(ConfigError, match=r"job.yaml:16: the key 'epochs' stands twice"):
        Config.load(path)


def test_what_is_not_yaml_is_said_with_its_line(job):
    with pytest.raises(ConfigError, match=r"job.yaml:\d+: not YAML"):
        Config.load(job("{fraction: 0.1}", "{fraction: 0.1"))


@pytest.mark.parametrize(("text", "said"), [("", "nothing"), ("- 1\n", "a list"), ("word\n", "text")])
def test_what_is_no_mapping_is_refused(tmp_path, text, said):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"a job file is a mapping, this is .*{said}"):
        Config.load(path)


def test_a_file_that_is_missing_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no such job file"):
        Config.load(tmp_path / "job.yaml")


def test_a_folder_is_no_job_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the job file"):
        Config.load(tmp_path)


def test_without_run_the_nearest_key_is_named(job):
    with pytest.raises(ConfigError, match="did you mean it by 'runs'"):
        Config.load(job("run:", "runs:"))


def test_a_mistyped_key_beside_run_is_a_warning_with_the_nearest_key(job):
    said = []
    path = job("nodes: 1", "nodez: 2\nimage: {tag: x}\nzzz: 1")
    Config.load(path, warn=said.append)
    assert len(said) == 2
    assert said[0] == f"{path}:18: nodez: unknown key, which has no effect; did you mean 'nodes'?"
    assert "zzz: unknown key, which has no effect; the chart knows activeDeadlineSeconds, " in said[1]


def test_the_keys_of_the_chart_are_those_of_its_model():
    assert set(JobFile.model_fields) - {"run"} == CHART_KEYS


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{kind: numeric}", "{kind: numeric, impute: {constant: ''}}", "impute.constant '' is not a number"),
        ("{kind: numeric}", "{kind: numeric, impute: {constant: x}}", "impute.constant 'x' is not a number"),
        ("{kind: numeric}", "{kind: vector, size: 2, impute: {constant: ''}}", "impute.constant '' is not a number"),
        ("encode: one_hot", "impute: {constant: ''}", "impute.constant '' is the text of null already"),
        ("encode: one_hot", "encode: hash\n        buckets: 3000000000", "less than 2147483640"),
        ("label: late", "label: late\n    sample_weight: late", "label 'late' is also sample_weight"),
        ("uri: models", "uri: ''", "'' is not a path or URI"),
        ("uri: models", "uri: ' '", "' ' is not a path or URI"),
        ("train: lake", "train: ''", "'' is not a path or URI"),
        ("train: lake", "train: [lake, '']", "'' is not a path or URI"),
    ],
)
def test_values_that_could_only_fail_later_are_refused(job, old, new, said):
    with pytest.raises(ConfigError) as caught:
        Config.load(job(old, new))
    assert said in str(caught.value)


def test_a_path_in_python_is_as_good_as_a_text(job):
    document = load_yaml(job())[0]["run"]
    as_text = Config.model_validate(document)
    document["data"]["train"], document["output"]["uri"] = Path("lake"), Path("models")
    assert Config.model_validate(document) == as_text
    assert Config.load(str(job())) == Config.load(job())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x, *a]\n", "job.yaml:1: an alias stands inside"),
        ("a: &a {b: *a}\n", "job.yaml:1: an alias stands inside"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{c}: &{c} [{', '.join([f'*{b}'] * 10)}]\n" for b, c in itertools.pairwise("abcdefghi")),
            "once its aliases are expanded",
        ),
        (f"a: {'[' * 900}{']' * 900}\n", "nested"),
        (f"a: {'{b: ' * 150}1{'}' * 150}\n", "nested more than 100 levels"),
        (f"a: {'9' * 5000}\n", "above 2^53"),
        ("id: 9007199254740993\n", "job.yaml:1: '9007199254740993' is above 2^53"),
        (f"a: {'x' * 5_000_000}\n", "more than 4,194,304 bytes"),
        ("a: !!int x\n", "not YAML"),
        ("a: !!bool x\n", "not YAML"),
        ("a: !!timestamp x\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("? [1, 2]\n: b\n", "not YAML"),
        ("a: !!python/object:os.system x\n", "not YAML"),
    ],
    ids=lambda value: value[:20],
)
def test_a_file_that_would_take_all_memory_or_time_is_refused(tmp_path, text, said):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="cannot read the job file"):
        Config.load(path)


def test_equal_signs_are_words_to_helm_and_here(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("a: =\nb: [<<, x]\nc: &c {d: 1}\ne: {<<: *c, f: 2}\n")
    assert load_yaml(path)[0] == {"a": "=", "b": ["<<", "x"], "c": {"d": 1}, "e": {"d": 1, "f": 2}}


def test_an_override_is_checked_as_the_file_is(job):
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        Config.load(job(), ["run.fit.epoch=3"])
    assert Config.load(job(), ["run.fit.epochs=7"]).fit.epochs == 7


def test_lines_are_those_of_the_keys(job):
    document, lines = load_yaml(job())
    assert document == yaml.safe_load(JOB)
    assert lines["run", "fit", "epochs"] == 15
    assert lines["run", "data", "features", "carrier", "encode"] == 11


@pytest.mark.parametrize("name", ["one_of", "in"])
def test_both_names_of_a_list_of_values_suit_trainer_and_chart(job, name):
    path = job("label: late", f"label: late\n    filter: {{carrier: {{{name}: [UA, AA]}}}}")
    assert Config.load(path).data.filter["carrier"].one_of == ["UA", "AA"]
    schema = json.loads((Path(__file__).parents[2] / "charts" / "training-job" / "values.schema.json").read_text())
    run = {"$ref": "#/$defs/Config", "$defs": schema["$defs"]}
    jsonschema.validate(yaml.safe_load(path.read_text())["run"], run)


@pytest.mark.parametrize(
    "argument",
    [
        "loss_weights",
        "weighted_metrics",
        "run_eagerly",
        "verbose",
        "steps_per_epoch",
        "validation_steps",
        "validation_batch_size",
        "validation_freq",
        "initial_epoch",
        "auto_scale_loss",
        "sample_weight",
    ],
)
def test_an_argument_of_keras_without_a_key_is_refused(job, argument):
    """What model.fit has and a job file has not does not pass in silence."""
    with pytest.raises(ConfigError, match=rf"fit\.{argument}: unknown key"):
        Config.load(job(), [f"run.fit.{argument}=1"])
