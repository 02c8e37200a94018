"""The boundary to an API server: what is tried again, and what a person is told."""

from __future__ import annotations

import json
import ssl
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from k8s.api import access, client
from k8s.api.client import Cluster, Cut, Gone
from k8s.api.transport import PATIENCE_S, Transport
from k8s.errors import AccessError, AlreadyExists, ClusterError, Conflict, NotFound
from tests.k8s.apiserver import Answer, Memory, Server, Wrong, kubeconfig, times


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


@pytest.fixture
def rotating(authority, tmp_path, clock):
    """A server that is asked with a token from a file."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("rotating"))
    server, token = Server(Memory(), tls), tmp_path / "token"
    token.write_text("old\n")
    way = server.access(tmp_path, {"tokenFile": "token"}, **{"certificate-authority": str(authority.path)})
    cluster = Cluster(Transport(way, clock=clock, sleep=clock.sleep), "ml")
    yield SimpleNamespace(server=server, cluster=cluster, token=token)
    cluster.close()
    server.close()


def test_a_token_that_was_rotated_is_read_anew_after_a_401(rotating):
    """Whether or not anything said when it expires; nothing is read anew before."""
    rotating.cluster.version()
    rotating.token.write_text("new\n")
    rotating.cluster.version()
    rotating.server.faults.append(times(1, Wrong(status=401)))
    rotating.cluster.version()
    assert [h["Authorization"] for h in rotating.server.headers] == ["Bearer old"] * 3 + ["Bearer new"]


def test_a_stream_renews_a_token_too(rotating):
    rotating.cluster.create(config())
    rotating.token.write_text("new")
    rotating.server.faults.append(times(1, Wrong(status=401), "GET", "/log"))
    list(rotating.cluster.log("p", follow=True))
    assert [h["Authorization"] for h in rotating.server.headers[1:]] == ["Bearer old", "Bearer new"]


def test_a_token_that_stays_expired_is_told_with_what_mends_it(server, cluster):
    server.faults.append(times(10, Wrong(status=401)))
    with pytest.raises(AccessError, match="credentials are not accepted") as caught:
        cluster.version()
    assert "sign in again" in caught.value.remedy
    assert len(server.requests) == 2


def test_a_server_that_is_away_is_told_with_its_address(clock, tmp_path):
    away = access.load(kubeconfig(tmp_path / "config", "http://127.0.0.1:9"), None, None)
    with pytest.raises(ClusterError, match="does not answer: Connection refused") as caught:
        Cluster(Transport(away, clock=clock, sleep=clock.sleep), "ml", "test").version()
    assert caught.value.where == "http://127.0.0.1:9"
    assert "'test'" in caught.value.remedy
    assert clock.now_s > 10  # it was tried for a while


def test_a_server_whose_name_is_unknown_is_told_at_once(clock, tmp_path):
    unknown = access.load(kubeconfig(tmp_path / "config", "http://no-such-host.invalid"), None, None)
    with pytest.raises(ClusterError, match="does not answer"):
        Cluster(Transport(unknown, clock=clock, sleep=clock.sleep), "ml", "prod").version()
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
    manifests = cluster.select("ConfigMap", labels="team=b")
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in manifests] == [("ConfigMap", "v1", "two")]


def test_a_stream_that_is_cut_says_so(server, cluster):
    cluster.create(config())
    server.faults.append(times(1, Wrong(cut_after=5), "GET", "/log"))
    with pytest.raises((Cut, NotFound)):
        list(cluster.log("p", follow=True))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b"{}", b"\xff"])
def test_an_answer_that_is_none_of_an_api_server_is_told(cluster, monkeypatch, server, body):
    monkeypatch.setattr(server.behind, "answer", lambda *_: Answer(200, iter([body])))
    for ask in (cluster.version, lambda: cluster.select("Job"), lambda: cluster.names("Job")):
        with pytest.raises(ClusterError, match="is this an API server"):
            ask()


def test_every_write_has_the_server_refuse_unknown_fields(server, cluster):
    made = cluster.create(config())
    cluster.patch("ConfigMap", "c", {"data": {"a": "2"}})
    cluster.replace(cluster.get("ConfigMap", "c"), dry_run=True)
    cluster.delete("ConfigMap", made["metadata"]["name"])
    strict = [(method, "fieldValidation=Strict" in path) for method, path in server.requests]
    assert strict == [("POST", True), ("PATCH", True), ("GET", False), ("PUT", True), ("DELETE", False)]


def test_warnings_of_the_server_are_shown_once_each(server, cluster, capsys):
    server.warnings = ['299 - "would violate PodSecurity \\"restricted\\""', '299 - "batch/v0 is old"']
    cluster.version()
    cluster.version()
    shown = 'warning: would violate PodSecurity "restricted"\nwarning: batch/v0 is old\n'
    assert capsys.readouterr().err == shown


def test_a_control_sequence_in_a_warning_does_not_reach_the_terminal(server, cluster, capsys):
    server.warnings = ['299 - "red \x1b[31m"']
    cluster.version()
    assert capsys.readouterr().err == "warning: red \\u001b[31m\n"


def test_each_request_can_be_traced(server, tmp_path):
    traced = []
    cluster = Cluster.open(kubeconfig(tmp_path / "config", server.url), trace=traced.append)
    cluster.select("Job", labels="a=b")
    cluster.close()
    (line,) = traced
    assert line.startswith(f"GET {server.url}/apis/batch/v1/namespaces/ml/jobs?labelSelector=a=b&limit=500 200 in ")


def test_one_request_may_have_a_time_limit_of_its_own(server, tmp_path):
    """`--request-timeout`: neither a late answer nor the tries after it take longer."""
    cluster = Cluster.open(kubeconfig(tmp_path / "config", server.url), request_timeout_s=0.3)
    server.faults.append(lambda *_: time.sleep(0.6))
    began = time.monotonic()
    with pytest.raises(ClusterError, match="nothing within the time limit"):
        cluster.version()
    cluster.close()
    assert time.monotonic() - began < 2.0


def test_nothing_tries_again_but_the_transport(server, cluster, clock):
    """urllib3's own retries would send each of our tries four times."""
    server.faults.append(times(10_000, Wrong(refused=True)))
    with pytest.raises(ClusterError, match="does not answer"):
        cluster.version()
    assert len(server.requests) == len(clock.slept) + 2  # the first retry comes at once, the last has no pause after it


