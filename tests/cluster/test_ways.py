"""One file for all: kfit, kubectl and helm bring the same bytes into the container."""

from __future__ import annotations

import subprocess

from k8s.chart.yaml_documents import from_yaml
from tests.cluster.conftest import ROOT, until

CHART = str(ROOT / "charts" / "training-job")


def helm(team, *words, check=True):
    done = subprocess.run(
        ["helm", "--namespace", team.namespace, *words], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def mounted(team, name):
    """The bytes of job.yaml in the running container."""

    def read():
        pods = team.get("pods", "-l", f"batch.kubernetes.io/job-name={name}")["items"]
        running = [p for p in pods if any("running" in s["state"] for s in p["status"].get("containerStatuses") or [])]
        words = ["kubectl", "-n", team.namespace, "exec", running[0]["metadata"]["name"], "--"] if running else []
        if not words:
            return None
        done = subprocess.run([*words, "cat", "/etc/kfit/job.yaml"], capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None

    return until(read)


def gone(team, name):
    until(lambda: team.objects(name) == [])


def test_four_ways(team, job_file):
    """kfit submit, kfit render | kubectl, helm template | kubectl, helm install: the same bytes in the container"""
    job = job_file(
        "ways",
        terminationGracePeriodSeconds=5,
        run={"fit": {"epochs": 3000, "optimizer": {"name": "adam", "learning_rate": 1e-4}}},
    )
    name = team.submit(job)
    seen = {"submit": mounted(team, name)}
    team.kfit("cancel", name)
    gone(team, name)

    rendered = team.kfit("render", str(job)).out
    team.kubectl("apply", "-f", "-", given=rendered)
    seen["render"] = mounted(team, name)
    # What plain kubectl made has no owner; cancel takes it all the same.
    team.kfit("cancel", name)
    gone(team, name)

    team.kubectl("apply", "-f", "-", given=helm(team, "template", "any", CHART, "-f", str(job)))
    seen["template"] = mounted(team, name)
    team.kfit("cancel", name)
    gone(team, name)

    helm(team, "install", "ways", CHART, "-f", str(job))
    seen["install"] = mounted(team, name)
    helm(team, "uninstall", "ways")
    gone(team, name)
    assert len(set(seen.values())) == 1, seen
    assert b"learning_rate: 0.0001" in seen["submit"]


def test_render_is_what_submit_sends(team, job_file):
    """what render prints is what submit has sent: every object, every key of it"""
    job = job_file("same", suspend=True)
    name = team.submit(job)
    rendered = from_yaml(team.kfit("render", str(job)).out)
    assert sorted(f"{o['kind']}/{o['metadata']['name']}" for o in rendered) == team.objects(name)
    for manifest in rendered:
        assert beyond(manifest, team.get(manifest["kind"], name)) == {}
    team.kfit("cancel", name)


def beyond(manifest, live, at=""):
    """What a manifest says and the object does not."""
    if isinstance(manifest, dict) and isinstance(live, dict):
        additions = {}
        for key, value in manifest.items():
            additions |= beyond(value, live.get(key), f"{at}.{key}")
        return additions
    if isinstance(manifest, list) and isinstance(live, list) and len(manifest) == len(live):
        additions = {}
        for n, (one, other) in enumerate(zip(manifest, live, strict=True)):
            additions |= beyond(one, other, f"{at}[{n}]")
        return additions
    return {} if manifest == live or (not manifest and live is None) else {at: (manifest, live)}


def test_helm(team, job_file):
    """helm install, upgrade of a changed file → a new Job, uninstall leaves nothing"""
    first = job_file("released", suspend=True)
    helm(team, "install", "released", CHART, "-f", str(first))
    one = [o for o in team.objects("released") if o.startswith("Job/")]
    helm(team, "upgrade", "released", CHART, "-f", str(first))
    assert [o for o in team.objects("released") if o.startswith("Job/")] == one
    helm(team, "upgrade", "released", CHART, "-f", str(first), "--set", "run.fit.epochs=2")
    two = [o for o in team.objects("released") if o.startswith("Job/")]
    assert len(two) == 1
    assert two != one
    helm(team, "uninstall", "released")
    gone(team, "released")
