"""Sending a job file's objects: once, all of them, and nobody else's."""

from __future__ import annotations

import copy
import itertools
from urllib.parse import urlsplit

import pytest

from k8s.actions.apply import Outcome, submit, taken_names
from k8s.errors import ClusterError, RefusedError
from tests.k8s.apiserver import Wrong, times

NAME = "train-1a2b3c4d"


def manifests(*, name=NAME, values="h1", ports=443):
    labels = {"app.kubernetes.io/part-of": "kfit", "app.kubernetes.io/instance": "train", "kfit.dev/job": name}
    meta = {"name": name, "labels": labels}
    return copy.deepcopy(
        [
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"clusterIP": "None"}},
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {"port": ports}},
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {**meta, "annotations": {"kfit.dev/values-hash": values}},
                "spec": {"template": {}},
            },
        ]
    )


def names(server):
    return sorted(path.rpartition("/namespaces/ml/")[2] for path in server.behind.objects)


ALL = [f"jobs/{NAME}", f"networkpolicies/{NAME}", f"services/{NAME}"]


def test_everything_is_made_and_the_job_owns_it(server, cluster):
    result = submit(cluster, manifests())
    assert (result.name, result.outcome) == (NAME, Outcome.CREATED)
    assert names(server) == ALL
    job = cluster.get("Job", NAME)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": NAME, "uid": job["metadata"]["uid"]}
    for kind in ("Service", "NetworkPolicy"):
        assert cluster.get(kind, NAME)["metadata"]["ownerReferences"] == [owner]


def test_the_same_file_twice_changes_nothing(server, cluster):
    submit(cluster, manifests())
    before = copy.deepcopy(server.behind.objects)
    result = submit(cluster, manifests())
    assert set(result.objects.values()) == {Outcome.UNCHANGED}
    assert server.behind.objects == before


def test_a_network_policy_changes_in_place(cluster):
    submit(cluster, manifests())
    result = submit(cluster, manifests(ports=9000))
    assert result.objects == {
        f"Service/{NAME}": Outcome.UNCHANGED,
        f"NetworkPolicy/{NAME}": Outcome.CHANGED,
        f"Job/{NAME}": Outcome.UNCHANGED,
    }
    assert len(cluster.get("NetworkPolicy", NAME)["metadata"]["ownerReferences"]) == 1


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy", "Job"])
def test_a_foreign_object_of_the_same_name_is_refused_and_nothing_touched(server, cluster, kind):
    foreign = next(m for m in manifests() if m["kind"] == kind)
    foreign["metadata"] = {"name": NAME, "labels": {"app": "theirs"}}
    cluster.create(foreign)
    before = copy.deepcopy(server.behind.objects)
    with pytest.raises(RefusedError, match="not this job's") as caught:
        submit(cluster, manifests())
    assert caught.value.where == f"{kind} {NAME}"
    assert server.behind.objects == before


def test_a_job_of_other_values_under_the_same_name_is_refused(server, cluster):
    cluster.create(manifests(values="other")[-1])
    with pytest.raises(RefusedError, match="with other values"):
        submit(cluster, manifests())
    assert names(server) == [f"jobs/{NAME}"]


def test_a_foreign_object_that_appears_in_between_leaves_nothing_of_ours(server, cluster):
    foreign = manifests()[-1]
    foreign["metadata"]["labels"] = {}

    def appears(method, path):
        if method == "POST" and "/jobs?" in path and not any("/jobs/" in p for p in server.behind.objects):
            server.behind.answer("POST", path, foreign)

    server.faults.append(appears)
    with pytest.raises(RefusedError, match="not this job"):
        submit(cluster, manifests())
    assert names(server) == [f"jobs/{NAME}"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("wrong", [Wrong(lost=True), Wrong(refused=True), Wrong(status=500), Wrong(status=429)])
@pytest.mark.parametrize("nth", range(3))
def test_a_fault_at_any_request_ends_in_one_whole_job(server, cluster, method, wrong, nth):
    seen = []

    def fault(asked, path):
        if asked != method:
            return None
        seen.append(path)
        return wrong if len(seen) == nth + 1 else None

    server.faults.append(fault)
    assert submit(cluster, manifests()).outcome is Outcome.CREATED
    assert names(server) == ALL
    assert all(
        cluster.get(kind, NAME)["metadata"]["ownerReferences"][0]["name"] == NAME
        for kind in ("Service", "NetworkPolicy")
    )


def test_the_job_comes_last_so_that_no_pod_starts_without_its_policy(server, cluster):
    submit(cluster, manifests())
    made = [urlsplit(path).path.rpartition("/")[2] for method, path in server.requests if method == "POST"]
    assert made == ["services", "networkpolicies", "jobs"]


@pytest.mark.parametrize("kind", ["jobs", "networkpolicies", "services"])
def test_what_a_launcher_that_died_half_way_left_is_completed(server, cluster, kind):
    server.faults.append(times(10_000, Wrong(status=503), "POST", f"/{kind}"))
    with pytest.raises(ClusterError):
        submit(cluster, manifests())
    assert f"jobs/{NAME}" not in names(server)
    server.faults.clear()
    submit(cluster, manifests())
    assert names(server) == ALL
    assert all(o["metadata"].get("ownerReferences") for o in server.behind.objects.values() if o["kind"] != "Job")


def with_account(name=NAME, annotations=None):
    labels = {"app.kubernetes.io/part-of": "kfit", "app.kubernetes.io/instance": "train"}
    meta = {"name": "train", "labels": labels, "annotations": annotations or {}}
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}, *manifests(name=name)]


