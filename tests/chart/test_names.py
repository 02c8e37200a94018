"""templates/_names.tpl: a Job's name is its values'; labels find what belongs together."""

from __future__ import annotations

import pytest
import yaml

from tests.chart.charts import JOB, NIGHTLY, render, values

LABELS = {
    "app.kubernetes.io/name": "kfit",
    "app.kubernetes.io/instance": "flights",
    "app.kubernetes.io/part-of": "kfit",
    "app.kubernetes.io/managed-by": "Helm",
    "app.kubernetes.io/version": "0.1.0",
    "helm.sh/chart": "training-job-0.1.0",
}


def test_same_values_twice_are_the_same_bytes():
    assert render(JOB).text == render(JOB).text


def test_the_order_of_keys_does_not_matter():
    assert render(dict(reversed(JOB.items()))).text == render(JOB).text


def test_a_default_that_is_written_out_changes_nothing():
    assert render(values(nodes=1, resources={"gpus": 0}, queue="")).text == render(JOB).text


def test_the_release_and_the_clusters_version_change_no_name():
    assert render(JOB, "--namespace", "ml", kube="1.37.0").text == render(JOB, kube="1.31.0").text


@pytest.mark.parametrize(
    "change",
    [
        {"run": {"fit": {"epochs": 3}}},
        {"nodes": 2},
        {"image": {"tag": "1.1"}},
        {"resources": {"gpus": 1}},
        {"env": [{"name": "A", "value": "1"}]},
        {"again": "x"},
        {"runId": "x"},
        {"backoffLimit": 3},
        {"podLabels": {"team": "a"}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_changed_value_is_another_job(change):
    assert render(values(change)).name != render(JOB).name


def test_another_wheel_under_the_same_uri_is_another_job():
    uri = "s3://models/code/shop-1.4.0-py3-none-any.whl"
    names = [render(values(run={"code": {"from": uri, "sha256": digit * 64}})).name for digit in "001"]
    assert names[0] == names[1] != names[2]


def test_a_jobs_name_is_that_of_the_file_and_a_hash_which_the_job_holds_in_full():
    job = render(JOB).objects["Job"]["metadata"]
    digest = job["annotations"]["kfit.dev/values-hash"]
    assert len(digest) == 64
    assert job["name"] == f"flights-{digest[:8]}"
    assert job["annotations"]["kfit.dev/output-uri"] == "s3://models/flights"


def test_a_scheduled_file_shares_nothing_with_the_same_file_by_hand():
    by_hand = render(JOB).objects["Job"]["metadata"]["annotations"]["kfit.dev/values-hash"]
    nightly = render(values(NIGHTLY)).objects["CronJob"]["spec"]["jobTemplate"]["metadata"]["annotations"]
    assert nightly["kfit.dev/values-hash"] != by_hand


@pytest.mark.parametrize("schedule", [{}, NIGHTLY], ids=["job", "cronjob"])
def test_every_object_and_pod_has_the_labels(schedule):
    job = render(values(schedule, nodes=2))
    labels = LABELS | ({"kfit.dev/cronjob": "flights"} if schedule else {"kfit.dev/job": job.name})
    assert {kind: o["metadata"]["labels"] for kind, o in job.objects.items()} == dict.fromkeys(job.objects, labels)
    assert job.job["template"]["metadata"]["labels"] == labels


CLASH = {
    "commonLabels": {"team": "a"},
    "jobLabels": {"team": "b"},
    "podLabels": {"team": "c"},
    "commonAnnotations": {"note": "d"},
    "jobAnnotations": {"note": "e"},
    "serviceAccount": {"create": True, "annotations": {"note": "f"}},
    "alerts": {"enabled": True, "labels": {"team": "g"}},
    "dashboard": {"enabled": True, "labels": {"team": "h"}, "annotations": {"note": "i"}},
}


def test_the_narrower_label_or_annotation_wins_and_no_key_stands_twice():
    job = render(values(CLASH))
    metadata = {kind: o["metadata"] for kind, o in job.objects.items()}
    assert {kind: m["labels"]["team"] for kind, m in metadata.items()} == {
        "NetworkPolicy": "a", "ServiceAccount": "a", "Job": "b", "PrometheusRule": "g", "ConfigMap": "h",
    }  # fmt: skip
    assert {kind: m["annotations"]["note"] for kind, m in metadata.items()} == {
        "NetworkPolicy": "d", "ServiceAccount": "f", "Job": "e", "PrometheusRule": "d", "ConfigMap": "i",
    }  # fmt: skip
    assert job.job["template"]["metadata"]["labels"]["team"] == "c"
    list(yaml.load_all(job.text, Loader=OnceLoader))


class OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, as kubectl does."""


def _once(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(set(keys)) == len(keys), keys
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


OnceLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _once)


def test_annotations_of_all_objects_change_in_place_and_are_not_of_pods():
    note = {"argocd.argoproj.io/sync-wave": "1"}
    extra = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}]
    more = {"nodes": 2, "extraObjects": extra, "podDisruptionBudget": {"enabled": True}, "alerts": {"enabled": True}}
    for schedule in ({}, NIGHTLY):
        job = render(values(schedule, more, commonAnnotations=note))
        for made in job.objects.values():
            assert note.items() <= made["metadata"]["annotations"].items()
        assert not note.keys() & job.job["template"]["metadata"]["annotations"].keys()
        assert job.name == render(values(schedule, more)).name
    assert not note.keys() & job.objects["CronJob"]["spec"]["jobTemplate"]["metadata"]["annotations"].keys()


def test_no_credential_of_the_environment_is_rendered():
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA-in-the-environment",
        "AWS_SECRET_ACCESS_KEY": "secret-in-the-environment",
        "AWS_SESSION_TOKEN": "token-in-the-environment",
        "GOOGLE_APPLICATION_CREDENTIALS": "/file-in-the-environment",
        "HELM_KUBETOKEN": "kubetoken-in-the-environment",
    }
    job = render(values(envFrom=[{"secretRef": {"name": "store"}}]), env=secrets)
    assert "in-the-environment" not in job.text
    assert "kind: Secret" not in job.text
    assert job.text == render(values(envFrom=[{"secretRef": {"name": "store"}}])).text
