"""Runs by name, and what they left in storage."""

from __future__ import annotations

from k8s.api.client import OURS, Cluster
from k8s.errors import NotFound


def job_name(cluster: Cluster, run: str) -> str:
    """The Job that a word on the command line means.

    Args:
        cluster: Where.
        run: A Job's name (`job.batch/NAME` too), or the `name:` of a job file: then the newest of its Jobs.

    Raises:
        NotFound: Neither.
    """
    run = run.rpartition("/")[2]
    if cluster.find("Job", run) is not None:
        return run
    of_file = cluster.select("Job", labels=f"{OURS},app.kubernetes.io/instance={run}")
    if not of_file:
        raise NotFound(
            f"no run {run!r}",
            where=f"namespace {cluster.namespace}",
            remedy="`kfit list` shows what is there; `kfit why RUN -f JOB` tells of a run whose Job is gone",
        )
    newest = max(of_file, key=lambda job: str(job["metadata"]["creationTimestamp"]))
    return str(newest["metadata"]["name"])
