"""templates/_check.tpl: combinations of values that cannot work are refused, with what mends them."""

from __future__ import annotations

import pytest

from tests.chart.charts import CHART, NIGHTLY, helm, refusal, render, values

ENTRY = {"name": "A", "value": "1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name is missing: `name: flights`"),
        ({"image": {"repository": ""}}, "image.repository is missing: `--set image.repository="),
        ({"kubeVersion": "1.30"}, "Kubernetes 1.30 is too old, 1.31 is needed"),
        ({**NIGHTLY, "runId": "x"}, "runId goes with a Job"),
        (
            {"terminationGracePeriodSeconds": 60, "activeDeadlineSeconds": 60},
            "terminationGracePeriodSeconds (60) must be less than activeDeadlineSeconds (60)",
        ),
        (
            {"run": {"data": {"filter": {"id": {"in": [1, -(2**60)]}}}}},
            "run.data.filter.id.in[1] is a whole number above 2^53",
        ),
        (
            {"run": {"data": {"train": [f"s3://lake/{n:0200}" for n in range(6000)]}}},
            "a Job carries at most 120000; name data by globs",
        ),
        ({"env": [{"name": "KFIT_RUN", "value": "x"}]}, "env: KFIT_RUN is set by the chart; remove it"),
        ({"env": [{"name": "HOME", "value": "x"}]}, "env: HOME is set by the chart; remove it"),
        ({"env": [ENTRY, ENTRY]}, "env: A stands twice; remove one"),
        (
            {"env": [{**ENTRY, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            "env: A has value and valueFrom; remove one",
        ),
        ({"envFrom": [{}]}, "envFrom[0]: give one of secretRef and configMapRef"),
        (
            {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]},
            "envFrom[0]: give one of secretRef and configMapRef",
        ),
        ({"podLabels": {"kfit.dev/job": "x"}}, "podLabels: kfit.dev/job is set by the chart"),
        ({"jobLabels": {"kueue.x-k8s.io/queue-name": "x"}}, "jobLabels: kueue.x-k8s.io/queue-name is set by the chart"),
        ({"commonLabels": {"helm.sh/chart": "x"}}, "commonLabels: helm.sh/chart is set by the chart"),
        (
            {"queue": {"name": "a", "priority": "b"}, "jobLabels": {"kueue.x-k8s.io/priority-class": "c"}},
            "jobLabels: kueue.x-k8s.io/priority-class is queue.priority; remove one",
        ),
        ({"podAnnotations": {"kfit.dev/job-file": "x"}}, "podAnnotations: kfit.dev/job-file is set by the chart"),
        ({"jobAnnotations": {"kfit.dev/values-hash": "x"}}, "jobAnnotations: kfit.dev/values-hash is set by the chart"),
        (
            {"initContainers": [{"name": "trainer", "image": "a"}]},
            "initContainers: trainer stands twice, or is the chart's own",
        ),
        ({"dnsPolicy": "None"}, "dnsPolicy None needs dnsConfig.nameservers; name one, or remove dnsPolicy"),
        (
            {"extraObjects": [{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}}]},
            "extraObjects[0]: a CronJob beside the chart's own; give it a job file, or a chart, of its own",
        ),
        ({"extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {}}]}, "metadata.name is missing"),
        ({"podAnnotations": {"kfit.dev/date": "today"}}, "kfit.dev/date is today; write the run's day like 2026-01-31"),
        ({"jobAnnotations": {"kfit.dev/placement": "x"}}, "jobAnnotations: kfit.dev/placement is set by the chart"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "tolerations[0]: operator Exists takes every value; remove value, or operator",
        ),
        ({"tolerations": [{"effect": "NoSchedule"}]}, "tolerations[0]: key is missing; name one, or"),
        (
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
            "tolerations[0]: tolerationSeconds goes with effect: NoExecute",
        ),
        (
            {"podFailurePolicyRules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3, 0]}}]},
            "podFailurePolicyRules[0]: exit code 0 is success, and In takes failures alone; remove it",
        ),
        ({"resources": {"cpu": 0}}, "resources.cpu is 0; give more than nothing"),
        ({"resources": {"memory": "0Gi"}}, "resources.memory is 0Gi; give more than nothing"),
        (
            {"resources": {"memory": "2Gi", "shm": "2048Mi"}},
            "resources.shm (2048Mi) counts as memory and must be less than resources.memory (2Gi)",
        ),
        (
            {"resources": {"cpu": 2, "requests": {"cpu": "2500m"}}},
            "resources.requests.cpu (2500m) is more than the limit, resources.cpu (2)",
        ),
        (
            {"resources": {"memory": "2Gi", "tmp": {"size": "1Gi", "medium": "Memory"}}},
            "resources.tmp.size (1Gi) count as memory and must be less than resources.memory (2Gi) together",
        ),
        (
            {"resources": {"ephemeralStorage": "5Gi", "tmp": {"size": "6Gi"}}},
            "resources.tmp.size (6Gi) is more than resources.ephemeralStorage (5Gi), of which /tmp is a part",
        ),
        (
            {"resources": {"ephemeralStorage": "5Gi", "requests": {"ephemeral-storage": "6Gi"}}},
            "resources.requests.ephemeral-storage (6Gi) is more than the limit, resources.ephemeralStorage (5Gi)",
        ),
        ({"resources": {"extra": {"memory": "1Gi"}}}, "resources.extra: memory is resources.memory; set that"),
        (
            {"resources": {"extra": {"nvidia.com/gpu": 1}}},
            "resources.extra: nvidia.com/gpu is resources.gpus; set that",
        ),
        (
            {"queue": {"priority": "high"}},
            "queue.name is missing: queue.priority and queue.topology go with a LocalQueue",
        ),
        (
            {"queue": {"name": "a", "topology": {"required": "rack", "preferred": "block"}}},
            "queue.topology: give one of required and preferred",
        ),
        ({"nodes": 4, "minNodes": 2}, "minNodes goes with a queue"),
        ({"nodes": 2, "minNodes": 2, "queue": "a"}, "minNodes (2) must be less than nodes (2)"),
        ({"queue": "a", "suspend": True}, "suspend goes without a queue: Kueue suspends the Job itself"),
        ({"managedBy": "kueue.x-k8s.io/multikueue", "kubeVersion": "1.31"}, "managedBy needs Kubernetes 1.32"),
        ({"volumes": [{"name": "tmp"}]}, "volumes: tmp is a volume of the chart; give yours another name"),
        ({"volumes": [{"name": "a"}, {"name": "a"}]}, "volumes: a stands twice; remove one"),
        ({"volumeMounts": [{"name": "a", "mountPath": "/a"}]}, "volumeMounts: no volume a; volumes has none"),
        (
            {"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a", "mountPath": "/tmp/"}]},
            "volumeMounts: /tmp/ is mounted by the chart; choose another path",
        ),
        (
            {"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a", "mountPath": "/a"}] * 2},
            "volumeMounts: /a stands twice; choose another path",
        ),
        (
            {"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b/../../c"}]},
            "volumeMounts: subPath b/../../c leads out of the volume; name a folder inside it",
        ),
        (
            {"resources": {"claims": [{"name": "gpu"}]}},
            "gpu needs one of deviceClassName, resourceClaimTemplateName and resourceClaimName",
        ),
        (
            {"resources": {"claims": [{"name": "gpu", "resourceClaimName": "a"}] * 2}},
            "resources.claims: gpu stands twice; remove one",
        ),
    ],
)
def test_it_is_refused(change, said):
    assert said in refusal(values(change))


