"""Objects that the tests of the verbs put into the cluster in memory."""

from __future__ import annotations

from tests.k8s.objects import job, pod

JOBS, PODS, EVENTS = "/apis/batch/v1/namespaces/ml/jobs", "/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/events"


def put(server, *objects):
    folders = {"Job": JOBS, "CronJob": JOBS.replace("jobs", "cronjobs")}
    for manifest in objects:
        path = folders.get(manifest.get("kind"), PODS)
        path = EVENTS if "involvedObject" in manifest else path
        name = manifest["metadata"].get("name") or manifest["metadata"]["uid"]
        server.behind.objects[f"{path}/{name}"] = manifest


OVER = [{"type": "Failed", "reason": "PodFailurePolicy", "message": "failed with exit code 65 matching"}]


def failed_job(**changes):
    return job(conditions=OVER, **changes)


def ours(name="train-1a2b3c4d-x", **changes):
    own = pod(name, **changes)
    own["metadata"]["labels"] = {
        "app.kubernetes.io/part-of": "kfit",
        "batch.kubernetes.io/job-name": "train-1a2b3c4d",
    }
    return own
