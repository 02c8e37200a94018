"""templates/NOTES.txt: what to do next, in commands that can be pasted."""

from __future__ import annotations

import pytest
import yaml

from tests.chart.charts import CHART, JOB, NIGHTLY, helm, render, values


def notes(given) -> str:
    done = helm(
        *("install", "flights", str(CHART), "--dry-run=client", "-n", "ml", "-f", "-"),
        stdin=yaml.safe_dump({**given, "kubeVersion": "1.34"}),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NOTES:\n")[1]


def test_a_job_can_be_followed_seen_and_stopped():
    name = render(values(kubeVersion="1.34")).name
    said = notes(JOB)
    assert said.startswith(f"Job {name}.\n")
    for command in (
        f"kubectl -n ml logs -f job/{name}\n",
        f"kubectl -n ml get job,pod -l kfit.dev/job={name}\n",
        f"kubectl -n ml delete job {name}\n",
        f"kfit -n ml status {name}, kfit -n ml why {name}\n",
    ):
        assert command in said
    assert said.endswith("A run writes to s3://models/flights/runs/\n")


@pytest.mark.parametrize(
    ("change", "said"), [({"queue": "team-a"}, " waits in queue team-a.\n"), ({"suspend": True}, " is suspended.\n")]
)
def test_a_job_that_does_not_start_says_so(change, said):
    assert notes(values(change)).splitlines(keepends=True)[0].endswith(said)


def test_a_schedule_says_when_and_how_to_start_one_now():
    said = notes(values(NIGHTLY))
    assert said.startswith('CronJob flights starts a run at "0 2 * * *" (Europe/Berlin).\n')
    assert "kubectl -n ml create job --from=cronjob/flights flights-by-hand\n" in said
    assert "but is suspended.\n" in notes(values(NIGHTLY, schedule={"suspend": True}))


def test_control_characters_of_values_do_not_reach_the_terminal():
    said = notes(values(NIGHTLY, run={"output": {"uri": "s3://a\x1b[2Jb\u202e"}}))
    assert said.endswith("A run writes to s3://a?[2Jb?/runs/\n")
