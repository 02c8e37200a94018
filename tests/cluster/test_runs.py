"""Runs on a real cluster with the real trainer: how they end, and what the launcher makes of it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import zipfile

import pytest

from tests.cluster.conftest import until
from tests.cluster.test_several_nodes import kill
from trainer import storage


def env(**values):
    return [{"name": name, "value": value} for name, value in values.items()]


def condition(team, name, kind):
    conditions = team.get("job", name)["status"].get("conditions") or []
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


def test_complete(team, job_file):
    """submit --follow → Complete → model and report in S3"""
    job = job_file("done")
    done = team.kfit("submit", str(job), "--follow")
    name = done.out.split()[0].rpartition("/")[2]
    assert "epoch 1/1" in done.out
    assert f"{name} succeeded" in done.err
    assert condition(team, name, "Complete")
    run = f"{team.store.models}/done/runs/{name}"
    left = {o.name for o in storage.list_objects(run)}
    assert {"model/model.keras", "model/MANIFEST.json", "report.html", "result.json", "config.json"} <= left
    assert team.kfit("wait", name).code == 0
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert (status["phase"], status["exit_code"], status["restarts"]) == ("Succeeded", 0, 0)
    assert (status["epoch"], status["epochs"]) == (1, 1)
    assert "val_loss" in status["metrics"]

    again = team.kfit("submit", str(job))
    assert "unchanged: this file was sent before, it has succeeded" in again.out
    assert len(team.get("jobs", "-l", "app.kubernetes.io/instance=done")["items"]) == 1


CASES = {
    64: {"run": {"fit": {"class_weight": {"ghost": 2}}}},  # only the data's classes say that it is none
    65: {"run": {"data": {"features": {"wind_gust": {"kind": "numeric"}}}}},
    69: {
        "env": env(AWS_ENDPOINT_URL="http://127.0.0.1:9"),
        "envFrom": [{"secretRef": {"name": "store"}}, {"configMapRef": {"name": "hurry"}}],
    },
    70: {"run": {"model": {"entrypoint": "os:getcwd", "builtin": None}}},
}
POLICY = {64: "PodFailurePolicy", 65: "PodFailurePolicy", 69: "BackoffLimitExceeded", 70: "BackoffLimitExceeded"}
SAID = {64: "ghost", 65: "wind_gust", 69: "127.0.0.1", 70: "os:getcwd"}


@pytest.mark.parametrize("code", CASES)
def test_exit_codes(team, job_file, code):
    """the trainer's exit code, its policy, and kfit wait"""
    if code == 69:
        team.kubectl("create", "configmap", "hurry", "--from-literal=KFIT_STORAGE_DEADLINE_S=3")
    job = job_file(f"exit{code}", **CASES[code])
    if code == 70:
        text = job.read_text().replace("    builtin: null\n", "").replace("    hidden:\n    - 8\n", "")
        job.write_text(text)
    name = team.submit(job)
    waited = team.kfit("wait", name, code=code)
    assert f"{name} failed: exit {code}" in waited.err
    assert condition(team, name, "Failed")["reason"] == POLICY[code]
    why = team.kfit("why", name)
    assert f"exit {code}" in why.out
    assert SAID[code] in why.out
    assert "fix: " in why.out


def test_eviction(team, job_file):
    """evicted in mid-run → exit 75 → replacement goes on → same weights as undisturbed"""
    fit = {"epochs": 60, "seed": 7, "deterministic": True}
    steady = {"checkpoint": {"every": "2s", "keep": 3}}
    undisturbed = team.submit(job_file("steady", run={"fit": fit, "output": steady}))
    team.kfit("wait", undisturbed)

    job = job_file("moved", run={"fit": fit, "output": steady})
    name = team.submit(job)
    following = team.start("logs", "-f", name)
    pod = until(lambda: _pod_past(team, name, epoch=5))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
    team.kubectl("create", "-f", "-", "--raw", path, given=json.dumps(eviction))
    out, err = following.communicate(timeout=240)
    assert following.returncode == 0, err
    assert err.count(f"pod {pod} ended: evicted; exit 75: preempted; a checkpoint is committed") == 1
    assert err.count("running: pod ") == 2
    assert "going on from the checkpoint" in out
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert (status["phase"], status["restarts"]) == ("Succeeded", 1)
    assert _weights(team, "moved", name) == _weights(team, "steady", undisturbed)


def _pod_past(team, name, epoch):
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    pods = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
    return pods[0]["metadata"]["name"] if status["epoch"] > epoch and pods else None


