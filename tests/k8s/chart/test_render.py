"""What the helm program makes of a job file, one or many."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from k8s.chart import render
from k8s.chart.render_many import _together, render_many
from k8s.chart.values import JobFile
from k8s.chart.yaml_documents import from_yaml, run_id, workload
from k8s.cli import cli
from tests.chart.test_job_file import SCALARS
from trainer.config import Config, load_document
from trainer.errors import ConfigError

JOB = """\
name: {name}
run:
  data:
    train: s3://lake/flights
    label: late
    features: {{distance: {{kind: numeric}}}}
  task: binary
  model: {{builtin: mlp}}
  fit: {{optimizer: {{name: adam, learning_rate: {rate}}}}}
  output: {{uri: s3://models/{name}}}
image: {{repository: registry.example/trainer, tag: "1.0"}}
{more}
"""

QUOTED = """\
podAnnotations: {a: "1e3", b: "y"}
env:
- name: A
  value: |
    x

     y
"""

#: Every template makes something.
EVERYTHING = """\
nodes: 2
resources:
  claims: [{name: gpus, deviceClassName: gpu.nvidia.com}]
serviceAccount: {create: true, annotations: {role: reader}}
alerts: {enabled: true}
dashboard: {enabled: true}
extraObjects:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Values.name }}-extra"}, data: {chart: "{{ .Chart.Version }}"}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Namespace }}"}, data: {}}
"""


@pytest.fixture
def job_file(tmp_path):
    def write(name, *, rate="0.001", more=""):
        path = tmp_path / f"{name}.yaml"
        path.write_text(JOB.format(name=name, rate=rate, more=more))
        return str(path)

    return write


def rendered(job, sets=(), kube_version="v1.34.0"):
    return render.render(load_document(job, sets), kube_version=kube_version)


def test_a_job_file_that_is_not_enabled_is_an_error_and_no_empty_answer(job_file):
    for jobs in (["idle"], ["idle", "busy", "more"]):
        files = [job_file(name, more="enabled: false" if name == "idle" else "") for name in jobs]
        with pytest.raises(ConfigError, match="nothing is made of it: enabled is false"):
            render_many([load_document(file, []) for file in files], "v1.34.0")


@pytest.mark.parametrize(
    "sets", [[], ["run.fit.epochs=7", "run.fit.optimizer.learning_rate=0.5"], ["ttlSecondsAfterFinished=null"]]
)
def test_many_together_are_what_each_is_alone(job_file, sets):
    jobs = [
        job_file("plain"),
        job_file("small", rate="1e-3"),
        job_file("forever", more="ttlSecondsAfterFinished: null"),
        job_file("two", more="nodes: 2"),
        job_file("nightly", more='schedule: {cron: "0 2 * * *"}'),
        job_file("quoted", more=QUOTED),
        job_file("everything", more=EVERYTHING),
    ]
    documents = [load_document(job, sets) for job in jobs]
    alone = [render.render(d, kube_version="v1.34.0", namespace="ml") for d in documents]
    assert render_many(documents, "v1.34.0", "ml") == alone
    if not sets:  # without a null: by one chart
        del documents[2], alone[2]
        assert _together(documents, "v1.34.0", "ml") == alone
    assert {"CronJob", "Service", "PrometheusRule", "ConfigMap"} <= {m["kind"] for made in alone for m in made}


def test_a_file_that_the_chart_refuses_is_named_among_many(job_file):
    jobs = [job_file("a"), job_file("b", more="nodes: 2\nkubeVersion: nonsense"), job_file("c")]
    with pytest.raises(ConfigError) as caught:
        render_many([load_document(job) for job in jobs], "v1.34.0")
    assert f"{jobs[1]}:13: kubeVersion: 'nonsense' is not a version of Kubernetes: use 1.34" in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("affinity:\n  nodeAffinty: {}", ":12: affinity: additional properties 'nodeAffinty' not allowed"),
        (
            "tolerations:\n- key: a\n  effect: NoSchedul",
            ":14: tolerations[0].effect: value must be one of '', 'NoSchedule', 'PreferNoSchedule', 'NoExecute'",
        ),
        (
            "volumes:\n- name: a\n  secret:\n    secretName: a_b",
            ":15: volumes[0].secret.secretName: 'a_b' is not the name of an object: use lower-case letters",
        ),
        ("volumes:\n- {name: a, emptyDir: {}, hostPath: {path: /a}}", ":13: volumes[0]: has 3 keys, 2 at most"),
        (
            "dnsPolicy: None\nminNodes: 2\nnodes: 4",
            ": 2 faults\n  minNodes goes with a queue, which admits fewer pods than nodes; name one in queue, or "
            "remove minNodes\n  dnsPolicy None needs dnsConfig.nameservers",
        ),
    ],
)
def test_what_helm_refuses_is_said_with_its_line_and_without_helms_words(job_file, more, said):
    file = job_file("wrong", more=more)
    with pytest.raises(ConfigError) as caught:
        rendered(file)
    assert f"{file}{said}" in str(caught.value)
    assert "specifications" not in str(caught.value)
    assert "charts/training-job/README.md describes every key" in str(caught.value)


def test_the_job_comes_last_and_has_the_hash_of_its_values(job_file):
    made = rendered(job_file("one"))
    job = workload(made)
    assert made[-1] is job
    name = job["metadata"]["name"]
    assert name == f"one-{job['metadata']['annotations']['kfit.dev/values-hash'][:8]}"
    assert run_id(job) == name
    assert rendered(job_file("one", rate="0.002"))[-1]["metadata"]["name"] != name


def test_no_credential_of_the_environment_gets_into_what_is_sent(job_file, monkeypatch):
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA-very-secret", "AWS_SECRET_ACCESS_KEY": "very-secret-too",
        "AWS_SESSION_TOKEN": "secret-session", "GOOGLE_APPLICATION_CREDENTIALS": "/secret/file",
        "AZURE_STORAGE_KEY": "azure-secret", "KUBECONFIG": "/secret/kubeconfig",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    job = job_file("hidden", more="envFrom: [{secretRef: {name: store}}]")
    done = CliRunner().invoke(cli, ["render", job, "--kube-version", "v1.34.0"])
    assert done.exit_code == 0, done.output
    assert "secretRef" in done.output
    assert not [value for value in secrets.values() if value in done.output]
    assert from_yaml(done.stdout) == rendered(job)


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("table", "networkpolicy/dry-{h} would be sent (dry run)"),
        ("name", "job.batch/dry-{h}"),
        ("yaml", "---"),
        ("json", "{{"),
    ],
)
def test_dry_run_of_the_client_asks_no_cluster(job_file, form, first):
    job = job_file("dry")
    words = ["--kubeconfig", os.devnull, "submit", "--dry-run=client", "-o", form, job]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    made = workload(rendered(job, kube_version=""))["metadata"]["name"]
    assert first.format(h=made.rpartition("-")[2]) in done.stdout.splitlines()
    if form == "yaml":
        assert from_yaml(done.stdout) == rendered(job, kube_version="")


FILTERED = """\
name: filtered
run:
  data:
    train: s3://lake/flights
    label: late
    features: {{distance: {{kind: numeric}}, carrier: {{kind: categorical}}}}
    filter: {{carrier: {{{key}: [{first}, "<<", "y", "1e3"]}}}}
  task: binary
  model: {{builtin: mlp}}
  output: {{uri: s3://models/filtered}}
image: {{repository: registry.example/trainer, tag: "1.10"}}
podAnnotations: {{a: "=", b: "<<"}}
"""


@pytest.mark.parametrize("key", ["in", "one_of"])
@pytest.mark.parametrize("first", ["=", '"="', "<<"])
def test_words_that_yaml_readers_differ_in_reach_the_pod_as_they_stand_in_the_file(tmp_path, key, first):
    path = tmp_path / "filtered.yaml"
    path.write_text(FILTERED.format(key=key, first=first))
    made = rendered(path)
    mounted = tmp_path / "mounted.yaml"
    notes = workload(made)["spec"]["template"]["metadata"]["annotations"]
    mounted.write_text(notes.pop("kfit.dev/job-file"))
    here, there = Config.load(path), Config.load(mounted)
    assert here == there
    assert here.data.filter["carrier"].one_of == [first.strip('"'), "<<", "y", "1e3"]
    assert notes == {"a": "=", "b": "<<"}


def test_an_override_of_the_image_is_the_same_text_to_kfit_and_to_helm(job_file):
    made = rendered(job_file("one"), ["image.tag=1.10"])
    assert workload(made)["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/trainer:1.10"
    assert JobFile.load(job_file("one"), ["image.tag=1.10"]).image.tag == "1.10"


def test_without_helm_it_is_told_how_to_get_it(job_file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match="helm program") as caught:
        rendered(job_file("one"))
    assert "helm.sh" in caught.value.remedy


FLAGS = [
    ["--set", "run.fit.early_stopping=null"],
    ["--set", "run.fit.optimizer.learning_rate=0.5,run.fit.epochs=7"],
    ["--set", "run.fit.epochs=auto", "--set", "run.fit.epochs=7"],
    ["--set-json", 'run.fit={"epochs": 9}', "--set-string", "run.fit.batch_size=auto"],
    ["--set-json", '{"nodes": 2}'],
    ["--set-json", 'nodes=2.0,run.fit.epochs=3.0,run.fit.profile={"steps": [2, 3]}'],
    ["--set-string", "image.tag=2", "--set", "ttlSecondsAfterFinished=null"],
]


@pytest.mark.parametrize("given", ["nodes=2", "suspend=true", "run.fit.epochs=3", "resources.gpus=1"])
def test_a_text_in_place_of_a_number_is_refused_by_name_of_its_flag(job_file, given):
    with pytest.raises(ConfigError) as caught:
        JobFile.load(job_file("one"), [("--set-string", given)])
    key, _, value = given.partition("=")
    assert caught.value.what.startswith(f"--set-string {given}: {key}: {value!r} (text): should be ")


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_an_override_means_to_the_trainer_here_what_it_means_in_the_pod(job_file, tmp_path, flags):
    sets = [*zip(flags[::2], flags[1::2], strict=True)]
    made = workload(rendered(job_file("one"), sets))
    (tmp_path / "mounted.yaml").write_text(made["spec"]["template"]["metadata"]["annotations"]["kfit.dev/job-file"])
    assert Config.load(tmp_path / "mounted.yaml") == Config.load(job_file("one"), sets)


def test_several_files_and_stdin_are_one_job(job_file, tmp_path):
    (tmp_path / "prod.yaml").write_text("nodes: 2\nrun: {fit: {epochs: 5}}\n")
    words = ["render", job_file("one"), "-f", str(tmp_path / "prod.yaml"), "-f", "-", "--kube-version", "v1.34.0"]
    done = CliRunner().invoke(cli, [*words, "--set-string", "image.tag=7"], input="nodes: 3\n")
    assert done.exit_code == 0, done.output
    made = workload(from_yaml(done.stdout))
    assert made["spec"]["completions"] == 3
    pod = made["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == "registry.example/trainer:7"
    assert "epochs: 5" in pod["metadata"]["annotations"]["kfit.dev/job-file"]
    alone = CliRunner().invoke(
        cli, ["render", "-", "--kube-version", "v1.34.0"], input=(tmp_path / "one.yaml").read_text()
    )
    assert from_yaml(alone.stdout) == rendered(job_file("one"))


def test_a_fault_names_the_file_of_several_that_has_it(job_file, tmp_path):
    (tmp_path / "prod.yaml").write_text("run:\n  fit: {epochs: none}\n")
    with pytest.raises(ConfigError) as caught:
        JobFile.load([job_file("one"), tmp_path / "prod.yaml"])
    assert f"{tmp_path}/prod.yaml:2: run.fit.epochs: 'none'" in caught.value.what
    with pytest.raises(ConfigError, match=r"--set run\.fit\.epochs=x: run\.fit\.epochs: 'x'"):
        JobFile.load(job_file("one"), ["run.fit.epochs=x"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["render"], "Missing argument 'JOB'"),
        (["render", "-", "-f", "-"], "once"),
        (["submit", "a", "b", "-f", "-"], "once"),
    ],
)
def test_words_that_name_no_job_file_are_refused(words, said):
    done = CliRunner().invoke(cli, words, input="")
    assert done.exit_code == 2
    assert said in done.output


def test_helm_alone_makes_the_same_job_of_a_file_as_kfit(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        SCALARS.replace("registry.example/trainer}", "registry.example/trainer}\nttlSecondsAfterFinished: ~")
    )
    alone = render.template([str(render.chart_folder()), "--values", str(path)], "v1.34.0", "")
    assert alone.returncode == 0, alone.stderr
    assert rendered(path) == render.in_order(from_yaml(alone.stdout))
