"""values.yaml, values.schema.json and README.md: made from k8s/chart/values.py, and what they refuse."""

from __future__ import annotations

import itertools
import json
import re

import jsonschema
import pytest
import yaml

from k8s.chart import reference
from k8s.chart.values import JobFile
from tests import markdown
from tests.chart.charts import CHART, JOB, helm, refusal, render, values
from trainer.errors import ConfigError

DEFAULTS = {
    "name": "",
    "run": {},
    "nodes": 1,
    "image": {"repository": "", "tag": "", "digest": "", "pullPolicy": "IfNotPresent"},
    "resources": {
        "gpus": 0,
        "gpuResource": "nvidia.com/gpu",
        "cpu": "2",
        "memory": "4Gi",
        "shm": "1Gi",
        "tmp": {"size": "", "medium": ""},
        "ephemeralStorage": "",
        "extra": {},
        "requests": {},
        "claims": [],
    },
    "schedule": {
        "cron": "",
        "timeZone": "Etc/UTC",
        "suspend": False,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
    },
    "queue": None,
    "minNodes": 0,
    "suspend": False,
    "runId": "",
    "again": "",
    "activeDeadlineSeconds": 86400,
    "backoffLimit": 2,
    "ttlSecondsAfterFinished": 86400,
    "podFailurePolicyRules": [],
    "managedBy": "",
    "terminationGracePeriodSeconds": 120,
    "priorityClassName": "",
    "runtimeClassName": "",
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
    "topologySpreadConstraints": [],
    "serviceAccount": {"name": "", "create": False, "annotations": {}},
    "imagePullSecrets": [],
    "env": [],
    "envFrom": [],
    "volumes": [],
    "volumeMounts": [],
    "initContainers": [],
    "podSecurityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "command": [],
    "args": ["fit", "/etc/kfit/job.yaml"],
    "lifecycle": {},
    "livenessProbe": {"enabled": False, "maxStepAgeSeconds": 3600, "periodSeconds": 60},
    "hostNetwork": False,
    "dnsPolicy": "",
    "dnsConfig": {},
    "hostAliases": [],
    "schedulerName": "",
    "preemptionPolicy": "",
    "commonAnnotations": {},
    "commonLabels": {},
    "jobLabels": {},
    "jobAnnotations": {},
    "podLabels": {},
    "podAnnotations": {},
    "networkPolicy": {
        "enabled": True,
        "storagePorts": [443],
        "storageCidrs": [],
        "dnsPorts": [53],
        "identity": "",
        "extraEgress": [],
    },
    "podDisruptionBudget": {"enabled": False},
    "alerts": {"enabled": False, "labels": {}, "productionMaxAgeDays": 7, "skippedNights": 7},
    "dashboard": {"enabled": False, "labels": {"grafana_dashboard": "1"}, "annotations": {}},
    "extraObjects": [],
    "fullnameOverride": "",
    "enabled": True,
    "kubeVersion": "",
}


@pytest.fixture
def load(tmp_path):
    def write(given, *overrides):
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(given, sort_keys=False))
        return JobFile.load(path, list(overrides))

    return write


# --- made from the model --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_generated_file_is_fresh(name):
    assert (CHART / name).read_text(encoding="utf-8") == reference.pages()[name], "run `make docs`"