def _weights(team, job, run):
    """Every array of the exported model, as bytes: the archive around them tells the time."""
    import h5py

    archive = storage.read(f"{team.store.models}/{job}/runs/{run}/model/model.keras")
    with zipfile.ZipFile(io.BytesIO(archive)) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as file:
        arrays = {}
        file.visititems(
            lambda name, at: arrays.update({name: at[()].tobytes()}) if isinstance(at, h5py.Dataset) else None
        )
    assert arrays
    return arrays


def test_liveness(team, job_file):
    """a trainer that hangs as a whole is ended by its liveness probe; the replacement goes on and ends"""
    probe = {"enabled": True, "maxStepAgeSeconds": 60, "periodSeconds": 5}
    run = {"fit": {"epochs": 60}, "output": {"checkpoint": {"every": "2s"}}}
    job = job_file("frozen", livenessProbe=probe, backoffLimit=1, terminationGracePeriodSeconds=5, run=run)
    name = team.submit(job)
    pod = until(lambda: _pod_past(team, name, epoch=2))
    kill(team, pod, "SIGSTOP")
    team.kfit("wait", name, timeout_s=500)
    status = json.loads(team.kfit("status", name, "-o", "json").out)
    assert (status["restarts"], status["ended"][0]["exit_code"]) == (1, 137)
    assert "going on from the checkpoint" in team.kfit("logs", name).out


def test_out_of_memory(team, job_file):
    """out of memory → exit 137, the error names the remedy"""
    # A third of so little would be refused before anything is read.
    run = {"data": {"memory": "200MiB"}}
    name = team.submit(job_file("oom", run=run, resources={"memory": "260Mi", "shm": "16Mi"}))
    waited = team.kfit("wait", name, code=137)
    assert "out of memory" in waited.err
    assert "resources.memory" in team.kfit("why", name).out


def test_deadline_and_resume(team, job_file):
    """stopped by its deadline → resume → done, one run in storage"""
    fit = {"epochs": 100}
    job = job_file("late", activeDeadlineSeconds=40, run={"fit": fit, "output": {"checkpoint": {"every": "2s"}}})
    # An epoch waits for its reader: enough of them and the deadline comes first, whatever the machine.
    name = team.submit(job, "--set", "run.fit.epochs=3000")
    waited = team.kfit("wait", name, code=75)
    assert "stopped by its deadline (activeDeadlineSeconds: 40)" in waited.err
    left = json.loads(storage.read(f"{team.store.models}/late/runs/{name}/result.json"))
    assert left["status"] == "preempted"
    resumed = team.kfit("resume", name, "-o", "name").out.strip().rpartition("/")[2]
    assert resumed != name
    until(lambda: "going on from the checkpoint" in team.kfit("logs", resumed, code=None).out)
    assert json.loads(team.kfit("status", resumed, "-o", "json").out)["run"] == name
    assert "is at work on it" in team.kfit("resume", name, code=64).err
    team.kfit("cancel", resumed)
    assert {o.name.split("/")[0] for o in storage.list_objects(f"{team.store.models}/late/runs")} == {name}


def test_cancel(team, job_file):
    """cancel leaves nothing but what is in storage; a waiting kfit says so (4)"""
    job = job_file("unwanted", run={"fit": {"epochs": 3000}, "output": {"checkpoint": {"every": "2s"}}})
    name = team.submit(job)
    waiting = team.start("wait", name)
    until(lambda: _pod_past(team, name, epoch=2))
    done = team.kfit("cancel", name, "--wait")
    assert f"runs/{name}" in done.err
    assert waiting.wait(60) == 4
    assert team.objects(name) == []
    left = {o.name for o in storage.list_objects(f"{team.store.models}/unwanted/runs/{name}")}
    assert any(n.startswith("checkpoints/step-") for n in left)
    assert team.kfit("wait", name, code=3).err.startswith("error: ")
    why = team.kfit("why", name, "-f", str(job))
    assert "preempted" in why.out
    assert f"kfit resume {name}" in why.out


def test_interrupted(team, job_file):
    """Ctrl-C detaches: the run goes on, exit 130, and how to come back; --timeout: 124"""
    name = team.submit(job_file("longer", run={"fit": {"epochs": 3000}}))
    team.kfit("wait", name, "--timeout", "2s", code=124)
    following = team.start("logs", "-f", name)
    until(lambda: _pod_past(team, name, epoch=1))
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=20)
    assert following.returncode == 130
    assert f"Come back: kfit logs -f {name}" in err
    assert f"Cancel: kfit cancel {name}" in err
    assert not condition(team, name, "Failed")
    team.kfit("cancel", name)


