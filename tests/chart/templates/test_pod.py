"""templates/_pod.tpl: what the values add to a pod, and what they change of it."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.chart.charts import CHART, JOB, NIGHTLY, helm, render, values


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ({"hostNetwork": True}, "hostNetwork", True),
        ({"hostNetwork": True}, "dnsPolicy", "ClusterFirstWithHostNet"),
        ({"dnsPolicy": "Default"}, "dnsPolicy", "Default"),
        ({"dnsConfig": {"searches": ["a.b"]}}, "dnsConfig", {"searches": ["a.b"]}),
        ({"hostAliases": [{"ip": "10.0.0.1"}]}, "hostAliases", [{"ip": "10.0.0.1"}]),
        ({"schedulerName": "volcano"}, "schedulerName", "volcano"),
        ({"preemptionPolicy": "Never"}, "preemptionPolicy", "Never"),
        ({"initContainers": [{"name": "a", "image": "b"}]}, "initContainers", [{"name": "a", "image": "b"}]),
    ],
    ids=lambda c: c if isinstance(c, str) else "",
)
def test_a_value_of_the_pod_stands_in_its_spec(change, key, expected):
    assert key not in render(JOB).pod
    assert render(values(change)).pod[key] == expected


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ({"command": ["sh", "-c"]}, "command", ["sh", "-c"]),
        ({"args": ["check", "/etc/kfit/job.yaml"]}, "args", ["check", "/etc/kfit/job.yaml"]),
        ({"lifecycle": {"stopSignal": "SIGTERM"}}, "lifecycle", {"stopSignal": "SIGTERM"}),
    ],
    ids=lambda c: c if isinstance(c, str) else "",
)
def test_a_value_of_the_container_stands_in_it(change, key, expected):
    assert render(values(change)).container[key] == expected


def test_openshift_chooses_the_user_where_the_keys_are_null():
    chosen = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    assert render(values(podSecurityContext=chosen)).pod["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_a_capability_is_added_beside_those_that_are_dropped():
    container = render(values(securityContext={"capabilities": {"add": ["IPC_LOCK"]}})).container
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}


def test_more_resources_are_requested_and_limited():
    extra = {"rdma/hca": 1, "hugepages-2Mi": "1Gi"}
    container = render(values(resources={"ephemeralStorage": "20Gi", "extra": extra})).container
    for side in ("requests", "limits"):
        assert container["resources"][side] == {
            "cpu": "2",
            "memory": "4Gi",
            "ephemeral-storage": "20Gi",
            "rdma/hca": "1",
            "hugepages-2Mi": "1Gi",
        }


@pytest.mark.parametrize(("resources", "devices"), [({}, []), ({"gpus": 0}, []), ({"gpus": 2}, ["gpu"])], ids=str)
def test_a_pod_with_gpus_trains_on_them_or_not_at_all(resources, devices):
    env = render(values(resources=resources)).container["env"]
    assert [e["value"] for e in env if e["name"] == "KFIT_DEVICES"] == devices


def test_requests_may_stand_below_the_limits():
    container = render(values(resources={"cpu": 8, "requests": {"cpu": "500m"}})).container
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "4Gi"}
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "4Gi"}


def test_the_temporary_folder_has_a_size_and_a_kind():
    pod = render(values(resources={"tmp": {"size": "2Gi", "medium": "Memory"}}))
    assert pod.pod["volumes"][1] == {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi", "medium": "Memory"}}


def test_a_queue_has_a_priority_and_a_topology():
    queue = {"name": "team-a", "priority": "high", "topology": {"preferred": "cloud.provider.com/block"}}
    job = render(values(queue=queue))
    labels = job.objects["Job"]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team-a"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    notes = job.job["template"]["metadata"]["annotations"]
    del notes["kfit.dev/job-file"]
    assert notes == {"kueue.x-k8s.io/podset-preferred-topology": "cloud.provider.com/block"}


def test_labels_and_annotations_stand_where_their_names_say():
    given = values(commonLabels={"owner": "ml"}, jobLabels={"cost": "a"}, jobAnnotations={"note": "x"})
    for job in (render(given).objects["Job"], render(values(given, NIGHTLY)).objects["CronJob"]["spec"]["jobTemplate"]):
        assert {"owner": "ml", "cost": "a"}.items() <= job["metadata"]["labels"].items()
        assert job["metadata"]["annotations"]["note"] == "x"
        pod = job["spec"]["template"]["metadata"]
        assert pod["labels"]["owner"] == "ml"
        assert "cost" not in pod["labels"]
    assert render(given).objects["NetworkPolicy"]["metadata"]["labels"]["owner"] == "ml"


def test_more_rules_of_failure_come_after_the_charts():
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}
    rules = render(values(podFailurePolicyRules=[rule])).job["podFailurePolicy"]["rules"]
    assert rules[:-1] == render(JOB).job["podFailurePolicy"]["rules"]
    assert rules[-1] == rule


def test_another_controller_may_run_the_job():
    assert render(values(managedBy="kueue.x-k8s.io/multikueue")).job["managedBy"] == "kueue.x-k8s.io/multikueue"


def test_a_disruption_budget_holds_for_the_pods_of_the_job():
    budget = render(values(podDisruptionBudget={"enabled": True})).objects["PodDisruptionBudget"]
    # Not maxUnavailable: Kubernetes computes that for owners that can be scaled alone, and a Job is none.
    assert budget["spec"] == {
        "minAvailable": 1,
        "selector": {"matchLabels": {"kfit.dev/job": budget["metadata"]["name"]}},
    }
    pair = render(values(nodes=2, podDisruptionBudget={"enabled": True})).objects["PodDisruptionBudget"]
    assert pair["spec"]["minAvailable"] == 2
    assert budget["metadata"]["name"] == render(JOB).name  # it changes in place


def test_a_cloud_that_signs_pods_in_is_reached():
    def egress(identity):
        return render(values(networkPolicy={"identity": identity})).objects["NetworkPolicy"]["spec"]["egress"]

    for identity, cidr in (("eks-pod-identity", "169.254.170.23/32"), ("gke-workload-identity", "169.254.169.254/32")):
        assert egress(identity)[:-1][:2] == egress("")
        assert {"ipBlock": {"cidr": cidr}} in [to for rule in egress(identity)[2:] for to in rule["to"]]
    assert egress("azure-workload-identity")[2:] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def test_more_objects_are_rendered_as_templates():
    extra = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": '{{ include "kfit.name" . }}-more'}}
    assert render(values(extraObjects=[extra])).objects["Secret"]["metadata"]["name"] == "flights-more"
    assert render(values(extraObjects=[extra])).name == render(JOB).name


def test_more_objects_are_found_by_the_selector_of_all():
    extra = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": {"helm.sh/chart": "mine"}}}
    job = render(values(extraObjects=[extra]))
    labels = job.objects["Secret"]["metadata"]["labels"]
    assert labels["kfit.dev/job"] == job.name
    assert labels["helm.sh/chart"] == "mine"  # what the object says itself stays


def test_the_objects_may_have_another_name():
    assert render(values(fullnameOverride="other")).name.startswith("other-")
    assert render(values(NIGHTLY, fullnameOverride="other")).name == "other"


def test_nothing_is_made_where_it_is_not_enabled():
    done = helm("template", "x", str(CHART), "--set", "enabled=false", "--kube-version", "1.34")
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_liveness_probe_looks_at_the_age_of_the_last_step(tmp_path):
    assert "livenessProbe" not in render(values()).container
    job = render(values(livenessProbe={"enabled": True, "maxStepAgeSeconds": 30}))
    probe, heartbeat = job.container["livenessProbe"], job.env["KFIT_HEARTBEAT"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (60, 2)
    shell, option, line = probe["exec"]["command"]
    assert heartbeat in line
    file = tmp_path / "heartbeat"
    alive = lambda: subprocess.run([shell, option, line.replace(heartbeat, str(file))], check=False).returncode == 0  # noqa: E731
    assert alive()  # no step is expected yet
    for age_s, expected in ((0, True), (20, True), (60, False)):
        file.touch()
        os.utime(file, (time.time() - age_s,) * 2)
        assert alive() is expected