def test_a_stale_file_fails_the_check(tmp_path, capsys):
    assert reference.main([str(tmp_path)]) == 0
    (tmp_path / "values.yaml").write_text("old")
    assert reference.main([str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/values.yaml is stale; run `make docs`\n"


def test_defaults():
    assert yaml.safe_load((CHART / "values.yaml").read_text()) == DEFAULTS


def test_helm_and_kfit_have_the_same_defaults(load):
    dumped = load(JOB).model_dump(mode="json")
    assert {k: v for k, v in dumped.items() if k not in JOB} == {k: v for k, v in DEFAULTS.items() if k not in JOB}


def test_every_value_is_described_where_it_stands():
    lines = [line.strip() for line in (CHART / "values.yaml").read_text().splitlines() if line.strip()]
    for comment, key in itertools.pairwise(lines):
        if not key.startswith("#"):
            assert comment.startswith("# -- "), key
            assert len(comment) > len("# -- "), key


def test_the_readme_names_every_value_and_its_links_lead_somewhere():
    page = (CHART / "README.md").read_text()
    anchors = markdown.anchors(page)
    for key in DEFAULTS:
        assert f"\n| `{key}` | " in page
    for part in ("containerimage", "resources", "cronschedule", "networkpolicy", "claim", "alerts"):
        assert part in anchors
    for target in [piece.split(")")[0] for piece in page.split("](")[1:]]:
        path, _, anchor = target.partition("#")
        assert (CHART / path).exists()
        known = markdown.anchors((CHART / path).read_text()) if path else anchors
        assert not anchor or anchor in known, target


def test_the_examples_of_the_readme_render():
    page = (CHART / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        render(values(yaml.safe_load(block)))


def test_the_charts_version_is_the_packages():
    from trainer import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


# --- what is refused, by helm alone and by kfit ---------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nods": 2}, "nods"),
        ({"resources": {"gpu": 1}}, "gpu"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"schedule": {"timezone": "UTC"}}, "timezone"),
        ({"networkPolicy": {"enable": True}}, "enable"),
        ({"run": {"fit": {"epohs": 3}}}, "epohs"),
        ({"run": {"data": {"lable": "late"}}}, "lable"),
        ({"env": [{"name": "A", "val": "x"}]}, "val"),
        ({"queue": {"nam": "a"}}, "nam"),
    ],
    ids=lambda c: c if isinstance(c, str) else "",
)
def test_an_unknown_key_is_refused_by_name(load, change, named):
    # helm 4 and helm 3 in one pattern
    assert re.search(rf"dditional propert\w+ '?{named}'? (is )?not allowed", refusal(values(change)))
    with pytest.raises(ConfigError, match=rf"{named}: unknown key"):
        load(values(change))


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": 0},
        {"nodes": "2"},
        {"nodes": 1.5},
        {"name": "Flights"},
        {"name": "1st"},
        {"name": "a" * 55},
        {"image": {"tag": 1.0}},
        {"image": {"digest": "sha256:1"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"resources": {"cpu": "four"}},
        {"resources": {"memory": "64 GB"}},
        {"resources": {"gpus": -1}},
        {"resources": {"claims": [{"deviceClassName": "x"}]}},
        {"schedule": {"cron": "0 2 * *"}},
        {"schedule": {"cron": "TZ=UTC 0 2 * * *"}},
        {"schedule": {"startingDeadlineSeconds": 5}},
        {"activeDeadlineSeconds": 0},
        {"activeDeadlineSeconds": None},
        {"resources": None},
        {"resources": {"shm": None}},
        {"nodes": None},
        {"networkPolicy": {"storagePorts": [0]}},
        {"networkPolicy": {"storageCidrs": ["10.0.0.0"]}},
        {"queue": "a b"},
        {"kubeVersion": "latest"},
        {"env": [{"name": "A", "value": 1}]},
        {"podLabels": {"a": 1}},
        {"run": {"fit": {"epochs": 0}}},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused(load, change):
    assert "specifications of the schema" in refusal(values(change))
    if change != {"nodes": "2"}:
        # kfit takes a number in quotes for the number.
        with pytest.raises(ConfigError):
            load(values(change))


def test_faults_are_said_with_their_lines(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB, sort_keys=False) + "nods: 2\nresources:\n  gpus: many\n")
    with pytest.raises(ConfigError) as caught:
        JobFile.load(path)
    lines = path.read_text().splitlines()
    assert f"{path}:{lines.index('nods: 2') + 1}: nods: unknown key; did you mean 'nodes'?" in str(caught.value)
    assert f"{path}:{lines.index('  gpus: many') + 1}: resources.gpus: 'many' (text)" in str(caught.value)


def test_set_overrides_a_key_of_the_chart(load):
    assert load(JOB, "nodes=2,resources.gpus=4").resources.gpus == 4


def test_the_schema_is_one_that_helm_3_reads_too():
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate({**DEFAULTS, **values(image=DEFAULTS["image"] | JOB["image"])})


def test_a_chart_that_depends_on_this_one_may_hand_it_globals():
    assert render(values({"global": {"registry": "x"}})).name == render(JOB).name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"affinity": {"nodeAffinty": {}}}, "nodeAffinty"),
        ({"affinity": {"nodeAffinity": {"required": {}}}}, "required"),
        ({"tolerations": [{"keys": "gpu"}]}, "keys"),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "x", "min": 1}]},
            "min",
        ),
        ({"volumes": [{"name": "a", "emptydir": {}}]}, "emptydir"),
        ({"initContainers": [{"name": "a", "img": "b"}]}, "img"),
        ({"podSecurityContext": {"runAsUsr": 1}}, "runAsUsr"),
        ({"securityContext": {"capabilities": {"adds": ["IPC_LOCK"]}}}, "adds"),
        ({"lifecycle": {"preStop": {"execute": {}}}}, "execute"),
        ({"dnsConfig": {"nameserver": ["10.0.0.1"]}}, "nameserver"),
        ({"hostAliases": [{"ip": "10.0.0.1", "hosts": ["a"]}]}, "hosts"),
        ({"networkPolicy": {"extraEgress": [{"port": 80}]}}, "port"),
        ({"podFailurePolicyRules": [{"action": "FailJob", "onExitCode": {}}]}, "onExitCode"),
        ({"env": [{"name": "A", "valueFrom": {"secretRef": {}}}]}, "secretRef"),
    ],
    ids=lambda c: c if isinstance(c, str) else "",
)
def test_a_mistyped_key_of_a_kubernetes_type_is_refused_by_name(change, named):
    assert re.search(rf"dditional propert\w+ '?{named}'? (is )?not allowed", refusal(values(change)))


@pytest.mark.parametrize("queue", ["a", {"name": "a"}, "", None], ids=str)
def test_helm_warns_of_no_form_of_a_queue_and_one_meaning_has_one_name(queue):
    done = helm(
        "template", "x", str(CHART), "-f", "-", "--kube-version", "1.34", stdin=yaml.safe_dump(values(queue=queue))
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert render(values(queue=queue)).name == render(values(queue="a" if queue else "")).name


def test_a_quantity_of_a_volume_may_be_a_number():
    volume = {"name": "scratch", "emptyDir": {"sizeLimit": 1073741824}}
    assert volume in render(values(volumes=[volume])).pod["volumes"]
