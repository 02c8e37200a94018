"""The boundary to an API server: what is tried again, and what a person is told."""

from __future__ import annotations

import pytest

from k8s.api.access import Access, Credentials
from k8s.api.client import Cluster, Cut
from k8s.api.transport import PATIENCE_S, Transport
from k8s.errors import AccessError, AlreadyExists, ClusterError, Conflict, NotFound
from tests.k8s.apiserver import Wrong, times


def config(name="c", **labels):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_by_itself_is_tried_again(server, cluster, status):
    server.faults.append(times(2, Wrong(status=status)))
    assert cluster.create(config())["data"] == {"a": "1"}
    assert len(server.requests) == 3


def test_the_server_says_how_long_to_wait(server, cluster, clock):
    server.faults.append(times(1, Wrong(status=429, headers={"Retry-After": "7"})))
    cluster.version()
    assert clock.slept == [7.0]


def test_trying_ends(server, cluster, clock):
    server.faults.append(times(10_000, Wrong(status=500)))
    with pytest.raises(ClusterError, match=r"at fault \(HTTP 500\): made so by the test"):
        cluster.version()
    assert clock.now_s <= PATIENCE_S


@pytest.mark.parametrize("wrong", [Wrong(lost=True), Wrong(refused=True)])
def test_an_answer_that_is_lost_never_makes_a_second_object(server, cluster, wrong):
    server.faults.append(times(1, wrong, "POST"))
    assert cluster.create(config(a="b"))["metadata"]["name"] == "c"
    assert len(server.behind.objects) == 1


def test_a_name_that_was_taken_before_is_told_so(server, cluster):
    cluster.create(config(owner="somebody"))
    with pytest.raises(AlreadyExists):
        cluster.create(config(owner="me"))
    server.faults.append(times(1, Wrong(refused=True), "POST"))
    with pytest.raises(AlreadyExists):
        cluster.create(config(owner="me"))


def test_a_connection_that_lay_idle_and_was_closed_is_no_fault(server, cluster, clock):
    cluster.version()
    server.faults.append(times(1, Wrong(refused=True)))
    cluster.version()
    assert clock.slept == []


def test_an_expired_token_is_asked_for_anew(server, clock):
    tokens = iter(["old", "new"])
    asked = []

    def credentials():
        asked.append(next(tokens))
        return Credentials({"Authorization": f"Bearer {asked[-1]}"})

    server.faults.append(times(1, Wrong(status=401)))
    access = server.access(credentials=credentials)
    cluster = Cluster(Transport(access, clock=clock, sleep=clock.sleep), "ml", "test")
    cluster.version()
    cluster.close()
    assert asked == ["old", "new"]


def test_a_token_that_stays_expired_is_told_with_what_mends_it(server, cluster):
    server.faults.append(times(10, Wrong(status=401)))
    with pytest.raises(AccessError, match="credentials are not accepted") as caught:
        cluster.version()
    assert "sign in again" in caught.value.remedy
    assert len(server.requests) == 2


def test_a_server_that_is_away_is_told_with_its_address(clock):
    access = Access("http://127.0.0.1:9", "ml", "prod", {}, Credentials)
    with pytest.raises(ClusterError, match="does not answer: Connection refused") as caught:
        Cluster(Transport(access, clock=clock, sleep=clock.sleep), "ml", "prod").version()
    assert caught.value.where == "http://127.0.0.1:9"
    assert "'prod'" in caught.value.remedy
    assert clock.now_s > 10  # it was tried for a while


def test_a_server_whose_name_is_unknown_is_told_at_once(clock):
    access = Access("http://no-such-host.invalid", "ml", "prod", {}, Credentials)
    with pytest.raises(ClusterError, match="does not answer"):
        Cluster(Transport(access, clock=clock, sleep=clock.sleep), "ml", "prod").version()
    assert clock.slept == []


def test_a_missing_right_is_told_with_the_rule_that_grants_it(server, cluster):
    answer = server.behind.answer

    def deny(method, path, body):
        message = 'pods "p" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "ml"'
        denied = server.behind._status(403, "Forbidden", message)
        server.behind._answer = lambda *_: denied
        return answer(method, path, body)

    server.behind.answer = deny
    with pytest.raises(AccessError, match="a right is missing") as caught:
        list(cluster.log("p", follow=False))
    assert '{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}' in caught.value.remedy


def test_what_is_not_there_is_not_found(cluster):
    assert cluster.find("Job", "no") is None
    with pytest.raises(NotFound) as caught:
        cluster.get("Job", "no")
    assert caught.value.exit_code == 3


def test_a_version_that_is_old_is_a_conflict(cluster):
    made = cluster.create(config())
    cluster.patch("ConfigMap", "c", {"data": {"a": "2"}})
    with pytest.raises(Conflict):
        cluster.replace({**made, "data": {"a": "3"}})


def test_a_list_gives_whole_manifests(cluster):
    cluster.create(config("one", team="a"))
    cluster.create(config("two", team="b"))
    found = cluster.select("ConfigMap", labels="team=b")
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in found] == [("ConfigMap", "v1", "two")]


def test_a_stream_that_is_cut_says_so(server, cluster):
    cluster.create(config())
    server.faults.append(times(1, Wrong(cut_after=5), "GET", "/log"))
    with pytest.raises((Cut, NotFound)):
        list(cluster.log("p", follow=True))


def test_an_answer_that_is_no_json_is_told(cluster, monkeypatch, server):
    monkeypatch.setattr(server.behind, "answer", lambda *_: type("A", (), {"status": 200, "pieces": iter([b"<html>"])}))
    with pytest.raises(ClusterError, match="is this an API server"):
        cluster.version()
