"""Values that become names, labels, annotations and the like of Kubernetes: one mechanism refuses wrong ones.

What is right was taken from the API server's validation (apimachinery's `validation`, core's, batch's).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from k8s.chart.values import JobFile
from tests.chart.charts import CHART, helm, refusal, values
from trainer.errors import ConfigError

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
LONG = "a" * 64
LABELS = (
    {"bad key!": "x"},
    {"a": "b c"},
    {"a": LONG},
    {LONG: "x"},
    {"Team.io/a": "x"},
    {"/a": "x"},
    {"a/": "x"},
    {"": "x"},
)
ANNOTATIONS = ({"bad key!": "x"}, {"a/b/c": "x"}, {LONG: "x"}, {"-a": "x"})
NAMES = ("team_a", "Team", "-a", "a.", "a b", "ü", LONG * 4)
PARTS = ("team_a", "a.b", "A", "a-", "a" * 64)
KEYS = ("bad key!", "a/b/c", "-a", LONG)


def at(*path: str | int) -> Any:
    """Makes values that differ from a job at one place: a number stands for a list of one."""

    def made(value: Any) -> dict[str, Any]:
        for key in reversed(path):
            value = [value] if isinstance(key, int) else {key: value}
        return value

    return made


def beside(path: tuple[str | int, ...], key: str, others: dict[str, Any]) -> Any:
    """The same for a key of a mapping that has other keys, too."""
    return lambda value: at(*path)({**others, key: value})


#: Where, what makes values of it, and wrong ones.
WRONG: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("name", at("name"), ("Team", "1st", "a_b", "a.b", "a-")),
    ("fullnameOverride", at("fullnameOverride"), ("Team", "1st", "a_b")),
    (
        "image.repository",
        at("image", "repository"),
        ("https://r.example/a", "r.example/A", "r.example/a:1", "a b", "/a"),
    ),
    ("image.tag", at("image", "tag"), (":1", "-1", "a b", "a" * 129)),
    ("resources.gpuResource", at("resources", "gpuResource"), ("gpu", "nvidia.com/", "nvidia com/gpu")),
    ("resources.extra", at("resources", "extra"), ({"rdma": 1}, {"rdma/a b": 1}, {"hugepages": 1})),
    ("resources.claims[0].name", beside(("resources", "claims", 0), "name", {"deviceClassName": "a"}), PARTS),
    *(
        (f"resources.claims[0].{key}", beside(("resources", "claims", 0), key, {"name": "a"}), NAMES)
        for key in ("deviceClassName", "resourceClaimTemplateName", "resourceClaimName")
    ),
    ("schedule.cron", at("schedule", "cron"), ("60 2 * * *", "0 24 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 7")),
    ("schedule.timeZone", at("schedule", "timeZone"), ("", "a b", "+1")),
    ("queue", at("queue"), ("team_a", "Team", "a b", LONG)),
    ("queue.name", at("queue", "name"), ("team_a", "Team", LONG)),
    ("queue.priority", beside(("queue",), "priority", {"name": "a"}), ("high_priority", "High")),
    *(
        (f"queue.topology.{key}", beside(("queue",), "topology", {"name": "a"}), tuple({key: wrong} for wrong in KEYS))
        for key in ("required", "preferred")
    ),
    ("runId", at("runId"), ("a b", "-a", LONG)),
    ("managedBy", at("managedBy"), ("kueue", "kueue.x-k8s.io/", "A.io/b")),
    *((key, at(key), NAMES) for key in ("priorityClassName", "runtimeClassName", "schedulerName")),
    *((key, at(key), LABELS) for key in ("nodeSelector", "commonLabels", "jobLabels", "podLabels")),
    *((key, at(key), ANNOTATIONS) for key in ("commonAnnotations", "jobAnnotations", "podAnnotations")),
    ("serviceAccount.name", at("serviceAccount", "name"), NAMES),
    ("serviceAccount.annotations", at("serviceAccount", "annotations"), ANNOTATIONS),
    ("imagePullSecrets[0].name", at("imagePullSecrets", 0, "name"), ("", *NAMES)),
    ("env[0].name", at("env", 0, "name"), ("", "1A", "A B", "A=")),
    ("envFrom[0].prefix", beside(("envFrom", 0), "prefix", {"secretRef": {"name": "a"}}), ("1A", "A B")),
    ("envFrom[0].secretRef.name", at("envFrom", 0, "secretRef", "name"), ("", *NAMES)),
    ("envFrom[0].configMapRef.name", at("envFrom", 0, "configMapRef", "name"), ("", *NAMES)),
    ("volumeMounts[0].name", beside(("volumeMounts", 0), "name", {"mountPath": "/a"}), PARTS),
    ("image.digest", at("image", "digest"), ("abc", "sha256:1")),
    ("kubeVersion", at("kubeVersion"), ("latest", "2.1")),
    ("volumeMounts[0].mountPath", beside(("volumeMounts", 0), "mountPath", {"name": "a"}), ("a", "/a:b")),
    ("networkPolicy.storageCidrs", at("networkPolicy", "storageCidrs", 0), ("10.0.0.0", "300.0.0.0/8", "10.0.0.0/33")),
    ("alerts.labels", at("alerts", "labels"), LABELS),
    ("dashboard.labels", at("dashboard", "labels"), LABELS),
    ("dashboard.annotations", at("dashboard", "annotations"), ANNOTATIONS),
    ("extraObjects[0]", at("extraObjects", 0), ({"kind": "Secret"},)),
]
TERM = {"labelSelector": {}}
#: The same inside types of Kubernetes, of which kfit leaves the check to helm.
WRONG_INSIDE: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("tolerations[0].key", beside(("tolerations", 0), "key", {"operator": "Exists"}), KEYS),
    ("tolerations[0].value", beside(("tolerations", 0), "value", {"key": "a"}), ("b c", LONG)),
    ("tolerations[0].operator", beside(("tolerations", 0), "operator", {"key": "a"}), ("In", "exists")),
    ("tolerations[0].effect", beside(("tolerations", 0), "effect", {"key": "a"}), ("NoSchedul",)),
    (
        "affinity.nodeAffinity",
        at(
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
            0,
            "matchExpressions",
            0,
        ),
        ({"key": "bad key!", "operator": "Exists"}, {"key": "a", "operator": "Equals"}),
    ),
    (
        "affinity.podAffinity",
        at("affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0),
        (
            {**TERM, "topologyKey": "bad key!"},
            {"topologyKey": "a", "labelSelector": {"matchLabels": {"bad key!": "x"}}},
            {**TERM, "topologyKey": "a", "namespaces": ["A"]},
        ),
    ),
    (
        "topologySpreadConstraints[0]",
        lambda change: at("topologySpreadConstraints", 0)(
            {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", **change}
        ),
        ({"topologyKey": "bad key!"}, {"whenUnsatisfiable": "Never"}, {"labelSelector": {"matchLabels": {"a": "b c"}}}),
    ),
    ("volumes[0].name", beside(("volumes", 0), "name", {"emptyDir": {}}), PARTS),
    (
        "volumes[0]",
        lambda source: at("volumes", 0)({"name": "a", **source}),
        (
            {"secret": {"secretName": "a_b"}},
            {"configMap": {"name": "A"}},
            {"persistentVolumeClaim": {"claimName": "a_b"}},
            {"projected": {"sources": [{"secret": {"name": "a_b"}}]}},
            {"csi": {"driver": "a.b", "nodePublishSecretRef": {"name": "a_b"}}},
            {"emptyDir": {"medium": "memory"}},
            {"emptyDir": {"sizeLimit": "1 GB"}},
        ),
    ),
    (
        "env[0].valueFrom",
        beside(("env", 0), "valueFrom", {"name": "A"}),
        ({}, {"secretKeyRef": {"name": "a_b", "key": "k"}}, {"configMapKeyRef": {"name": "a", "key": "k k"}}),
    ),
    (
        "initContainers[0]",
        lambda change: at("initContainers", 0)({"name": "a", "image": "b", **change}),
        (
            {"name": "a_b"},
            {"image": None},
            {"restartPolicy": "always"},
            {"imagePullPolicy": "Sometimes"},
            {"env": [{"name": "1 A"}]},
            {"volumeMounts": [{"name": "a.b", "mountPath": "/a"}]},
            {"resources": {"limits": {"cpu": "four"}}},
        ),
    ),
    ("hostAliases[0].ip", beside(("hostAliases", 0), "ip", {"hostnames": ["a"]}), ("localhost", "10.0.0")),
    ("dnsConfig.nameservers", at("dnsConfig", "nameservers", 0), ("dns.example",)),
    (
        "networkPolicy.extraEgress[0]",
        at("networkPolicy", "extraEgress", 0),
        (
            {"to": [{"podSelector": {"matchLabels": {"bad key!": "x"}}}]},
            {"to": [{"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]},
            {"to": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
            {"ports": [{"port": 1, "protocol": "tcp"}]},
        ),
    ),
    (
        "podFailurePolicyRules[0]",
        at("podFailurePolicyRules", 0),
        (
            {"action": "FailJob"},
            {"action": "FailIndex", "onPodConditions": []},
            {"action": "Count", "onExitCodes": {"operator": "Equals", "values": [3]}},
        ),
    ),
    (
        "lifecycle",
        at("lifecycle"),
        ({"preStop": {}}, {"preStop": {"sleep": {"seconds": 1}, "exec": {"command": ["a"]}}}),
    ),
    ("hostAliases[0]", at("hostAliases", 0), ({"hostnames": ["a"]}, {"ip": "10.0.0.1", "hostnames": ["a_b"]})),
    ("volumes[0]", at("volumes", 0), ({"name": "a", "emptyDir": {}, "hostPath": {"path": "/a"}},)),
    ("podSecurityContext", at("podSecurityContext"), ({"seccompProfile": {"type": "runtimeDefault"}},)),
]
RIGHT: list[dict[str, Any]] = [
    {"image": {"repository": "localhost:5000/team-a/trainer__x", "tag": "V1_2.3-rc"}},
    {"image": {"repository": "trainer"}},
    {"image": {"repository": "[fd00::1]:5000/a/b.c/d"}},
    {"resources": {"extra": {"rdma/hca_shared": 1, "hugepages-2Mi": "1Gi"}, "gpuResource": "nvidia.com/mig-1g.5gb"}},
    {"schedule": {"cron": "*/5 0-6,22 1,15 jan-Mar MON-fri/2", "timeZone": "America/Argentina/Buenos_Aires"}},
    {"schedule": {"cron": "@daily", "timeZone": "Etc/GMT+1"}},
    {"schedule": {"cron": "00 02 ? * 0"}},
    {"queue": {"name": "team-a.b", "topology": {"required": "cloud.provider.com/topology_Rack"}}},
    {"managedBy": "kueue.x-k8s.io/multikueue"},
    {"nodeSelector": {"kubernetes.io/os": "linux", "A_b.c": "", "x": "1.a-B_c"}},
    {"commonAnnotations": {"Example.ORG/a.b_c-D": "any text, ü, of\nany length" * 9, "a": ""}},
    {"serviceAccount": {"create": True, "name": "a.b", "annotations": {"eks.amazonaws.com/role-arn": "arn:a:b"}}},
    {"networkPolicy": {"storageCidrs": ["10.0.0.0/8", "fd00::/8", "::/0", "0.0.0.0/0"]}},
    {"tolerations": [{"operator": "Exists"}, {"key": "a/b", "value": "", "effect": "NoExecute"}]},
    {"volumes": [{"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "1e3"}}]},
    {"hostAliases": [{"ip": "fd00::1", "hostnames": ["a.b"]}]},
    {"dnsConfig": {"nameservers": ["10.0.0.1"]}},
    {"imagePullSecrets": [{"name": "a.b-1"}]},
    {"priorityClassName": "system-node-critical", "runtimeClassName": "nvidia", "runId": "Flights_1.a"},
]


def cases(table: list[tuple[str, Any, tuple[Any, ...]]]) -> list[Any]:
    return [
        pytest.param(place, made(wrong), id=f"{place}={wrong}"[:60]) for place, made, all_ in table for wrong in all_
    ]


def faults(given: dict[str, Any]) -> list[str]:
    """Where the schema refuses values that helm has merged into the chart's own."""
    merged = {**DEFAULTS, **given} | {
        key: {**DEFAULTS[key], **value} for key, value in given.items() if isinstance(DEFAULTS.get(key), dict)
    }
    return [error.json_path for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(merged)]


