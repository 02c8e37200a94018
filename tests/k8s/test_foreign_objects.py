"""What kfit did not make stays as it is, whatever a verb is asked for."""

from __future__ import annotations

import copy

import pytest

from k8s.errors import RefusedError
from tests.k8s.namespace_contents import JOBS, failed_job, put
from tests.k8s.objects import job, schedule

OURS = {"app.kubernetes.io/part-of": "kfit"}


def foreign_job():
    return {
        **failed_job(name="db-migration"),
        "metadata": {**failed_job()["metadata"], "name": "db-migration", "labels": {}},
    }


def foreign_cronjob():
    cronjob = schedule("pg-backup")
    cronjob["metadata"]["labels"] = {}
    del cronjob["spec"]["jobTemplate"]["metadata"]
    return cronjob


@pytest.mark.parametrize("verb", [["status"], ["logs"], ["wait"], ["why"], ["cancel"]])
def test_a_job_of_others_is_refused_by_every_verb(server, kfit, verb):
    put(server, foreign_job())
    before = copy.deepcopy(server.behind.objects)
    with pytest.raises(RefusedError, match="not made from a job file") as caught:
        kfit(*verb, "db-migration")
    assert "Job db-migration" in caught.value.where
    assert server.behind.objects == before
    assert {method for method, _ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    "words", [["schedule", "delete"], ["schedule", "suspend"], ["schedule", "resume"], ["trigger"]], ids=" ".join
)
@pytest.mark.parametrize("labels", [{}, OURS])
def test_a_cronjob_of_others_is_refused_by_every_verb_even_under_our_label(server, kfit, words, labels):
    cronjob = foreign_cronjob()
    cronjob["metadata"]["labels"] = labels
    put(server, cronjob)
    before = copy.deepcopy(server.behind.objects)
    with pytest.raises(RefusedError, match="not made from a job file"):
        kfit(*words, "pg-backup")
    assert server.behind.objects == before


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_our_label_alone_is_not_enough_to_delete_or_continue_a_job(server, kfit, verb):
    job = failed_job()
    job["metadata"]["annotations"] = {}
    put(server, job)
    before = copy.deepcopy(server.behind.objects)
    with pytest.raises(RefusedError, match="not made from a job file"):
        kfit(verb, "train-1a2b3c4d")
    assert server.behind.objects == before


def test_cancel_leaves_what_others_labelled_for_the_job(server, kfit):
    put(server, job())
    theirs = {"kind": "ConfigMap", "metadata": {"name": "theirs", "labels": {"kfit.dev/job": "train-1a2b3c4d"}}}
    server.behind.objects["/api/v1/namespaces/ml/configmaps/theirs"] = theirs
    kfit("cancel", "train-1a2b3c4d")
    assert list(server.behind.objects) == ["/api/v1/namespaces/ml/configmaps/theirs"]


def test_a_job_of_others_that_is_called_like_a_job_file_does_not_hide_its_runs(server, kfit):
    put(server, {**foreign_job(), "metadata": {**foreign_job()["metadata"], "name": "train"}}, job())
    assert kfit("cancel", "train") == "job.batch/train-1a2b3c4d cancelled\n"
    assert list(server.behind.objects) == [f"{JOBS}/train"]


@pytest.mark.parametrize("word", ["pod/train-1a2b3c4d", "r1/../train-1a2b3c4d", "../train-1a2b3c4d", "/train-1a2b3c4d"])
def test_only_the_kind_may_stand_before_a_name(server, kfit, word):
    put(server, job())
    for verb in ("status", "cancel", "resume"):
        with pytest.raises(RefusedError, match="is not the name of a Job"):
            kfit(verb, word)
    assert [method for method, _ in server.requests if method != "GET"] == []
