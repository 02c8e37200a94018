"""templates/cronjob.yaml."""

from __future__ import annotations

import pytest

from tests.chart.charts import JOB, NIGHTLY, render, values


@pytest.fixture(scope="module")
def nightly():
    return render(values(NIGHTLY))


def test_a_schedule_makes_a_cronjob_in_place_of_the_job(nightly):
    assert sorted(nightly.objects) == ["CronJob", "NetworkPolicy"]
    spec = dict(nightly.objects["CronJob"]["spec"])
    del spec["jobTemplate"]
    assert spec == {
        "schedule": "0 2 * * *",
        "timeZone": "Europe/Berlin",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
    }


def test_its_name_is_the_jobs_name_and_never_changes(nightly):
    assert nightly.name == "flights"
    assert render(values(NIGHTLY, run={"fit": {"epochs": 3}})).name == "flights"


def test_its_jobs_are_those_of_the_same_file_without_a_schedule(nightly):
    by_hand = render(JOB)
    ours, theirs = dict(nightly.job), dict(by_hand.job)
    # A schedule's history limits decide how long its Jobs stay.
    assert theirs.pop("ttlSecondsAfterFinished") == 86400
    for spec in (ours, theirs):
        spec["template"] = None
    assert ours == theirs
    pod, other = dict(nightly.pod), dict(by_hand.pod)
    for one in (pod, other):
        one["containers"] = [{**one["containers"][0], "env": None}]
        one["volumes"] = one["volumes"][1:]
    assert pod == other


def test_the_trainer_learns_the_schedule_and_the_date(nightly):
    by_hand = render(JOB)
    more = {k: v for k, v in nightly.env.items() if k not in by_hand.env}
    assert more == {
        "KFIT_SCHEDULE": "flights",
        "KFIT_TIME_ZONE": "Europe/Berlin",
        "KFIT_DATE": {"fieldRef": {"fieldPath": "metadata.annotations['kfit.dev/date']"}},
    }
    assert {k: nightly.env[k] for k in by_hand.env} == by_hand.env


def test_the_schedule_can_be_set_in_full():
    schedule = {
        "cron": "@daily",
        "suspend": True,
        "startingDeadlineSeconds": 60,
        "successfulJobsHistoryLimit": 0,
        "failedJobsHistoryLimit": 9,
    }
    spec = render(values(schedule=schedule)).objects["CronJob"]["spec"]
    assert {k: v for k, v in spec.items() if k in schedule} == {k: v for k, v in schedule.items() if k != "cron"}
    assert spec["schedule"] == "@daily"
    assert spec["timeZone"] == "Etc/UTC"


def test_times_change_in_place(nightly):
    """Another hour is no other job: the Jobs stay as they are."""
    later = render(values(NIGHTLY, schedule={"cron": "0 3 * * *", "suspend": True}))
    assert later.job == nightly.job


def test_its_jobs_say_where_their_runs_lie(nightly):
    metadata = nightly.objects["CronJob"]["spec"]["jobTemplate"]["metadata"]
    assert metadata["annotations"]["kfit.dev/output-uri"] == "s3://models/flights"
    assert metadata["labels"]["kfit.dev/cronjob"] == "flights"
    assert "kfit.dev/job" not in metadata["labels"]


def test_several_nodes_keep_clear_of_a_service_of_the_same_name():
    job = render(values(NIGHTLY, nodes=2))
    assert job.objects["Service"]["metadata"]["name"] == "flights-workers"
    assert job.pod["subdomain"] == job.env["KFIT_SERVICE"] == "flights-workers"
    assert job.objects["Service"]["spec"]["selector"] == {"kfit.dev/cronjob": "flights"}
