"""`kfit list`: of one namespace or of all, by label and phase, once or again and again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from k8s.api.kinds import KINDS, collection_path, object_path
from k8s.cli import cli
from k8s.errors import NotFound, RefusedError
from tests.k8s.namespace_contents import EVENTS, JOBS, OVER, PODS, failed_job, ours, put
from tests.k8s.objects import event, job, terminated


@pytest.fixture
def two_namespaces(server):
    """The same Job's name in two namespaces: it failed in `ml` and waits in `dev`."""
    for namespace, one, pods, told in (
        ("ml", failed_job(), [ours(phase="Failed", state=terminated(65))], []),
        ("dev", job(uid="2", labels={"team": "a"}), [], [event("FailedCreate", "exceeded quota: team")]),
    ):
        put(server, one, *pods, *told)
        for folder in (JOBS, PODS, EVENTS):
            for path in [p for p in server.behind.objects if p.startswith(f"{folder}/")]:
                manifest = server.behind.objects.pop(path)
                manifest["metadata"]["namespace"] = namespace
                if "involvedObject" in manifest:
                    manifest["involvedObject"]["namespace"] = namespace
                server.behind.objects[path.replace("/ml/", f"/{namespace}-/")] = manifest
    for path in list(server.behind.objects):
        server.behind.objects[path.replace("-/", "/")] = server.behind.objects.pop(path)


def test_all_namespaces_are_listed_each_run_with_its_own_pods_and_events(two_namespaces, kfit):
    rows = [row.split() for row in kfit("list", "-A").splitlines()]
    assert rows[0][:3] == ["NAMESPACE", "NAME", "PHASE"]
    assert sorted(row[:3] for row in rows[1:]) == [
        ["dev", "train-1a2b3c4d", "Pending"],
        ["ml", "train-1a2b3c4d", "Failed"],
    ]
    runs = {run["namespace"]: run for run in json.loads(kfit("list", "-A", "-o", "json"))["items"]}
    assert runs["ml"]["exit_code"] == 65
    assert "quota" in runs["dev"]["why"]
    assert "quota" not in runs["ml"]["why"]


def test_all_namespaces_go_with_labels_and_phases(two_namespaces, server, kfit):
    assert json.loads(kfit("list", "-A", "-l", "team=a", "-o", "json"))["items"][0]["namespace"] == "dev"
    assert json.loads(kfit("list", "-A", "--phase", "failed", "-o", "json"))["items"][0]["namespace"] == "ml"
    assert {path.partition("?")[0] for _, path in server.requests} == {
        "/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events",
    }  # fmt: skip


def test_watching_all_namespaces_prints_the_heads_once_and_tells_runs_of_one_name_apart(
    two_namespaces, server, kfit, monkeypatch
):
    pauses = []

    def changes(_):
        pauses.append(1)
        if len(pauses) == 3:
            raise KeyboardInterrupt
        path = f"{JOBS}/train-1a2b3c4d".replace("/ml/", "/dev/")
        server.behind.objects[path]["status"] = {"conditions": [{"status": "True", **OVER[0]}]}

    monkeypatch.setattr("k8s.commands.watch.list.time", SimpleNamespace(sleep=changes))
    rows = [
        row.split()[:3]
        for row in kfit("list", "-A", "-w", "-l", "app.kubernetes.io/instance=train", code=1).splitlines()
    ]
    assert [row[0] for row in rows].count("NAMESPACE") == 1
    assert sorted(rows[1:3]) == [["dev", "train-1a2b3c4d", "Pending"], ["ml", "train-1a2b3c4d", "Failed"]]
    assert rows[3:] == [["dev", "train-1a2b3c4d", "Failed"]]


def test_the_path_of_all_namespaces_is_asked_for_by_name_and_never_of_an_object():
    assert {kind: collection_path(kind, None) for kind in ("Job", "Pod")} == {
        "Job": "/apis/batch/v1/jobs", "Pod": "/api/v1/pods",
    }  # fmt: skip
    for kind in KINDS:
        with pytest.raises(RefusedError):
            collection_path(kind, "")
        assert "/namespaces/ml/" in object_path(kind, "ml", "a")


# --- RUN left out ---------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("k8s.commands.arguments._is_terminal", lambda: True)


@pytest.mark.parametrize(("answer", "name"), [("\n", "train-1a2b3c4d"), ("2\n", "train-old00000")])
@pytest.mark.parametrize("verb", ["status", "why"])
def test_on_a_terminal_the_newest_runs_are_offered(server, kubeconfig, terminal, verb, answer, name):
    put(server, job("train-old00000"), job(uid="2"))
    server.behind.objects[f"{JOBS}/train-1a2b3c4d"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    done = CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, verb], input=answer)
    assert done.exit_code == 0, done.output
    assert [line.split()[:3] for line in done.stderr.splitlines()[:2]] == [
        ["1", "train-1a2b3c4d", "Pending"],
        ["2", "train-old00000", "Pending"],
    ]
    assert done.stdout.startswith(f"{name}  Pending")


def test_a_single_run_is_taken_without_a_question(server, kubeconfig, terminal):
    put(server, job())
    done = CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, "status"])
    assert done.stdout.startswith("train-1a2b3c4d  Pending")


def test_without_any_run_it_says_how_to_start_one(kfit, terminal):
    with pytest.raises(NotFound, match="no runs") as caught:
        kfit("status")
    assert "kfit submit JOB" in caught.value.remedy


@pytest.mark.parametrize("verb", ["status", "logs", "wait", "why", "cancel", "resume"])
def test_elsewhere_a_missing_run_is_an_error_and_nothing_is_asked(server, kubeconfig, verb):
    done = CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, verb], standalone_mode=False)
    assert isinstance(done.exception, click.UsageError)
    assert "Missing argument 'RUN" in done.exception.format_message()
    assert server.requests == []