@pytest.mark.parametrize(("place", "change"), cases(WRONG))
def test_a_wrong_name_is_refused_with_its_place_by_kfit_and_by_the_schema(tmp_path, place, change):
    given = values(change)
    assert faults(given)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ConfigError) as refused:
        JobFile.load(tmp_path / "job.yaml")
    assert "faults" not in str(refused.value)
    assert place in str(refused.value)


@pytest.mark.parametrize(("place", "change"), cases(WRONG_INSIDE))
def test_a_wrong_name_inside_a_type_of_kubernetes_is_refused_by_the_schema(place, change):
    assert faults(values(change))


@pytest.mark.parametrize("change", RIGHT, ids=str)
def test_what_kubernetes_takes_is_taken(tmp_path, change):
    given = values(change)
    assert faults(given) == []
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(given))
    JobFile.load(tmp_path / "job.yaml")


def test_helm_names_place_and_value_and_kfit_the_remedy(tmp_path):
    for change, by_helm, by_kfit in (
        (
            {"commonAnnotations": {"bad key!": "x"}},
            "at '/commonAnnotations': additional properties 'bad key!' not allowed",
            "commonAnnotations.bad key!: 'bad key!' is not the key of an annotation: use letters, digits, -, _ and .",
        ),
        (
            {"queue": {"name": "team_a"}},
            "at '/queue/name': 'team_a' does not match pattern",
            "queue.name: 'team_a' is not the name of a queue: use lower-case letters, digits, - and .",
        ),
        (
            {"schedule": {"cron": "0 2 * * 7"}},
            "at '/schedule/cron': '0 2 * * 7' does not match pattern",
            "weekday (0-6 from Sunday, sun)",
        ),
    ):
        assert by_helm in refusal(values(change))
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(values(change)))
        with pytest.raises(ConfigError) as refused:
            JobFile.load(tmp_path / "job.yaml")
        assert by_kfit in str(refused.value)


