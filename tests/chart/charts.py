"""The chart, rendered by the real helm."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.tools import program

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "charts" / "training-job"
RUN: dict[str, Any] = {
    "data": {
        "train": "s3://lake/flights/*.parquet",
        "label": "late",
        "features": {"distance": {"kind": "numeric", "impute": "mean"}, "carrier": {"kind": "categorical"}},
    },
    "task": "binary",
    "model": {"builtin": "mlp"},
    "output": {"uri": "s3://models/flights"},
}
JOB: dict[str, Any] = {
    "name": "flights",
    "run": RUN,
    "image": {"repository": "registry.example/trainer", "tag": "1.0"},
}
NIGHTLY = {"schedule": {"cron": "0 2 * * *", "timeZone": "Europe/Berlin"}}


@dataclass(frozen=True)
class Manifests:
    """What helm rendered.

    Attributes:
        text: Its bytes, as text.
        objects: The Kubernetes objects in it, by kind.
    """

    text: str
    objects: Mapping[str, dict[str, Any]]

    @property
    def job(self) -> dict[str, Any]:
        """Spec of the Job, or of the Jobs that the CronJob makes."""
        if "CronJob" in self.objects:
            return self.objects["CronJob"]["spec"]["jobTemplate"]["spec"]
        return self.objects["Job"]["spec"]

    @property
    def pod(self) -> dict[str, Any]:
        return self.job["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        (only,) = self.pod["containers"]
        return only

    @property
    def env(self) -> dict[str, Any]:
        """Value, or where it comes from, by the variable's name."""
        return {e["name"]: e.get("value", e.get("valueFrom")) for e in self.container["env"]}

    @property
    def name(self) -> str:
        return (self.objects.get("CronJob") or self.objects["Job"])["metadata"]["name"]


def values(*changes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """JOB with changes merged in, mapping by mapping."""
    merged = copy.deepcopy(JOB)
    for change in (*changes, more):
        _merge(merged, change)
    return merged


def _merge(into: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def helm(*words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm, which finds no cluster."""
    return subprocess.run(
        [str(program("helm")), *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECONFIG": "/dev/null", **(env or {})},
    )


def render(
    given: Mapping[str, Any], *flags: str, kube: str = "1.34.0", env: Mapping[str, str] | None = None
) -> Manifests:
    """`helm template` with values."""
    text = yaml.safe_dump(dict(given), sort_keys=False)
    done = helm("template", "flights", str(CHART), "-f", "-", "--kube-version", kube, *flags, stdin=text, env=env)
    assert done.returncode == 0, done.stderr
    documents = [d for d in yaml.safe_load_all(done.stdout) if d]
    assert len({d["kind"] for d in documents}) == len(documents)
    return Manifests(done.stdout, {d["kind"]: d for d in documents})


def refusal(given: Mapping[str, Any], *flags: str, kube: str = "1.34.0") -> str:
    """What helm says to values it refuses."""
    text = yaml.safe_dump(dict(given), sort_keys=False)
    done = helm("template", "flights", str(CHART), "-f", "-", "--kube-version", kube, *flags, stdin=text)
    assert done.returncode != 0, done.stdout
    return done.stderr
