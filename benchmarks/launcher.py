"""How quick the launcher is, beside kubectl and helm on the same cluster: `python -m benchmarks.launcher`.

Needs kubectl and helm on PATH and a KUBECONFIG; makes namespaces and removes them. Jobs are suspended, so no pod
starts. Every figure is the best of several tries, since other work on a machine only adds. `--before TREE` measures
another checkout in the same run, in turn with this one. `--python` names an interpreter that has the launcher's own
requirements and nothing else: packages for development cost time at import that no user pays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.timing import times_s
from k8s.api.client import Cluster
from k8s.chart.render import chart_folder
from k8s.chart.render_many import render_many
from k8s.chart.yaml_documents import to_yaml
from trainer.config import load_document

RUNS = 100
HELP_S, STATUS_S, SUBMIT_RATIO = 0.10, 0.30, 1.2
ROUNDS = 5
#: What the script `kfit` does that pip installs. `python -m k8s` is slower: its deeper stack crosses a block of
#: CPython's at urllib3's regular expressions, and every call there asks the system for memory.
ENTRY = "from k8s.cli import main; main()"

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


@dataclass(frozen=True)
class Launcher:
    """A checkout and the interpreter that runs it.

    Attributes:
        python: The interpreter.
        tree: The checkout's folder.
    """

    python: str
    tree: Path

    def took_s(self, *words: str, tries: int = 5) -> float:
        """Seconds of a verb that must succeed, the best of several tries."""
        return took_s([self.python, "-c", ENTRY, *words], tries, self.tree)

    def output(self, *words: str) -> str:
        """What a verb prints."""
        return _run([self.python, "-c", ENTRY, *words], self.tree).stdout


def took_s(words: Sequence[str], tries: int = 5, tree: Path | None = None) -> float:
    """Seconds of a program that must succeed, the best of several tries."""
    return min(times_s(lambda: _run(words, tree), tries))


def _run(words: Sequence[str], tree: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ) if tree is None else {**os.environ, "PYTHONPATH": str(tree)}
    # pip compiles what it installs; a checkout must be allowed to keep what the first try compiled.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environ, cwd=tree)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)[:200]} ended with {done.returncode}:\n{done.stderr}")
    return done


def round_trip_s(cluster: Cluster, name: str) -> tuple[float, int]:
    """Seconds that the API server itself takes for what `status` asks, and how many requests that is."""
    asked: list[Callable[[], object]] = [
        lambda: cluster.find("Job", name),
        lambda: cluster.get("Job", name),
        lambda: cluster.select("Pod", labels=f"batch.kubernetes.io/job-name={name}"),
        lambda: cluster.select("Event", fields=f"involvedObject.kind=Job,involvedObject.name={name}"),
    ]
    cluster.version()
    return sum(statistics.median(times_s(ask, 5)) for ask in asked), len(asked)


def submit_s(folder: Path, launchers: Sequence[Launcher]) -> tuple[list[float], float]:
    """Seconds for all runs by one `kfit submit` of each launcher, and by one `kubectl apply`, in turn."""
    jobs = [str(path) for path in sorted(folder.glob("*.yaml"))]
    manifests = folder / "manifests"
    manifests.mkdir()
    for job, objects in zip(jobs, render_many([load_document(job) for job in jobs], ""), strict=True):
        (manifests / Path(job).name).write_text(to_yaml(objects))
    ours, theirs = [float("inf")] * len(launchers), float("inf")
    for n in range(ROUNDS):
        for index, launcher in enumerate(launchers):
            with namespace(f"ours{n}-{index}") as name:
                ours[index] = min(ours[index], launcher.took_s("-n", name, "submit", *jobs, tries=1))
        with namespace(f"theirs{n}") as name:
            theirs = min(theirs, took_s(["kubectl", "-n", name, "apply", "-f", str(manifests)], tries=1))
    return ours, theirs


@contextlib.contextmanager
def namespace(suffix: str) -> Iterator[str]:
    """A namespace of its own, deleted without waiting."""
    name = f"kfit-benchmark-{os.getpid()}-{suffix}"
    subprocess.run(["kubectl", "create", "namespace", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["kubectl", "delete", "namespace", name, "--wait=false"], check=True, capture_output=True)


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        now, before: Seconds of this checkout, and of the other one where it was measured too.
        limit: The goal, in seconds; None without one.
    """

    what: str
    now: float
    before: float | None = None
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty without a goal."""
        return "" if self.limit is None else "met" if self.now <= self.limit else "missed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints one table, and says by its exit code whether all goals were met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launcher", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="TREE", help="another checkout, measured in the same run")
    parser.add_argument("--python", default=sys.executable, help="runs both; default: the interpreter of this program")
    parser.add_argument("--before-python", help="runs the other checkout; default: as --python")
    given = parser.parse_args(arguments)
    launchers = [Launcher(given.python, Path(__file__).resolve().parents[1])]
    if given.before is not None:
        launchers.append(Launcher(given.before_python or given.python, given.before.resolve()))
    with tempfile.TemporaryDirectory() as scratch, namespace("one") as name:
        figures = _measure(Path(scratch), name, launchers)
    return report(figures)


def report(figures: Sequence[Figure]) -> int:
    """Prints the table, and a line for each goal; returns 1 where one was missed."""
    table = Table("what", "before, s", "now, s", "goal, s", "", title="launcher")
    for figure in figures:
        shown = (figure.before, figure.now, figure.limit)
        table.add_row(figure.what, *("" if s is None else f"{s:.3f}" for s in shown), figure.verdict)
    console = Console()
    console.print(table)
    for figure in figures:
        if figure.limit is not None:
            console.print(f"goal {figure.verdict}: {figure.what}: {figure.now:.3f} s of at most {figure.limit:.3f} s")
    return int(any(figure.verdict == "missed" for figure in figures))


def _measure(folder: Path, namespace_: str, launchers: Sequence[Launcher]) -> list[Figure]:
    for n in range(RUNS):
        (folder / f"bench-{n:03}.yaml").write_text(JOB.format(n=n))
    first = str(folder / "bench-000.yaml")
    bare = {launcher: took_s([launcher.python, "-c", "pass"], 10) for launcher in launchers}
    help_s = [launcher.took_s("--help", tries=10) - bare[launcher] for launcher in launchers]
    official = "import kubernetes.config, kubernetes.client.api_client"
    official_s = took_s([launchers[0].python, "-c", official]) - bare[launchers[0]]
    name = json.loads(launchers[0].output("-n", namespace_, "submit", "-o", "json", first))["name"]
    api_s, requests = round_trip_s(Cluster.open(namespace=namespace_), name)
    status_s = [launcher.took_s("-n", namespace_, "status", name) - api_s for launcher in launchers]
    render_s = [launcher.took_s("render", first) for launcher in launchers]
    submitted_s, applied_s = submit_s(folder, launchers)
    return [
        Figure("python -c pass", *(bare[launcher] for launcher in launchers)),
        Figure("kfit --help, beyond that", *help_s, limit=HELP_S),
        Figure("import of the official client, beyond pass", official_s),
        Figure("kubectl get jobs,pods", took_s(["kubectl", "-n", namespace_, "get", "jobs,pods"])),
        Figure(f"API server, the {requests} requests of a status", api_s),
        Figure("kfit status, beyond those", *status_s, limit=STATUS_S),
        Figure("helm template", took_s(["helm", "template", "any", str(chart_folder()), "-f", first])),
        Figure("kfit render", *render_s),
        Figure(f"kubectl apply of {RUNS} runs' manifests", applied_s),
        Figure(f"kfit submit of {RUNS} runs", *submitted_s, limit=SUBMIT_RATIO * applied_s),
    ]


if __name__ == "__main__":
    sys.exit(main())
