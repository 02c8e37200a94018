"""Verbs that make objects: submit, resume, schedule and trigger, from words to what is in the cluster."""

from __future__ import annotations

import json
import time
from datetime import date
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from k8s.cli import cli
from k8s.errors import AccessError, NotFound
from tests.k8s.ends import Ends
from tests.k8s.namespace_contents import JOBS, failed_job, put
from tests.k8s.objects import job, schedule
from trainer.errors import ConfigError


def test_resume_takes_the_name_of_a_job_file(server, kfit):
    put(server, failed_job())
    assert "(dry run" in kfit("resume", "train", "--dry-run")
    name = kfit("resume", "train", "-o", "name").strip().rpartition("/")[2]
    env = server.behind.objects[f"{JOBS}/{name}"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "KFIT_RUN", "value": "train-1a2b3c4d"}]


@pytest.mark.parametrize("verb", ["render", "submit", "schedule apply", "resume train-1a2b3c4d -f"])
def test_a_verb_that_needs_helm_says_so_and_sends_nothing(server, kfit, job_file, monkeypatch, verb):
    put(server, failed_job())
    before = dict(server.behind.objects)
    file = job_file('schedule: {cron: "0 2 * * *"}\n' if "schedule" in verb else "")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AccessError, match="the helm program, which renders the chart, is not on PATH") as caught:
        kfit(*verb.split(), file)
    assert "docs/image.md" in caught.value.remedy
    assert server.behind.objects == before


def test_a_wrong_file_is_named_before_a_cluster_is_asked(server, kfit, job_file):
    with pytest.raises(ConfigError, match="priority: unknown key; did you mean 'priorityClassName'"):
        kfit("submit", job_file("priority: high\n"))
    assert server.requests == []


def test_resume_makes_one_job_for_the_run(server, kfit):
    put(server, failed_job())
    first = kfit("resume", "train-1a2b3c4d", "-o", "name").strip().rpartition("/")[2]
    env = server.behind.objects[f"{JOBS}/{first}"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "KFIT_RUN", "value": "train-1a2b3c4d"}]
    server.behind.objects[f"{JOBS}/{first}"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    with pytest.raises(ConfigError, match=f"Job {first} is at work on it"):
        kfit("resume", "train-1a2b3c4d")


def test_resume_brings_the_disruption_budget_along(server, kfit):
    put(server, failed_job())
    budgets = "/apis/policy/v1/namespaces/ml/poddisruptionbudgets"
    labels = {"app.kubernetes.io/part-of": "kfit", "kfit.dev/job": "train-1a2b3c4d"}
    old = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "spec": {"minAvailable": 1}}
    server.behind.objects[f"{budgets}/train-1a2b3c4d"] = old | {
        "metadata": {"name": "train-1a2b3c4d", "labels": labels}
    }
    name = kfit("resume", "train-1a2b3c4d", "-o", "name").strip().rpartition("/")[2]
    made = server.behind.objects[f"{budgets}/{name}"]
    assert made["metadata"]["labels"]["kfit.dev/job"] == made["metadata"]["ownerReferences"][0]["name"] == name


def test_resume_refuses_what_has_succeeded_and_what_is_gone(server, kfit):
    put(server, job(conditions=[{"type": "Complete"}]))
    with pytest.raises(ConfigError, match="has succeeded"):
        kfit("resume", "train-1a2b3c4d")
    with pytest.raises(NotFound, match="its Job is gone") as caught:
        kfit("resume", "gone-run")
    assert "-f JOB" in caught.value.remedy


def test_schedules_are_listed_suspended_and_deleted(server, kfit):
    put(server, schedule())
    assert kfit("schedule", "list").splitlines()[1].split()[:7] == ["nightly", "0", "2", "*", "*", "*", "Europe/Berlin"]
    assert kfit("schedule", "suspend", "nightly") == "cronjob.batch/nightly suspended\n"
    assert json.loads(kfit("schedule", "list", "-o", "json"))["items"][0]["suspended"] is True
    assert kfit("schedule", "resume", "nightly") == "cronjob.batch/nightly resumed\n"
    assert kfit("schedule", "delete", "nightly", "--dry-run") == "cronjob.batch/nightly would be deleted (dry run)\n"
    assert len(server.behind.objects) == 1
    assert kfit("schedule", "delete", "cronjob.batch/nightly") == "cronjob.batch/nightly deleted\n"
    assert server.behind.objects == {}
    with pytest.raises(NotFound):
        kfit("schedule", "suspend", "nightly")


def test_one_wrong_schedule_leaves_the_others_alone(server, kfit):
    put(server, schedule(), schedule("weekly"))
    with pytest.raises(NotFound):
        kfit("schedule", "delete", "nightly", "no-such", "weekly")
    assert len(server.behind.objects) == 2
    assert kfit("schedule", "delete", "nightly", "weekly", "--yes").count("deleted") == 2


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["schedule", "nightly", "--suspend"], "cronjob.batch/nightly suspended\n"),
        (["schedule", "--resume", "nightly"], "cronjob.batch/nightly resumed\n"),
        (["schedule", "nightly", "--delete"], "cronjob.batch/nightly deleted\n"),
        (["schedule", "-o", "name"], "cronjob.batch/nightly\n"),
        (["-n", "ml", "schedule", "-n", "ml", "-o", "name"], "cronjob.batch/nightly\n"),
    ],
)
def test_the_older_spelling_of_schedule_still_works(server, kfit, words, printed):
    put(server, schedule())
    assert kfit(*words) == printed


