"""templates/job.yaml and the spec it shares with the CronJob."""

from __future__ import annotations

import pytest

from tests.chart.charts import JOB, NIGHTLY, render, values
from trainer.errors import EXIT_CODES


@pytest.fixture(scope="module")
def plain():
    return render(JOB)


def test_a_job_file_is_one_job(plain):
    assert sorted(plain.objects) == ["Job", "NetworkPolicy"]
    assert {k: v for k, v in plain.job.items() if k not in ("template", "podFailurePolicy")} == {
        "parallelism": 1,
        "completions": 1,
        "completionMode": "NonIndexed",
        "backoffLimit": 2,
        "activeDeadlineSeconds": 86400,
        "ttlSecondsAfterFinished": 86400,
    }


def test_the_policy_is_the_table_of_exit_codes(plain):
    rules = plain.job["podFailurePolicy"]["rules"]
    by_codes = {r["action"]: r["onExitCodes"] for r in rules if "onExitCodes" in r}
    for action in ("FailJob", "Ignore"):
        codes = [int(row.code) for row in EXIT_CODES if row.policy == action]
        assert by_codes[action] == {"containerName": "trainer", "operator": "In", "values": codes}
    # Count is what Kubernetes does without a rule.
    assert {row.policy for row in EXIT_CODES} == {*by_codes, "Count", None}
    assert plain.pod["restartPolicy"] == "Never"


def test_a_disruption_counts_for_nothing_unless_the_trainer_said_more(plain):
    rules = plain.job["podFailurePolicy"]["rules"]
    assert rules[-1] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert rules[0]["action"] == "FailJob"


def test_the_pod_is_restricted(plain):
    assert plain.pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert plain.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert plain.pod["automountServiceAccountToken"] is False
    assert plain.pod["enableServiceLinks"] is False


JOB_FILE = {"apiVersion": "v1", "fieldPath": "metadata.annotations['kfit.dev/job-file']"}