def test_all_that_is_wrong_is_said_at_once():
    done = helm("template", "x", str(CHART), "--kube-version", "1.34")
    assert [line.strip() for line in done.stderr.splitlines()[:3]] == [
        "Error: execution error at (training-job/templates/job.yaml:1:28): name is missing: `name: flights`",
        "run is missing: the trainer's configuration, see docs/job-file.md",
        "image.repository is missing: `--set image.repository=registry.example/trainer`",
    ]


@pytest.mark.parametrize(
    ("nodes", "schedule", "most"),
    [(1, {}, 54), (2, {}, 52), (10, {}, 52), (11, {}, 51), (101, {}, 50), (1, NIGHTLY, 52), (2, NIGHTLY, 50)],
)
def test_a_name_leaves_room_for_what_kubernetes_appends(nodes, schedule, most):
    """An Indexed Job's pods are called <job>-<index>; the API refuses a Job whose last one has over 63."""
    fits = render(values(schedule, name="a" * most, nodes=nodes))
    suffix = len(f"-{nodes - 1}") if nodes > 1 else 0
    job = f"{fits.name}-12345678" if schedule else fits.name
    assert len(job) + suffix <= 63
    if most < 54:
        assert f"has {most + 1} characters; at most {most} go with a" in refusal(
            values(schedule, name="a" * (most + 1), nodes=nodes)
        )
    else:
        assert " 54\n" in refusal(values(name="a" * 55))


@pytest.mark.parametrize("key", ["notify.url", "metrics.pushgateway"])
def test_what_is_no_url_is_refused_and_not_shown(key):
    part, _, name = key.partition(".")
    told = refusal(values(run={part: {name: "ftp://me:s3cret@push"}}))
    assert f"run.{key} is no http or https URL" in told
    assert "s3cret" not in told
    assert "Job" in render(values(run={part: None})).objects
