"""Runs by the clock on a real cluster."""

from __future__ import annotations

import json

import yaml

from tests.cluster.conftest import until

MINUTE = {"cron": "* * * * *"}
# What fails at once is enough where only the start is looked at.
BROKEN = {"data": {"label": "no_such_column"}}


def jobs(team, name):
    items = team.get("jobs", "-l", f"kfit.dev/cronjob={name}")["items"]
    return sorted(items, key=lambda j: j["metadata"]["creationTimestamp"])


def test_fires(team, job_file):
    """a CronJob fires on its own; suspend stops it, resume lets it go on, delete leaves nothing"""
    job = job_file("nightly", schedule=MINUTE, run=BROKEN)
    assert "cronjob.batch/nightly created" in team.kfit("schedule", "apply", str(job)).out
    fired = until(lambda: jobs(team, "nightly"), timeout_s=75)[0]["metadata"]["name"]
    assert fired.rpartition("-")[2].isdigit()  # minutes since the epoch: the logical date
    team.kfit("wait", fired, code=65)
    assert "cronjob.batch/nightly suspended" in team.kfit("schedule", "suspend", "nightly").out
    listed = json.loads(team.kfit("schedule", "list", "-o", "json").out)["items"]
    assert [(s["name"], s["suspended"]) for s in listed] == [("nightly", True)]
    team.kfit("schedule", "resume", "nightly")
    assert team.get("cronjob", "nightly")["spec"]["suspend"] is False
    team.kfit("schedule", "delete", "nightly")
    until(lambda: team.objects("nightly") == [])
    team.kfit("schedule", "delete", "nightly", code=3)


def test_trigger(team, job_file):
    """trigger starts a run now, for a day; a changed file changes the schedule and not its runs"""
    yearly = {"cron": "0 0 1 1 *", "suspend": True}
    job = job_file("yearly", schedule=yearly, run=BROKEN)
    team.kfit("schedule", "apply", str(job))
    assert "unchanged" in team.kfit("submit", str(job)).out
    name = team.kfit("trigger", "yearly", "--date", "2013-01-05", "-o", "name").out.strip().rpartition("/")[2]
    made = team.get("job", name)
    assert made["spec"]["template"]["metadata"]["annotations"]["kfit.dev/date"] == "2013-01-05"
    assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    team.kfit("wait", name, code=65)
    assert [r["schedule"] for r in json.loads(team.kfit("list", "yearly", "-o", "json").out)["items"]] == ["yearly"]

    team.kfit("schedule", "apply", str(job), "--set", "run.fit.epochs=2")
    carried = team.get("job", name)["spec"]["template"]["metadata"]["annotations"]["kfit.dev/job-file"]
    assert yaml.safe_load(carried)["run"]["fit"]["epochs"] == 1  # the run keeps the file that it was started with
    team.kfit("cancel", name, "--wait")
    team.kfit("schedule", "delete", str(job))
    until(lambda: team.objects("yearly") == [])


def test_submit_of_a_schedule(team, job_file):
    """submit takes a file with a schedule too; following it makes nothing and names trigger"""
    job = job_file("weekly", schedule={"cron": "0 0 * * 0", "suspend": True}, run=BROKEN)
    refused = team.kfit("submit", str(job), "--follow", code=64)
    assert "kfit trigger weekly --follow" in refused.err
    assert "weekly" not in [c["metadata"]["name"] for c in team.get("cronjobs")["items"]]
    assert "cronjob.batch/weekly created" in team.kfit("submit", str(job)).out
    team.kfit("schedule", "delete", "weekly")