def test_trigger_makes_a_job_for_a_day(server, kfit):
    put(server, schedule())
    name = kfit("trigger", "nightly", "--date", "2013-01-05", "-o", "name").strip().rpartition("/")[2]
    made = server.behind.objects[f"{JOBS}/{name}"]
    assert made["spec"]["template"]["metadata"]["annotations"] == {"kfit.dev/date": "2013-01-05"}


def test_trigger_of_a_range_waits_for_every_day_and_ends_with_the_code_of_the_first_that_failed(
    server, kfit, monkeypatch
):
    put(server, schedule())
    ends = Ends(server, {date(2013, 1, 6): 65})
    monkeypatch.setattr("k8s.actions.backfill.time", SimpleNamespace(sleep=ends, monotonic=time.monotonic))
    words = ("trigger", "nightly", "--from", "2013-01-05", "--to", "2013-01-07", "--parallel", "3", "-o", "json")
    days = json.loads(kfit(*words, code=65))["items"]
    assert [(d["date"], d["phase"], d["exit_code"]) for d in days] == [
        ("2013-01-05", "Succeeded", 0),
        ("2013-01-06", "Failed", 65),
        ("2013-01-07", "Succeeded", 0),
    ]
    assert ends.most == 3


@pytest.mark.parametrize("words", [("--from", "2013-01-05"), ("--from", "2013-01-05", "--to", "2013-01-04"),
                                   ("--from", "2013-01-05", "--to", "2013-01-06", "--date", "2013-01-05")])  # fmt: skip
def test_a_range_that_is_none_is_refused(server, kfit, words):
    put(server, schedule())
    kfit("trigger", "nightly", *words, code=2)


JOB = """\
name: flights
run:
  data: {train: s3://lake/flights, label: late, features: {distance: {kind: numeric}}}
  task: binary
  model: {builtin: mlp}
  output: {uri: s3://models/flights}
image: {repository: r/trainer}
"""


@pytest.fixture
def job_file(tmp_path):
    def write(more=""):
        path = tmp_path / "job.yaml"
        path.write_text(JOB + more)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--again", "--follow", "--timeout", "banana"], ""),
        (["--wait", "--timeout", "-5m"], ""),
        (["--follow", "-o", "html"], ""),
        (["--follow", "--dry-run=server"], ""),
    ],
)
def test_all_words_are_checked_before_anything_is_sent(server, kfit, job_file, words, more):
    kfit("submit", job_file(more), *words, code=2)
    assert server.requests == []


def test_a_schedule_has_no_end_to_follow_which_is_said_before_it_is_sent(server, kfit, job_file):
    file = job_file('schedule: {cron: "0 2 * * *"}\n')
    with pytest.raises(ConfigError, match="no end to wait for") as caught:
        kfit("submit", file, "--follow")
    assert "kfit trigger flights --follow" in caught.value.remedy
    assert {method for method, _ in server.requests} == {"GET"}


def test_alert_rules_are_submitted_with_the_job(server, kfit, job_file):
    file = job_file("alerts: {enabled: true}\ndashboard: {enabled: true}\n")
    assert kfit("submit", file).startswith("job.batch/flights-")
    for path in ("prometheusrules/flights", "configmaps/flights-dashboard"):
        (made,) = [live for at, live in server.behind.objects.items() if at.endswith(path)]
        assert made["metadata"]["ownerReferences"][0]["kind"] == "Job"
    (rule,) = [made for path, made in server.behind.objects.items() if "prometheusrules/flights" in path]
    watched = rule["spec"]["groups"][0]["rules"][0]["expr"]
    assert 'namespace="ml"' in watched  # where it is sent, and not helm's default
    assert json.dumps(watched) in json.dumps(list(yaml.safe_load_all(kfit("render", file, "--kube-version", "1.34"))))


@pytest.mark.parametrize("dry_run", [[], ["--dry-run=client"]])
def test_many_job_files_are_one_well_formed_document(server, kfit, tmp_path, job_file, dry_run):
    first = job_file()
    second = tmp_path / "second.yaml"
    second.write_text(JOB.replace("flights", "weather"))
    items = json.loads(kfit("submit", first, str(second), "-o", "json", *dry_run))["items"]
    names = {
        item["name"] if not dry_run else item["metadata"]["labels"]["app.kubernetes.io/instance"] for item in items
    }
    assert {name.partition("-")[0] for name in names} == {"flights", "weather"}


def test_apply_is_submit(job_file):
    words = ["apply", job_file(), "--dry-run=client", "-o", "name"]
    assert CliRunner().invoke(cli, words).stdout.startswith("job.batch/flights-")


def test_resume_of_a_run_that_storage_has_not_begins_no_other_run(server, kfit, job_file, tmp_path):
    file = job_file()
    models = ["--set", f"run.output.uri={tmp_path}/models"]
    with pytest.raises(NotFound, match="no such run") as caught:
        kfit("resume", "train", "-f", file, *models)
    assert caught.value.where == f"{tmp_path}/models/runs/train"
    assert f"`kfit history -f {file}`" in caught.value.remedy
    assert server.behind.objects == {}
    (tmp_path / "models/runs/train-1a2b3c4d").mkdir(parents=True)
    (tmp_path / "models/runs/train-1a2b3c4d/config.json").write_text("{}")
    assert kfit("resume", "train-1a2b3c4d", "-f", file, *models, "-o", "name").startswith("job.batch/")
