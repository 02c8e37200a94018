"""An API server on bad days: a proxy before the real one loses answers, cuts streams and refuses."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time

import pytest
import yaml

from k8s.api import access
from k8s.api.messages import Request
from k8s.api.transport import Broken, Refused, Transport
from tests.cluster.conftest import IMAGE, until
from tests.k8s.apiserver import Answer, Server, Wrong


class Real:
    """Passes requests on to the real server, streams as streams."""

    def __init__(self, path) -> None:
        self._transport = Transport(access.load(str(path), None, None))

    def answer(self, method, target, body):
        request = Request(method, target, {}, body, "application/json")
        if method == "PATCH":
            request = Request(method, target, {}, body, "application/merge-patch+json")
        if "watch=1" in target or "/log" in target:
            return self._stream(request)
        reply = self._transport.send(request)
        return Answer(reply.status, iter([reply.data]))

    def _stream(self, request):
        pieces = self._transport.stream(request, 3600.0)
        try:
            next(pieces)
        except Refused as refused:
            pieces.close()
            return Answer(refused.reply.status, iter([refused.reply.data]))
        return Answer(200, self._until_cut(pieces))

    @staticmethod
    def _until_cut(pieces):
        with contextlib.closing(pieces), contextlib.suppress(Broken):
            yield from pieces

    def close(self):
        self._transport.close()


@pytest.fixture
def proxy(team, tmp_path):
    """The way to the cluster through a server that can be made to fail; its kubeconfig is `proxy.kubeconfig`."""
    server = Server(Real(team.member))
    path = tmp_path / "proxied"
    path.write_text(yaml.safe_dump(_config(server.url, team.namespace)))
    server.kubeconfig = path
    yield server
    server.close()
    server.behind.close()


def _config(url, namespace, token="unused"):
    return {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "proxied", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "current-context": "proxied",
    }


def job_count(team, name):
    return len(team.get("jobs", "-l", f"app.kubernetes.io/instance={name}")["items"])


@pytest.mark.parametrize(
    "wrong",
    [Wrong(lost=True), Wrong(refused=True), Wrong(status=500), Wrong(status=429, headers={"Retry-After": "1"})],
    ids=["answer lost", "connection refused", "500", "429"],
)
def test_submit_once(team, job_file, proxy, wrong):
    """submit with one fault at every request in turn: one Job, never two"""
    job = job_file("fault", suspend=True)
    asked = len(_requests(team, proxy, job))
    for nth in range(asked):
        seen = []
        proxy.faults[:] = [lambda method, path, seen=seen, nth=nth: wrong if _count(seen) == nth + 1 else None]
        name = team.kfit("submit", str(job), "-o", "name", kubeconfig=proxy.kubeconfig).out.strip().rpartition("/")[2]
        assert job_count(team, "fault") == 1
        assert {o.partition("/")[0] for o in team.objects("fault")} == {"Job", "NetworkPolicy"}
        team.kfit("cancel", name, "--wait")
        until(lambda: team.objects("fault") == [])


def _count(seen):
    seen.append(1)
    return len(seen)


def _requests(team, proxy, job):
    proxy.requests.clear()
    name = team.kfit("submit", str(job), "-o", "name", kubeconfig=proxy.kubeconfig).out.strip().rpartition("/")[2]
    requests = list(proxy.requests)
    team.kfit("cancel", name, "--wait")
    until(lambda: team.objects("fault") == [])
    return requests


PRINTS = """
import time
for n in range(400):
    print("line", n, "x" * (n % 7), flush=n % 3 == 0)
    if n % 4 == 0: time.sleep(0.05)
