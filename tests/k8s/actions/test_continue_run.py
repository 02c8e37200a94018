"""Going on with a run in a new Job, and starting one of a schedule by hand."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime

import pytest

from k8s.actions.continue_run import logical_date, manifests, next_name
from k8s.actions.schedules import triggered
from k8s.chart.yaml_documents import run_id
from k8s.errors import RefusedError
from tests.chart.charts import render, values
from tests.k8s.objects import job

OLD = "train-1a2b3c4d"


def over(**changes):
    ended = job(
        labels={"kfit.dev/job": OLD, "controller-uid": "u"}, annotations={"kfit.dev/values-hash": "h"}, **changes
    )
    template = ended["spec"]["template"]
    template["metadata"]["labels"] = {"kfit.dev/job": OLD, "batch.kubernetes.io/job-name": OLD, "job-name": OLD}
    template["spec"]["subdomain"] = OLD
    ended["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    return ended


def test_the_new_job_goes_on_with_the_old_run_under_a_new_name():
    service = {"kind": "Service", "metadata": {"name": OLD, "uid": "x", "ownerReferences": [{}]}, "spec": {"a": "b"}}
    made, again = manifests(over(), [service])
    name = next_name(over())
    assert name.startswith("train-")
    assert name != OLD
    assert made == {
        "kind": "Service",
        "metadata": {"name": name, "labels": {}, "annotations": {}},
        "spec": {"a": "b"},
    }
    assert again["metadata"]["name"] == name
    assert again["metadata"]["labels"]["kfit.dev/job"] == name
    assert run_id(again) == OLD
    assert again["spec"]["template"]["metadata"]["labels"] == {"kfit.dev/job": name}
    assert again["spec"]["template"]["spec"]["subdomain"] == name
    assert "selector" not in again["spec"]
    assert "status" not in again


def test_what_a_queue_wrote_into_the_old_job_is_not_of_the_new_one():
    """Kueue never starts a Job whose pods name another's workload; of fewer nodes the new Job asks for all again."""
    ended = over(
        spec={"parallelism": 1, "completions": 1},
    )
    ended["spec"]["template"]["spec"]["containers"][0]["env"] += [{"name": "KFIT_NODES", "value": "4"}]
    template = ended["spec"]["template"]["metadata"]
    template["labels"] |= {"kueue.x-k8s.io/podset": "main", "team": "ml"}
    wanted = {"kueue.x-k8s.io/podset-required-topology": "rack"}
    template["annotations"] = {"kueue.x-k8s.io/workload": "job-old", **wanted}
    (again,) = manifests(ended, [])
    assert again["spec"]["template"]["metadata"]["labels"] == {"kfit.dev/job": next_name(ended), "team": "ml"}
    assert again["spec"]["template"]["metadata"]["annotations"] == wanted
    assert (again["spec"]["parallelism"], again["spec"]["completions"]) == (4, 4)


@pytest.mark.parametrize(
    "asked", [{}, {"nodeSelector": {"pool": "a"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}], ids=str
)
def test_a_new_job_is_not_pinned_to_the_nodes_that_a_queue_chose_for_the_old_one(asked):
    change = {key: value for key, value in asked.items() if value}
    rendered = render(values(change, queue="team-a")).objects["Job"]
    rendered["metadata"] |= {"uid": "u"}
    pod = rendered["spec"]["template"]["spec"]
    before = copy.deepcopy(pod)
    # as Kueue admits a Job: the labels and tolerations of a flavor, and a gate where there is a topology
    pod["nodeSelector"] = {**pod.get("nodeSelector", {}), "cloud.provider.com/spot": "true"}
    pod["tolerations"] = [*pod.get("tolerations", []), {"key": "spot", "operator": "Exists"}]
    pod["schedulingGates"] = [{"name": "kueue.x-k8s.io/topology"}]
    (again,) = manifests(rendered, [])
    assert run_id(again) == run_id(rendered)
    after = again["spec"]["template"]["spec"]
    assert {**after, "containers": []} == {**before, "containers": []}
    assert (
        again["metadata"]["annotations"]["kfit.dev/placement"]
        == rendered["metadata"]["annotations"]["kfit.dev/placement"]
    )


def test_nodes_that_no_queue_chose_stay():
    ended = over()
    ended["spec"]["template"]["spec"] |= {"nodeSelector": {"pool": "a"}, "schedulingGates": [{"name": "own"}]}
    pod = manifests(ended, [])[-1]["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["schedulingGates"]) == ({"pool": "a"}, [{"name": "own"}])


@pytest.mark.parametrize("written", ["{", "[]", '{"nodeName": "node-1"}', "1e999"])
def test_a_placement_that_somebody_wrote_is_refused(written):
    ended = over()
    ended["metadata"].setdefault("annotations", {})["kfit.dev/placement"] = written
    with pytest.raises(RefusedError, match="is not what the chart writes") as refused:
        manifests(ended, [])
    assert refused.value.where == f"Job {OLD}"


def test_asked_twice_it_is_the_same_job_and_after_that_one_another():
    assert next_name(over()) == next_name(over())
    assert next_name(over()) != next_name(over(uid="other"))


def test_a_resumed_job_of_a_resumed_job_keeps_the_first_run():
    _, again = manifests(over(), [{"kind": "Service", "metadata": {"name": OLD}}])
    again["metadata"]["uid"] = "second"
    assert run_id(manifests(again, [])[-1]) == OLD


def test_a_scheduled_run_keeps_its_day():
    nightly = job("nightly-22616640", labels={"kfit.dev/cronjob": "nightly"})  # 2013-01-01 00:00 UTC
    assert logical_date(nightly) == "2013-01-01"
    env = nightly["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "KFIT_TIME_ZONE", "value": "America/New_York"})
    assert logical_date(nightly) == "2012-12-31"
    assert logical_date(job()) is None
    assert manifests(nightly, [])[-1]["spec"]["template"]["metadata"]["annotations"] == {"kfit.dev/date": "2012-12-31"}


def schedule(**spec):
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    template = {"metadata": {"labels": {"kfit.dev/cronjob": "nightly"}}, "spec": {"template": pod, "backoffLimit": 2}}
    return {
        "kind": "CronJob",
        "metadata": {"name": "nightly", "uid": "cron"},
        "spec": {"schedule": "0 2 * * *", "jobTemplate": template, **spec},
    }


def test_a_triggered_run_is_owned_by_its_schedule_and_is_for_a_day():
    at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    made = triggered(schedule(timeZone="Europe/Berlin"), at, None)
    assert made["metadata"]["name"] == f"nightly-m{int(at.timestamp()):x}"
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "cron", "controller": True}
    ]
    assert made["spec"]["backoffLimit"] == 2
    assert made["spec"]["template"]["metadata"]["annotations"] == {"kfit.dev/date": "2026-03-02"}  # there
    given = triggered(schedule(), at, date(2013, 1, 5))
    assert given["spec"]["template"]["metadata"]["annotations"] == {"kfit.dev/date": "2013-01-05"}