def test_ttl(team, job_file):
    """TTL removes all that a run owned; why goes on from storage"""
    job = job_file("brief", ttlSecondsAfterFinished=5, run={"data": {"label": "no_such_column"}})
    name = team.submit(job)
    team.kfit("wait", name, code=65)
    until(lambda: team.objects(name) == [])
    why = team.kfit("why", name, "-f", str(job))
    assert "failed" in why.out
    assert "no_such_column" in why.out
    assert team.kfit("why", name, code=3).err.count("-f JOB") == 1


def test_gpus(team, job_file):
    """three GPUs asked, two there → Pending, with the resource named"""
    node = team.get("nodes")["items"][0]["metadata"]["name"]
    gpus = {"status": {kind: {"nvidia.com/gpu": "2"} for kind in ("capacity", "allocatable")}}
    patch = ["patch", "node", node, "--subresource=status", "--type=merge", "-p"]
    team.kubectl(*patch, json.dumps(gpus))
    try:
        name = team.submit(job_file("gpus", resources={"gpus": 3}))
        waited = team.kfit("wait", name, "--timeout", "6s", code=124)
        assert "1 of 1 too little nvidia.com/gpu (the pod asks for 3 nvidia.com/gpu)" in waited.err
        assert "resources.gpus" in team.kfit("why", name).out
        assert "too little nvidia.com/gpu" in team.kfit("list").out
        team.kfit("cancel", name)
    finally:
        team.kubectl(*patch, json.dumps({"status": {k: {"nvidia.com/gpu": None} for k in gpus["status"]}}))


def test_missing_image(team, job_file):
    """image that does not exist → reported; never ran before its deadline → exit 5"""
    image = {"repository": "localhost/no-such-trainer", "tag": "none", "pullPolicy": "IfNotPresent"}
    name = team.submit(job_file("noimage", image=image, activeDeadlineSeconds=15, terminationGracePeriodSeconds=5))
    until(lambda: "cannot be pulled" in team.kfit("why", name).out)
    waited = team.kfit("wait", name, code=5)
    assert "localhost/no-such-trainer:none" in waited.err
    assert "no pod ran before its deadline of 15 s" in waited.err


def test_quota(team, job_file):
    """quota used up → reported in numbers; dry-run=server refuses before anything is made"""
    job = job_file("greedy", resources={"cpu": "64"})
    refused = team.kfit("submit", str(job), "--dry-run=server", code=64)
    assert "exceeded quota: team" in refused.err
    assert team.objects("greedy") == []
    name = team.submit(job)
    waited = team.kfit("wait", name, "--timeout", "6s", code=124)
    assert "quota team is used up: requested requests.cpu=64" in waited.err
    team.kfit("cancel", name)


def test_two_users(team, job_file):
    """two users' runs in one namespace: each pod has its own job file and no token"""
    names = [team.submit(job_file(f"user{n}", run={"fit": {"epochs": 3000}})) for n in "ab"]
    pods = [until(lambda name=name: _running(team, name)) for name in names]
    for pod, user in zip(pods, ("usera", "userb"), strict=True):
        mounted = team.kubectl("exec", pod, "--", "cat", "/etc/kfit/job.yaml")
        assert f"s3://models/{user}" in mounted
        listed = team.kubectl("exec", pod, "--", "ls", "/var/run/secrets", check=False)
        assert "serviceaccount" not in listed
    team.kfit("cancel", *names)


def _running(team, name):
    pods = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
    ready = [p for p in pods if any("running" in s["state"] for s in p["status"].get("containerStatuses") or [])]
    return ready[0]["metadata"]["name"] if ready else None


def test_foreign(team, job_file):
    """a foreign object of the same name: refused, nothing touched"""
    job = job_file("taken")
    name = team.kfit("submit", str(job), "--dry-run=client", "-o", "name").out.strip().rpartition("/")[2]
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": "theirs"}}},
    }
    team.kubectl("create", "-f", "-", given=json.dumps(theirs))
    refused = team.kfit("submit", str(job), code=64)
    assert "not this job's" in refused.err
    assert team.objects(name) == [f"NetworkPolicy/{name}"]
    assert team.get("networkpolicy", name)["spec"]["podSelector"] == {"matchLabels": {"app": "theirs"}}
    changed = team.submit(job, "--set", "run.fit.epochs=2")
    assert changed != name
    team.kfit("cancel", changed)


def test_kubectl_plugin(team):
    """kubectl kfit list"""
    plugin = subprocess.run(
        ["kubectl", "kfit", "list", "-o", "name"], env=team.environment(), capture_output=True, text=True, check=False
    )
    if "unknown command" in plugin.stderr:
        pytest.skip("kubectl-kfit is not on PATH")
    assert plugin.returncode == 0
    assert plugin.stdout == team.kfit("list", "-o", "name").out