class Lines:
    """An API server that answers everything with the same bytes."""

    def __init__(self, *pieces):
        self._pieces = pieces

    def answer(self, method, target, body):
        return Answer(200, iter(self._pieces))


SOUND = b'{"type": "ADDED", "object": {"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}}}\n'


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON\n",
        b"null\n",
        b"[1]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"type": 1, "object": {}}\n',
        b'{"type": "ADDED"}\n',
        b'{"type": "ADDED", "object": null}\n',
        b'{"type": "ADDED", "object": {"metadata": null}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"name": "a", "uid": [], "resourceVersion": "1"}}}\n',
        b'{"type": "ADDED", "object": {"status": 1, "metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}}}\n',
        b'{"type": "BOOKMARK", "object": {"metadata": {}}}\n',
    ],
)
def test_a_line_of_a_watch_that_is_no_change_is_one_clear_error(line, server, cluster):
    server.behind = Lines(SOUND, line)
    seen = cluster.watch("Job", "1")
    assert next(seen)[0] == "ADDED"
    with pytest.raises(ClusterError, match="no change of an object"):
        next(seen)


def test_a_line_of_a_watch_that_never_ends_is_not_collected_for_ever(server, cluster):
    server.behind = Lines(*[b"x" * 1024**2] * 32)
    with pytest.raises(ClusterError, match="more than"):
        next(cluster.watch("Job", "1"))


def test_a_bookmark_has_no_name_and_an_error_ends_the_watch(server, cluster):
    bookmark = b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}\n'
    server.behind = Lines(bookmark, b'{"type": "ERROR", "object": {"message": "too old"}}\n')
    seen = cluster.watch("Job", "1")
    assert next(seen) == ("BOOKMARK", {"metadata": {"resourceVersion": "7"}})
    with pytest.raises(Gone, match="too old"):
        next(seen)


def test_a_list_whose_pages_begin_again_ends(server, cluster):
    server.behind = Lines(b'{"items": [], "metadata": {"continue": "again"}}')
    with pytest.raises(ClusterError, match="has no end"):
        cluster.select("Job")
    assert len(server.requests) == 2


class EndlessList:
    """Stands behind the API server: every page of a list names a next one that is new."""

    def answer(self, method, target, body):
        page = int((parse_qs(urlsplit(target).query).get("continue") or ["0"])[0])
        body = {"items": [], "metadata": {"continue": str(page + 1)}}
        return Answer(200, iter([json.dumps(body).encode()]))


def test_a_list_without_end_is_given_up_after_so_many_pages(server, cluster, monkeypatch):
    monkeypatch.setattr(client, "_MOST_PAGES", 20)
    server.behind = EndlessList()
    with pytest.raises(ClusterError, match="has no end"):
        cluster.select("Job")
    assert len(server.requests) == 21