def test_the_trainer_can_write_where_it_must_and_reads_its_file(plain):
    assert plain.pod["volumes"] == [
        {"name": "config", "downwardAPI": {"items": [{"path": "job.yaml", "fieldRef": JOB_FILE}]}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    assert plain.container["volumeMounts"] == [
        {"name": "config", "mountPath": "/etc/kfit", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    assert plain.container["args"] == ["fit", "/etc/kfit/job.yaml"]
    assert "command" not in plain.container
    assert plain.container["terminationMessagePolicy"] == "FallbackToLogsOnError"


JOB_NAME_LABEL = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}


def test_the_trainer_is_told_where_it_runs(plain):
    assert plain.env == {
        "KFIT_JOB": JOB_NAME_LABEL,
        "KFIT_RUN": JOB_NAME_LABEL,
        "KFIT_EVENTS": "1",
        "KFIT_GRACE_S": "120",
        "KFIT_NODES": "1",
        "KFIT_CACHE": "/tmp/kfit-cache",
        "HOME": "/tmp",
    }


def test_a_run_id_goes_on_with_that_run():
    assert render(values(runId="flights-0123abcd")).env["KFIT_RUN"] == "flights-0123abcd"


def test_a_date_is_told_where_one_is_set(plain):
    assert "KFIT_DATE" not in plain.env
    dated = render(values(podAnnotations={"kfit.dev/date": "2026-11-23"}))
    assert dated.env["KFIT_DATE"] == {"fieldRef": {"fieldPath": "metadata.annotations['kfit.dev/date']"}}
    assert dated.job["template"]["metadata"]["annotations"]["kfit.dev/date"] == "2026-11-23"


def test_requests_equal_limits():
    pod = render(values(resources={"gpus": 4, "cpu": 16, "memory": "64Gi", "shm": "8Gi"}))
    amounts = {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert pod.container["resources"] == {"requests": amounts, "limits": amounts}
    assert pod.pod["volumes"][2]["emptyDir"]["sizeLimit"] == "8Gi"


def test_gpus_go_by_the_name_the_nodes_give_them():
    pod = render(values(resources={"gpus": 1, "gpuResource": "amd.com/gpu"}))
    assert pod.container["resources"]["limits"]["amd.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in pod.container["resources"]["limits"]


def test_a_queue_holds_the_job_back_and_names_itself():
    queued = render(values(queue="team-a"))
    assert queued.objects["Job"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    # Kueue's webhook suspends it; what a GitOps controller wrote back would stop an admitted run.
    assert "suspend" not in queued.job
    nightly = render(values(NIGHTLY, queue="team-a")).objects["CronJob"]["spec"]["jobTemplate"]
    assert nightly["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


def test_a_queue_may_admit_fewer_nodes():
    elastic = render(values(queue="team-a", nodes=4, minNodes=2))
    notes = elastic.objects["Job"]["metadata"]["annotations"]
    assert notes["kueue.x-k8s.io/job-min-parallelism"] == "2"
    assert notes["kueue.x-k8s.io/job-completions-equal-parallelism"] == "true"
    assert (elastic.env["KFIT_NODES"], elastic.env["KFIT_MIN_NODES"]) == ("4", "2")
    whole = render(values(queue="team-a", nodes=4))
    assert "KFIT_MIN_NODES" not in whole.env
    assert not [key for key in whole.objects["Job"]["metadata"]["annotations"] if key.startswith("kueue")]


def test_suspend_holds_the_job_back(plain):
    assert render(values(suspend=True)).job["suspend"] is True


def test_times_and_tries_are_what_the_file_says():
    job = render(
        values(
            activeDeadlineSeconds=10_000_000,
            backoffLimit=0,
            ttlSecondsAfterFinished=0,
            terminationGracePeriodSeconds=30,
        )
    )
    assert job.job["activeDeadlineSeconds"] == 10_000_000
    assert job.job["backoffLimit"] == 0
    assert job.job["ttlSecondsAfterFinished"] == 0
    assert job.pod["terminationGracePeriodSeconds"] == 30
    assert job.env["KFIT_GRACE_S"] == "30"


def test_a_job_can_stay_for_ever_when_it_has_ended():
    assert "ttlSecondsAfterFinished" not in render(values(ttlSecondsAfterFinished=None)).job


PASSED_ON = {
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "imagePullSecrets": [{"name": "registry"}],
}


@pytest.mark.parametrize("key", PASSED_ON)
def test_a_pod_setting_reaches_the_pod_and_is_absent_else(plain, key):
    assert render(values({key: PASSED_ON[key]})).pod[key] == PASSED_ON[key]
    assert key not in plain.pod


def test_spread_is_over_this_jobs_pods_unless_it_says_so():
    theirs = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    own = {k: v for k, v in theirs.items() if k != "labelSelector"}
    selector = {"matchLabels": {"app": "other"}}
    job = render(values(topologySpreadConstraints=[own, {**theirs, "labelSelector": selector}]))
    assert [c["labelSelector"] for c in job.pod["topologySpreadConstraints"]] == [
        {"matchLabels": {"kfit.dev/job": job.name}},
        selector,
    ]


def test_environment_and_volumes_are_added_to_the_charts_own():
    job = render(
        values(
            env=[{"name": "AWS_ENDPOINT_URL", "value": "http://store:8333"}],
            envFrom=[{"secretRef": {"name": "store"}}],
            volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "lake", "readOnly": True}}],
            volumeMounts=[{"name": "data", "mountPath": "/data", "readOnly": True}],
        )
    )
    assert job.env["AWS_ENDPOINT_URL"] == "http://store:8333"
    assert job.container["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert job.pod["volumes"][3:] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "lake", "readOnly": True}}
    ]
    assert job.container["volumeMounts"][3:] == [{"name": "data", "mountPath": "/data", "readOnly": True}]


def test_labels_and_annotations_of_the_pod_are_added():
    job = render(values(podLabels={"team": "a"}, podAnnotations={"note": "x"}))
    metadata = job.job["template"]["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["annotations"]["note"] == "x"
    assert "team" not in job.objects["Job"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"tag": "1.0"}, "registry.example/trainer:1.0"),
        ({"tag": ""}, "registry.example/trainer:0.1.0"),
        ({"tag": "1.0", "digest": f"sha256:{'0' * 64}"}, f"registry.example/trainer:1.0@sha256:{'0' * 64}"),
        ({"tag": "", "digest": f"sha256:{'0' * 64}"}, f"registry.example/trainer@sha256:{'0' * 64}"),
    ],
)
def test_the_image_is_named_by_tag_or_digest(image, reference):
    assert render(values(image=image)).container["image"] == reference


def test_several_nodes_are_an_indexed_job_whose_pods_find_each_other():
    job = render(values(nodes=3), kube="1.34.0")
    assert {k: job.job[k] for k in ("parallelism", "completions", "completionMode", "podReplacementPolicy")} == {
        "parallelism": 3,
        "completions": 3,
        "completionMode": "Indexed",
        "podReplacementPolicy": "Failed",
    }
    assert job.pod["subdomain"] == job.env["KFIT_SERVICE"] == job.objects["Service"]["metadata"]["name"]
    assert job.env["KFIT_NODES"] == "3"
    uid = next(variable for variable in job.container["env"] if variable["name"] == "KFIT_JOB_UID")
    field = {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
    assert uid["valueFrom"]["fieldRef"] == field  # one Job's workers recognise each other by it
    assert "KFIT_JOB_UID" not in render(values(nodes=1)).env
    assert job.container["ports"] == [
        {"name": "grpc", "containerPort": 2222},
        {"name": "meeting", "containerPort": 2223},
    ]


@pytest.mark.parametrize(
    ("kube", "override", "there"),
    [("1.33.5", "", False), ("1.34.0", "", True), ("1.33.5", "1.35", True), ("1.37.0", "v1.33.2-gke.7", False)],
)
def test_what_is_newer_than_the_cluster_is_left_out(kube, override, there):
    assert ("podReplacementPolicy" in render(values(nodes=2, kubeVersion=override), kube=kube).job) is there