def test_a_service_account_is_never_owned_so_it_stays_when_a_job_goes(server, cluster):
    submit(cluster, with_account("train-aaaaaaaa"))
    submit(cluster, with_account("train-bbbbbbbb"))
    assert "ownerReferences" not in cluster.get("ServiceAccount", "train")["metadata"]
    assert [m for m, path in server.requests if m == "PATCH" and "serviceaccounts" in path] == []


def test_a_service_account_of_a_helm_release_is_used_and_not_written(server, cluster):
    account = with_account(annotations={"role": "trainer"})[0]
    account["metadata"]["labels"] = {**account["metadata"]["labels"], "app.kubernetes.io/managed-by": "Helm"}
    cluster.create(account)
    before = copy.deepcopy(server.behind.objects)
    submit(cluster, with_account(annotations={"role": "trainer"}))
    assert {p: o for p, o in server.behind.objects.items() if p in before} == before
    with pytest.raises(RefusedError, match="belongs to a Helm release"):
        submit(cluster, with_account("train-bbbbbbbb", annotations={"role": "another"}))
    assert not any("bbbbbbbb" in path for path in server.behind.objects)


RULE = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PrometheusRule",
    "metadata": {
        "name": "train",
        "labels": {"app.kubernetes.io/part-of": "kfit", "app.kubernetes.io/instance": "train"},
    },
    "spec": {"groups": []},
}


def test_alert_rules_are_sent_and_owned(cluster):
    submit(cluster, [copy.deepcopy(RULE), *manifests()])
    assert cluster.get("PrometheusRule", "train")["metadata"]["ownerReferences"][0]["name"] == NAME


def test_a_cluster_without_alert_rules_says_so_and_keeps_nothing(server, cluster):
    server.faults.append(times(100, Wrong(status=404), "", "/prometheusrules"))
    with pytest.raises(RefusedError, match="does not know the kind PrometheusRule") as caught:
        submit(cluster, [copy.deepcopy(RULE), *manifests()])
    assert "alerts.enabled" in caught.value.remedy
    assert server.behind.objects == {}
    assert taken_names(cluster, [RULE]) is None


def test_a_conflict_in_a_dry_run_writes_nothing(server, cluster):
    submit(cluster, manifests())
    before = copy.deepcopy(server.behind.objects)
    server.faults.append(times(1, Wrong(status=409), "PUT", "/networkpolicies"))
    submit(cluster, manifests(ports=9000), dry_run=True)
    puts = [path for method, path in server.requests if method == "PUT" and "/networkpolicies" in path]
    assert len(puts) == 2
    assert all("dryRun=All" in path for path in puts)
    assert list(server.behind.objects) == list(before)


def test_many_are_sent_without_asking_for_each(server, cluster):
    submit(cluster, manifests(name="train-aaaaaaaa"))
    both = [manifests(name="train-aaaaaaaa"), manifests(name="train-bbbbbbbb")]
    taken = taken_names(cluster, itertools.chain(*both))
    assert taken == {k: {"train-aaaaaaaa"} for k in ("Service", "NetworkPolicy", "Job")}
    server.requests.clear()
    assert [submit(cluster, m, taken=taken).outcome for m in both] == [Outcome.UNCHANGED, Outcome.CREATED]
    assert not any("bbbbbbbb" in path for method, path in server.requests if method == "GET")


def test_two_launchers_with_the_same_file_make_one_job(server, cluster):
    nothing = {kind: set() for kind in ("Service", "NetworkPolicy", "Job")}  # both looked before either wrote
    assert submit(cluster, manifests(), taken=nothing).outcome is Outcome.CREATED
    assert submit(cluster, manifests(), taken=nothing).outcome is Outcome.UNCHANGED
    assert names(server) == ALL
