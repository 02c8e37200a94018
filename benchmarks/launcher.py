"""How quick the launcher is, beside kubectl and helm on the same cluster: `python -m benchmarks.launcher`.

Needs kubectl and helm on PATH and a KUBECONFIG; makes a namespace and removes it. Jobs are suspended, so
no pod starts. Every figure is the best of several tries, since other work on a machine only adds.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from k8s.api.client import Cluster
from k8s.chart.render import chart_folder
from k8s.chart.render_many import render_many
from k8s.chart.yaml_documents import to_yaml
from trainer.config import load_document

RUNS = 100
HELP_S, STATUS_S, SUBMIT_RATIO = 0.10, 0.30, 1.2
KFIT = [sys.executable, "-m", "k8s"]
ROUNDS = 5

JOB = """\
name: bench-{n}
run:
  data: {{train: s3://lake/none, label: target, features: {{width: {{kind: numeric}}}}}}
  task: binary
  model: {{builtin: mlp}}
  output: {{uri: s3://models/bench-{n}}}
image: {{repository: registry.example/trainer, tag: "1.0"}}
suspend: true
"""


def took_s(words: Sequence[str], tries: int = 5) -> float:
    """Seconds of a program that must succeed, the best of several tries."""
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    return best


def round_trip_s(cluster: Cluster, name: str) -> tuple[float, int]:
    """Seconds that the API server itself takes for what `status` asks, and how many requests that is."""
    asked: list[Callable[[], object]] = [
        lambda: cluster.find("Job", name),
        lambda: cluster.get("Job", name),
        lambda: cluster.select("Pod", labels=f"batch.kubernetes.io/job-name={name}"),
        lambda: cluster.select("Event", fields=f"involvedObject.kind=Job,involvedObject.name={name}"),
    ]
    cluster.version()
    times = []
    for ask in asked:
        tries = []
        for _ in range(5):
            began = time.perf_counter()
            ask()
            tries.append(time.perf_counter() - began)
        times.append(statistics.median(tries))
    return sum(times), len(asked)


def submit_s(folder: Path) -> tuple[float, float]:
    """Seconds for all runs by one `kfit submit`, and by one `kubectl apply` of the same manifests, in turn."""
    jobs = [str(path) for path in sorted(folder.glob("*.yaml"))]
    manifests = folder / "manifests"
    manifests.mkdir()
    for job, objects in zip(jobs, render_many([load_document(job) for job in jobs], ""), strict=True):
        (manifests / Path(job).name).write_text(to_yaml(objects))
    ours, theirs = [], []
    for n in range(ROUNDS):
        with namespace(f"ours{n}") as name:
            ours.append(took_s([*KFIT, "-n", name, "submit", *jobs], tries=1))
        with namespace(f"theirs{n}") as name:
            theirs.append(took_s(["kubectl", "-n", name, "apply", "-f", str(manifests)], tries=1))
    return min(ours), min(theirs)


@contextlib.contextmanager
def namespace(suffix: str) -> Iterator[str]:
    """A namespace of its own, deleted without waiting."""
    name = f"kfit-benchmark-{os.getpid()}-{suffix}"
    subprocess.run(["kubectl", "create", "namespace", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["kubectl", "delete", "namespace", name, "--wait=false"], check=True, capture_output=True)


def main() -> int:
    """Measures, prints one table, and says by its exit code whether all limits held."""
    with tempfile.TemporaryDirectory() as scratch, namespace("one") as name:
        return _measure(Path(scratch), name)


def _measure(folder: Path, namespace_: str) -> int:
    for n in range(RUNS):
        (folder / f"bench-{n:03}.yaml").write_text(JOB.format(n=n))
    bare, help_s = took_s([sys.executable, "-c", "pass"], 10), took_s([*KFIT, "--help"], 10)
    official = took_s([sys.executable, "-c", "import kubernetes.config, kubernetes.client.api_client"])
    first = str(folder / "bench-000.yaml")
    done = subprocess.run([*KFIT, "-n", namespace_, "submit", "-o", "json", first], check=True, capture_output=True)
    name = json.loads(done.stdout)["name"]
    status = took_s([*KFIT, "-n", namespace_, "status", name])
    with_kubectl = took_s(["kubectl", "-n", namespace_, "get", "jobs,pods"])
    api_s, requests = round_trip_s(Cluster.open(namespace=namespace_), name)
    render_s = took_s([*KFIT, "render", first])
    helm_s = took_s(["helm", "template", "any", str(chart_folder()), "-f", first])
    ours, theirs = submit_s(folder)
    rows = [
        ("python -c pass", bare, None),
        ("kfit --help, beyond that", help_s - bare, HELP_S),
        ("import of the official client, beyond pass", official - bare, None),
        ("kubectl get jobs,pods", with_kubectl, None),
        (f"API server, the {requests} requests of a status", api_s, None),
        ("kfit status, beyond those", status - api_s, STATUS_S),
        ("helm template", helm_s, None),
        ("kfit render", render_s, None),
        (f"kubectl apply of {RUNS} runs' manifests", theirs, None),
        (f"kfit submit of {RUNS} runs", ours, SUBMIT_RATIO * theirs),
    ]
    table = Table("what", "seconds", "limit", "", title="launcher")
    for what, seconds, limit in rows:
        held = "" if limit is None else "ok" if seconds <= limit else "over"
        table.add_row(what, f"{seconds:.3f}", "" if limit is None else f"{limit:.3f}", held)
    Console().print(table)
    return int(any(limit is not None and seconds > limit for _, seconds, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
