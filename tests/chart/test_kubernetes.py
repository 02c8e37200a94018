"""Every kind of job is valid to every Kubernetes from 1.31 on, by its own schemas."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from k8s.chart.values import JobFile
from tests.chart.charts import JOB, NIGHTLY, ROOT, render, values

VERSIONS = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
EVERYTHING = {
    "nodes": 2,
    "resources": {
        "gpus": 4,
        "ephemeralStorage": "20Gi",
        "extra": {"rdma/hca": 1},
        "requests": {"cpu": 1},
        "tmp": {"size": "2Gi", "medium": "Memory"},
    },
    "queue": {"name": "team-a", "priority": "high", "topology": {"required": "cloud.provider.com/rack"}},
    "podDisruptionBudget": {"enabled": True},
    "podFailurePolicyRules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}],
    "initContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}],
    "command": ["trainer"],
    "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    "hostNetwork": True,
    "dnsPolicy": "ClusterFirstWithHostNet",
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["store"]}],
    "schedulerName": "volcano",
    "preemptionPolicy": "Never",
    "commonLabels": {"owner": "ml"},
    "commonAnnotations": {"note": "x"},
    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
    "podSecurityContext": {"supplementalGroups": [5]},
    "args": ["fit", "/data/job.yaml"],
    "livenessProbe": {"enabled": True},
    "extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "more"}, "stringData": {"a": "b"}}],
    "dashboard": {"enabled": True},
    "managedBy": "",
    "minNodes": 1,
    "backoffLimit": 6,
    "activeDeadlineSeconds": 3600,
    "ttlSecondsAfterFinished": 60,
    "terminationGracePeriodSeconds": 30,
    "fullnameOverride": "other",
    "again": "x",
    "jobLabels": {"cost": "a"},
    "jobAnnotations": {"note": "x"},
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
            }
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "serviceAccount": {"create": True, "annotations": {"a": "b"}},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    "envFrom": [{"secretRef": {"name": "store"}}, {"prefix": "X_", "configMapRef": {"name": "c", "optional": True}}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "lake"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "a", "readOnly": True}],
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "x"},
    "networkPolicy": {
        "identity": "gke-workload-identity",
        "storageCidrs": ["10.0.0.0/8"],
        "extraEgress": [{"ports": [{"port": 80}]}],
    },
}
CLAIMS = {"resources": {"claims": [{"name": "gpu", "deviceClassName": "gpu.nvidia.com", "selectors": ["true"]}]}}
#: Shown by tests of their own: they exclude others, or change no manifest that Kubernetes' schemas describe.
ELSEWHERE = {"name", "run", "image", "schedule", "suspend", "runId", "alerts", "enabled", "kubeVersion"}
JOBS = {
    "plain": JOB,
    "everything": values(EVERYTHING),
    "nightly": values(NIGHTLY),
    "nightly, everything": values(NIGHTLY, EVERYTHING),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(version, job):
    for manifest in render(JOBS[job], kube=version).objects.values():
        kubernetes_validate.validate(manifest, f"{version}.0", strict=True)


@pytest.mark.parametrize("version", [v for v in VERSIONS if v >= "1.34"])
def test_claims_are_valid(version):
    objects = render(values(CLAIMS), kube=version).objects
    assert "ResourceClaimTemplate" in objects
    for manifest in objects.values():
        kubernetes_validate.validate(manifest, f"{version}.0", strict=True)


def test_everything_is_every_value():
    assert set(JobFile.model_fields) - set(EVERYTHING) == ELSEWHERE


def test_another_controller_is_valid():
    job = render(values(managedBy="kueue.x-k8s.io/multikueue")).objects["Job"]
    kubernetes_validate.validate(job, "1.34.0", strict=True)


EXAMPLES = sorted((ROOT / "examples").rglob("job.yaml"))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_example_is_valid(version):
    for path in EXAMPLES:
        example = {"name": "example", "image": {"repository": "registry.example/trainer"}}
        for manifest in render({**example, **yaml.safe_load(path.read_text())}, kube=version).objects.values():
            kubernetes_validate.validate(manifest, f"{version}.0", strict=True)


def test_the_newest_version_that_can_be_checked_is_checked():
    assert kubernetes_validate.latest_version().startswith(VERSIONS[-1])


def test_what_kubernetes_does_not_know_is_noticed():
    """The check above can fail."""
    job = render(JOB).objects["Job"]
    job["spec"]["paralelism"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34.0", strict=True)
