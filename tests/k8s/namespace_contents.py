"""Objects that the tests of the verbs put into the cluster in memory."""

from __future__ import annotations

from tests.k8s.objects import job, pod

JOBS, PODS, EVENTS = "/apis/batch/v1/namespaces/ml/jobs", "/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/events"


def put(server, *objects):
    folders = {"Job": JOBS, "CronJob": JOBS.replace("jobs", "cronjobs")}
    for found in objects:
        path = folders.get(found.get("kind"), PODS)
        path = EVENTS if "involvedObject" in found else path
        name = found["metadata"].get("name") or found["metadata"]["uid"]
        server.behind.objects[f"{path}/{name}"] = found


OVER = [{"type": "Failed", "reason": "PodFailurePolicy", "message": "failed with exit code 65 matching"}]


def failed_job(**changes):
    return job(conditions=OVER, **changes)


def ours(name="train-1a2b3c4d-x", **changes):
    found = pod(name, **changes)
    found["metadata"]["labels"] = {
        "app.kubernetes.io/part-of": "kfit",
        "batch.kubernetes.io/job-name": "train-1a2b3c4d",
    }
    return found
