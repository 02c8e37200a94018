"""Where a run's files lie in storage, whether its Job is still there or gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from k8s.actions.lookup import find_job, object_name
from k8s.api.client import OURS, Cluster
from k8s.chart.yaml_documents import annotation, run_id
from k8s.errors import AccessError, ClusterError, NotFound
from k8s.status.stored_run import run_uri
from trainer.run_id import check_run_id

REMEDY = "`kfit list` shows what is there; -f JOB (logs: --file JOB) or --output-uri URI says where the run wrote"


@dataclass(frozen=True)
class RunPlace:
    """A run's folder, by the job file's `output.uri` and the run's id."""

    output: str
    run: str

    @property
    def uri(self) -> str:
        """The folder's URI."""
        return run_uri(self.output, self.run)


def find_place(open_cluster: Callable[[], Cluster], word: str, given: str, *, verb: str) -> RunPlace:
    """Returns where the run that a word means keeps its files.

    Args:
        open_cluster: Opens the cluster, which is not needed where `given` says enough.
        word: As `find_job` takes it, or the id of a run whose Job is gone.
        given: The `output.uri` that the command line names; empty: the Job's, or that of another Job of its file.
        verb: The command, for messages.

    Raises:
        NotFound: Nothing says where it wrote.
        ConfigError: The word is not a run id.
        KfitError: The cluster is needed and out of reach.
    """
    try:
        job = find_job(open_cluster(), word)
    except NotFound:
        pass
    except (AccessError, ClusterError):
        if not given:
            raise
    else:
        if output := given or annotation(job, "output-uri"):
            return RunPlace(output, run_id(job))
    run = check_run_id(object_name("Job", word), f"kfit {verb} RUN")
    if output := given or sibling_output(open_cluster(), run):
        return RunPlace(output, run)
    raise NotFound(
        f"no run {run!r}: neither its Job is there nor another of its job file",
        where=f"namespace {open_cluster().namespace}",
        remedy=REMEDY,
    )


def sibling_output(cluster: Cluster, run: str) -> str:
    """Returns where other Jobs of a run's job file write; empty where there is none."""
    labels = f"{OURS},app.kubernetes.io/instance={run.rpartition('-')[0]}"
    for kind in ("Job", "CronJob"):
        for workload in cluster.select(kind, labels=labels):
            if output := annotation(workload, "output-uri"):
                return output
    return ""
