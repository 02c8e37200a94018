"""Following through threads and streams, against a server that plays a Job's life and breaks off on the way."""

from __future__ import annotations

import itertools
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from k8s.api.client import Cluster
from k8s.api.transport import Transport
from k8s.errors import AccessError, NotFound
from k8s.follow.loop import TimedOut, follow
from tests.k8s.apiserver import Answer, Server, Wrong
from tests.k8s.objects import RUNNING, disrupted, job, pod, terminated, unplaced

NAME = "train-1a2b3c4d"


class Life:
    """A Job's life in moments: each is what a list shows, and the next comes when a test says so.

    A watch sends the newest moment's objects and ends with the next one, as a server that drops watches does.
    """

    def __init__(self, *moments) -> None:
        self.moments, self.now, self.changed = moments, 0, threading.Condition()
        self.logs: dict[str, bytes] = {}
        self.over = False

    def end(self) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def go_on(self) -> None:
        with self.changed:
            self.now = min(self.now + 1, len(self.moments) - 1)
            self.changed.notify_all()

    def answer(self, method, target, body):
        url = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        kind = url.path.rpartition("/")[2]
        with self.changed:
            seen_job, pods = self.moments[self.now]
        if kind == "log":
            return Answer(200, iter([self._log(url.path.split("/")[-2], query)]))
        if f"/pods/{kind}" in url.path:
            pod = next((p for p in pods if p["metadata"]["name"] == kind), None)
            return Answer(200, iter([json.dumps(pod).encode()])) if pod else self._none()
        if kind == NAME:
            return Answer(200, iter([json.dumps(seen_job).encode()])) if seen_job else self._none()
        items = {"jobs": [seen_job] if seen_job else [], "pods": pods, "events": []}[kind]
        if "watch" in query:
            return Answer(200, self._watch())
        return Answer(200, iter([json.dumps({"items": items, "metadata": {"resourceVersion": "1"}}).encode()]))

    def _watch(self):
        with self.changed:
            at = self.now
            self.changed.wait_for(lambda: self.over or self.now != at, timeout=20)
        gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
        yield json.dumps(gone).encode() + b"\n"

    def _log(self, name, query):
        since = query.get("sinceTime", "")
        lines = self.logs[name].splitlines(keepends=True)
        return b"".join(line for line in lines if line.decode()[:19] >= since[:19])

    @staticmethod
    def _none():
        return Answer(404, iter([b'{"reason": "NotFound", "message": "not found"}']))


class Seen:
    """A view that remembers, and lets life go on when something was told."""

    def __init__(self, life: Life) -> None:
        self.life, self.told, self.lines = life, [], []

    def say(self, text, remedy="", *, waits=False):
        self.told.append(text)
        self.life.go_on()

    def opened(self, pod, index):
        self.told.append(f"open {pod}")

    def line(self, index, text):
        self.lines.append((index, text))
        if text.startswith("last"):
            self.life.go_on()

    def close(self):
        self.told.append("closed")


@pytest.fixture
def play(tmp_path):
    """Follows a life to its end, with faults."""
    servers = []

    def run(life, *faults, **options):
        server = Server(life)
        server.faults += faults
        cluster = Cluster(Transport(server.access(tmp_path)), "ml", "test")
        servers.append((server, cluster))
        view = Seen(life)
        return follow(cluster, NAME, view, **options), view

    yield run
    for server, cluster in servers:
        server.behind.end()
        cluster.close()
        for thread in threading.enumerate():
            if thread.name.startswith(("watch ", "log of ")):
                thread.join(10)
        server.close()


def lines(count, start=0):
    text = [
        f"2026-01-01T00:00:{n // 4:02}Z {'last' if n == start + count - 1 else 'line'} {n}\n"
        for n in range(start, start + count)
    ]
    return "".join(text).encode()


def life_with_an_eviction():
    waits = pod("a", phase="Pending", conditions=unplaced("0/1 nodes are available: 1 Insufficient cpu."))
    gone = pod("a", phase="Failed", state=terminated(75), conditions=disrupted())
    done = pod("b", phase="Succeeded", state=terminated(0))
    life = Life(
        (job(), [waits]),
        (job(), [pod("a", state=RUNNING)]),
        (job(), [gone]),
        (job(), [gone, pod("b", state=RUNNING)]),
        (job(conditions=[{"type": "Complete"}]), [gone, done]),
    )
    life.logs = {"a": lines(20), "b": lines(20, 20)}
    return life


def test_a_run_is_followed_through_pending_and_an_eviction_to_its_end(play):
    state, view = play(life_with_an_eviction())
    assert state.exit_code == 0
    assert [text.split(":")[0] for text in view.told] == ["pending", "open a", "pod a ended", "open b", "closed"]
    assert [int(text.split()[1]) for _, text in view.lines] == list(range(40))


@pytest.mark.parametrize("seed", range(4))
def test_broken_streams_lose_nothing_and_double_nothing(play, seed):
    cuts = itertools.count(seed * 7 + 1, 53)
    left = itertools.count()

    def cut(method, path):
        return Wrong(cut_after=next(cuts)) if "/log" in path and next(left) < 4 else None

    state, view = play(life_with_an_eviction(), cut)
    assert state.exit_code == 0
    assert [int(text.split()[1]) for _, text in view.lines] == list(range(40))


def test_waiting_ends_when_its_time_is_over(play):
    life = Life((job(), []))
    began = time.monotonic()
    with pytest.raises(TimedOut):
        play(life, timeout_s=0.5)
    assert time.monotonic() - began >= 0.5


def test_a_run_that_is_not_there_is_not_found(play):
    with pytest.raises(NotFound):
        play(Life((None, [])))


def test_a_right_that_is_missing_ends_following_with_its_rule(play):
    life = life_with_an_eviction()
    message = 'pods is forbidden: User "u" cannot list resource "pods" in API group ""'
    denied = json.dumps({"reason": "Forbidden", "message": message}).encode()
    answer = life.answer

    def deny(method, target, body):
        return Answer(403, iter([denied])) if "/pods?" in target else answer(method, target, body)

    life.answer = deny
    with pytest.raises(AccessError, match="a right is missing") as caught:
        play(life)
    assert 'resources: ["pods"], verbs: ["list"]' in caught.value.remedy
