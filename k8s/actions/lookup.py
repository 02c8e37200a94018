"""The objects that a word on the command line means. Objects that kfit did not make are refused.

`find_job` and `find_schedule` serve verbs that only read: the object must carry our label. `check_made_by_kfit`
is the stricter check of verbs that change, continue or delete: the object must come from a job file.
"""

from __future__ import annotations

from k8s.api.client import OURS, Cluster
from k8s.chart.yaml_documents import annotation, label
from k8s.errors import NotFound, RefusedError
from k8s.status.pods import Object, created

#: What may stand before a name, as kubectl prints and reads it.
_PREFIXES = {
    "Job": ("job", "jobs", "job.batch", "jobs.batch"),
    "CronJob": ("cronjob", "cronjobs", "cj", "cronjob.batch", "cronjobs.batch"),
}
_PART_OF = "app.kubernetes.io/part-of"


def object_name(kind: str, word: str) -> str:
    """Returns the name in `NAME` or `KIND/NAME`; whether it is well formed is checked where a path is made of it.

    Raises:
        RefusedError: Something else than the kind stands before the slash.
    """
    prefix, slash, name = word.rpartition("/")
    if slash and prefix not in _PREFIXES[kind]:
        raise RefusedError(
            f"{word[:80]!r} is not the name of a {kind}",
            remedy=f"write NAME or {_PREFIXES[kind][2]}/NAME; `kfit {_list_verb(kind)}` shows the names",
        )
    return name


def find_job(cluster: Cluster, word: str) -> Object:
    """Returns the Job that a word means.

    Args:
        cluster: The cluster to ask.
        word: A Job's name (`job.batch/NAME` too), or the `name:` of a job file: then the newest of its Jobs.

    Raises:
        NotFound: Neither.
        RefusedError: The name is ill formed, or belongs to a Job that kfit did not make.
    """
    name = object_name("Job", word)
    job = cluster.find("Job", name)
    if job is not None and _is_ours(job):
        return job
    of_file = cluster.select("Job", labels=f"{OURS},app.kubernetes.io/instance={name}")
    if of_file:
        return max(of_file, key=created)
    if job is not None:
        raise _foreign("Job", name, cluster)
    raise NotFound(
        f"no run {name!r}",
        where=f"namespace {cluster.namespace}",
        remedy="`kfit list` shows what is there; `kfit why RUN -f JOB` tells of a run whose Job is gone",
    )


def job_name(cluster: Cluster, word: str) -> str:
    """Returns the name of the Job that a word means; see `find_job`."""
    return str(find_job(cluster, word)["metadata"]["name"])


def find_schedule(cluster: Cluster, word: str) -> Object:
    """Returns the CronJob of that name, made from a job file.

    Raises:
        NotFound: There is none.
        RefusedError: The name is ill formed, or belongs to a CronJob that kfit did not make.
    """
    name = object_name("CronJob", word)
    schedule = cluster.find("CronJob", name)
    if schedule is None:
        raise NotFound(
            f"no schedule {name!r}",
            where=f"namespace {cluster.namespace}",
            remedy="`kfit schedule list` shows what is there; -n names a namespace",
        )
    check_made_by_kfit(cluster, schedule)
    return schedule


def check_made_by_kfit(cluster: Cluster, workload: Object) -> None:
    """Checks that a Job or CronJob was made from a job file: it has our label and the hash of the file's values.

    Raises:
        RefusedError: It was not.
    """
    if not _is_ours(workload) or not annotation(workload, "values-hash"):
        raise _foreign(workload["kind"], str(workload["metadata"]["name"]), cluster)


def _is_ours(workload: Object) -> bool:
    return label(workload, _PART_OF) == OURS.partition("=")[2]


def _foreign(kind: str, name: str, cluster: Cluster) -> RefusedError:
    return RefusedError(
        f"this {kind} was not made from a job file of kfit, so kfit leaves it alone",
        where=f"{kind} {name} in namespace {cluster.namespace}",
        remedy=f"`kfit {_list_verb(kind)}` shows what is kfit's; kubectl is for all else",
    )


def _list_verb(kind: str) -> str:
    return "list" if kind == "Job" else "schedule list"