def test_a_time_zone_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(values(schedule={"cron": "@daily", "timeZone": "Europe/Berln"})))
    with pytest.raises(ConfigError, match="there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'"):
        JobFile.load(tmp_path / "job.yaml")


def test_every_text_of_the_chart_is_checked_or_is_free():
    """A new value that becomes a name of Kubernetes needs a rule, or stands here."""
    free = {
        "again", "args[]", "command[]", "env[].value", "resources.claims[].selectors[]", "volumeMounts[].subPath",
        "commonAnnotations.*", "jobAnnotations.*", "podAnnotations.*", "serviceAccount.annotations.*",
        "dashboard.annotations.*",
    }  # fmt: skip
    own = {key: part for key, part in SCHEMA["properties"].items() if key not in ("run", "global")}
    assert {place for key, part in own.items() for place in texts(part, key)} == free


def texts(part: dict[str, Any], place: str) -> Iterator[str]:
    """Places of texts that no pattern and no list of words limits; types of Kubernetes are left out."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        yield from () if name.startswith("kubernetes.") else texts(SCHEMA["$defs"][name], place)
    if part.get("type") == "string" and not part.keys() & {"pattern", "enum", "const"}:
        yield place
    for below, step in ((part.get("properties", {}), "."), (part.get("patternProperties", {}), "")):
        for key, one in below.items():
            yield from texts(one, f"{place}.{key}" if step else f"{place}.*")
    for below in (*part.get("anyOf", []), *part.get("allOf", [])):
        yield from texts(below, place)
    for key, step in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(part.get(key), dict):
            yield from texts(part[key], place + step)


def test_the_narrower_types_are_those_of_kubernetes():
    """A key that the client's models do not have would be checked by nobody."""
    from k8s.chart import kubernetes_types

    for table in (kubernetes_types._NAMES, kubernetes_types._WORDS, kubernetes_types._PARTS):
        for model, keys in table.items():
            known = SCHEMA["$defs"][f"kubernetes.{model}"]["properties"]
            for key in keys:
                assert known[key].keys() & {"pattern", "enum", "patternProperties", "items"}, (model, key)


def test_the_chart_takes_all_that_is_right_together():
    change = {key: value for one in RIGHT for key, value in one.items() if key not in ("managedBy", "runId")}
    done = helm("template", "x", str(CHART), "-f", "-", "--kube-version", "1.34", stdin=yaml.safe_dump(values(change)))
    assert done.returncode == 0, done.stderr