"""


def talker(name, script=PRINTS, completions=1):
    """A Job of ours in all but what it runs: a few hundred lines in a burst."""
    labels = {"app.kubernetes.io/part-of": "kfit", "app.kubernetes.io/instance": name}
    safe = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    amounts = {"cpu": "100m", "memory": "64Mi"}
    container = {
        "name": "trainer",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", script],
        "securityContext": safe,
        "resources": {"requests": amounts, "limits": amounts},
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    spec = {
        "completions": completions,
        "parallelism": completions,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    annotations = {"kfit.dev/output-uri": "", "kfit.dev/values-hash": "none"}
    meta = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def test_logs_cut(team, proxy):
    """logs -f with the stream cut again and again, anywhere: every line once"""
    chance = random.Random(0)
    proxy.faults.append(
        lambda method, path: (
            Wrong(cut_after=chance.randrange(1, 4000)) if "/log" in path and _count(cuts) < 12 else None
        )
    )
    cuts: list[int] = []
    team.kubectl("create", "-f", "-", given=json.dumps(talker("talker")))
    done = team.kfit("logs", "-f", "talker", kubeconfig=proxy.kubeconfig)
    pod = team.get("pods", "-l", "batch.kubernetes.io/job-name=talker")["items"][0]["metadata"]["name"]
    assert len(cuts) > 5
    assert done.out == team.kubectl("logs", pod)
    team.kfit("cancel", "talker")


def test_watch_cut(team, proxy):
    """wait with every watch cut after each event: the end is seen all the same"""
    proxy.faults.append(lambda method, path: Wrong(cut_after=900) if "watch=1" in path else None)
    team.kubectl("create", "-f", "-", given=json.dumps(talker("cutter", "import sys; sys.exit(69)")))
    assert team.kfit("wait", "cutter", kubeconfig=proxy.kubeconfig, code=69)
    assert sum("watch=1" in path for _, path in proxy.requests) > 3
    team.kfit("cancel", "cutter")


def test_away_for_a_while(team, proxy):
    """wait while the API server is away for some seconds, then back: goes on"""
    team.kubectl("create", "-f", "-", given=json.dumps(talker("absent", "import time; time.sleep(15)")))
    began = time.monotonic()
    away = lambda: 2 < time.monotonic() - began < 10  # noqa: E731 - one condition
    proxy.faults.append(lambda method, path: Wrong(refused=True) if away() else None)
    assert team.kfit("wait", "absent", kubeconfig=proxy.kubeconfig).code == 0
    team.kfit("cancel", "absent")


def test_access(team, tmp_path, api_server):
    """expired token, wrong context, no server, no kubeconfig: one clear error each, never a traceback"""
    cluster = yaml.safe_load(team.member.read_text())["clusters"][0]["cluster"]
    cases = {
        "expired": (_config("", team.namespace, "expired") | {"clusters": [{"name": "c", "cluster": cluster}]},
                    64, "credentials are not accepted"),
        "untrusted": (_config(api_server, team.namespace), 69, "certificate is not trusted"),
    }  # fmt: skip
    for name, (config, code, words) in cases.items():
        path = tmp_path / name
        path.write_text(yaml.safe_dump(config))
        for verb in (["list"], ["status", "x"], ["wait", "x"], ["cancel", "x"]):
            assert words in team.kfit(*verb, kubeconfig=path, code=code).err
    assert "--context is one of: member" in team.kfit("list", "--context", "prod", code=64).err
    assert "no kubeconfig" in team.kfit("list", "--kubeconfig", str(tmp_path / "none"), code=64).err


def test_rights(team):
    """a missing right is named with the rule that grants it"""
    name = "kfit-without-logs"
    objects = team.kubectl("get", "role", "kfit", "-o", "json")
    before = json.loads(objects)
    rules = [r for r in before["rules"] if r["resources"] != ["pods/log"]]
    team.kubectl("create", "-f", "-", given=json.dumps(talker(name, "print(1)")))
    until(lambda: team.get("job", name)["status"].get("succeeded"))
    team.kubectl("patch", "role", "kfit", "--type=merge", "-p", json.dumps({"rules": rules}))
    try:
        refused = until(lambda: _refused(team, name))
        assert '{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}' in refused
        doctor = team.kfit("doctor", code=64).out
        assert "not allowed: get Pod/log" in doctor
    finally:
        team.kubectl("patch", "role", "kfit", "--type=merge", "-p", json.dumps({"rules": before["rules"]}))
    until(lambda: team.kfit("doctor", code=None).code == 0)
    team.kfit("cancel", name)


def _refused(team, name):
    done = team.kfit("logs", name, code=None)
    return done.err if done.code == 64 else None


def test_all_pods(team):
    """logs of several pods: each line says whose, --pod chooses one"""
    script = "import os; print('I am', os.environ['JOB_COMPLETION_INDEX'])"
    team.kubectl("create", "-f", "-", given=json.dumps(talker("several", script, completions=2)))
    assert team.kfit("wait", "several").code == 0
    assert sorted(team.kfit("logs", "several").out.splitlines()) == ["[0] I am 0", "[1] I am 1"]
    assert team.kfit("logs", "several", "--pod", "1").out == "I am 1\n"
    team.kfit("cancel", "several")


def test_pipe(team):
    """a reader that goes away ends kfit quietly"""
    team.kubectl("create", "-f", "-", given=json.dumps(talker("piped")))
    until(lambda: team.get("job", "piped")["status"].get("succeeded"))
    line = f"{sys.executable} -m k8s logs piped | head -1"
    done = subprocess.run(line, shell=True, env=team.environment(), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("line 0 \n", "")
    team.kfit("cancel", "piped")
