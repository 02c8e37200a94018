"""What a GitOps controller does to runs: it applies again, upgrades in mid-night, makes again what a TTL took."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from k8s.chart.yaml_documents import from_yaml
from tests.cluster.conftest import Team, until
from tests.cluster.test_habits import evict, running
from tests.cluster.test_ways import CHART, gone, helm

#: What a Job of its own can leave behind where plain kubectl made it; docs/gitops.md names them.
KINDS = "job,networkpolicy,service,poddisruptionbudget,resourceclaimtemplate"


def of_job(team: Team, name: str, kinds: str = KINDS) -> list[str]:
    found = team.get(kinds, "-l", f"kfit.dev/job={name}")["items"]
    return sorted(o["kind"] for o in found)


def test_night_is_retried_after_an_upgrade(team: Team, job_file: Callable[..., Path]) -> None:
    """helm upgrade between a night and its retry: the retry has the night's own job file, and ends"""
    long = {"fit": {"epochs": 60}, "output": {"checkpoint": {"every": "2s"}}}
    night = str(job_file("upgraded", schedule={"cron": "* * * * *"}, run=long))
    helm(team, "install", "upgraded", CHART, "-f", night)
    name = until(lambda: team.get("jobs", "-l", "kfit.dev/cronjob=upgraded")["items"], timeout_s=90)[0]["metadata"][
        "name"
    ]
    pod = until(lambda: running(team, name) if _epoch(team, name) > 3 else None, timeout_s=180)
    helm(team, "upgrade", "upgraded", CHART, "-f", night, "--set", "schedule.suspend=true,run.fit.epochs=7")
    evict(team, pod)
    team.kfit("wait", name)
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert (status["restarts"], status["epochs"]) == (1, 60)
    carried = team.get("job", name)["spec"]["template"]["metadata"]["annotations"]["kfit.dev/job-file"]
    assert yaml.safe_load(carried)["run"]["fit"]["epochs"] == 60
    helm(team, "uninstall", "upgraded")
    gone(team, "upgraded")


def _epoch(team: Team, name: str) -> int:
    return int(json.loads(team.kfit("status", name, "-o", "json").out)["epoch"])


def test_plain_kubectl_and_one_selector(team: Team, job_file: Callable[..., Path]) -> None:
    """plain kubectl: one selector lists all objects of a job file and deletes them; extraObjects are among them"""
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "beside"}, "data": {"a": "b"}}
    more: dict[str, Any] = {"podDisruptionBudget": {"enabled": True}, "extraObjects": [extra]}
    rendered = team.kfit("render", str(job_file("plain", nodes=2, suspend=True, **more))).out
    team.kubectl("apply", "-f", "-", given=rendered)
    documents = from_yaml(rendered)
    name = next(d["metadata"]["name"] for d in documents if d["kind"] == "Job")
    kinds = f"{KINDS},configmap"
    assert of_job(team, name, kinds) == sorted(d["kind"] for d in documents)
    team.kubectl("delete", kinds, "-l", f"kfit.dev/job={name}")
    assert of_job(team, name, kinds) == []


def test_made_again(team: Team, job_file: Callable[..., Path]) -> None:
    """a Job that its TTL took, made again by what Git says: the same run, which has ended; nothing is trained"""
    job = job_file("again")
    rendered = team.kfit("render", str(job)).out
    name = next(d["metadata"]["name"] for d in from_yaml(rendered) if d["kind"] == "Job")
    for _ in range(2):
        team.kubectl("apply", "-f", "-", given=rendered)
        team.kfit("wait", name)
        said = team.kfit("logs", name).out
        team.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec":{"ttlSecondsAfterFinished":0}}')
        until(lambda: "Job" not in of_job(team, name))
    assert f"run {name} has succeeded already; nothing to do" in said
    assert "epoch" not in said
    team.kubectl("delete", KINDS, "-l", f"kfit.dev/job={name}")
