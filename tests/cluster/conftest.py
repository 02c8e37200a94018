"""A namespace of a real cluster, as a team would be given one: restricted, with a quota, and a Role for kfit.

`make test-cluster` runs these against the cluster that KUBECONFIG names, and prints one table. They make
namespaces and patch a node's GPUs, so nothing else runs them by accident.

    KFIT_TEST_IMAGE   the trainer's image on the nodes (default localhost/trainer:dev)
    KFIT_TEST_UNTIL   no case begins after this time, in seconds since the epoch
    KFIT_TEST_HOST    this machine as pods see it (default: the address from which it speaks to the API server)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from tests.cluster.night_rows import NIGHTS
from tests.cluster.store import Store, serve

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("KFIT_TEST_IMAGE", "localhost/trainer:dev")
#: What each pod of a test asks for; two of them run at once, beside what else the cluster runs.
CPU = "600m"
_MISSING = [p for p in ("kubectl", "helm") if shutil.which(p) is None]
_RESULTS: list[tuple[str, str, float]] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = ""
    if os.environ.get("KFIT_TEST_CLUSTER") != "1":
        reason = "on a cluster, by `make test-cluster`"
    elif not os.environ.get("KUBECONFIG"):
        reason = "KUBECONFIG names no cluster"
    elif _MISSING:
        reason = f"not on PATH: {', '.join(_MISSING)}"
    if reason:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until_s = float(os.environ.get("KFIT_TEST_UNTIL") or "inf")
    if Path(__file__).parent in item.path.parents and time.time() > until_s:
        pytest.skip("no time is left")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if Path(__file__).parent in item.path.parents and (report.when == "call" or report.failed):
        case = (getattr(item, "obj", None).__doc__ or item.name).strip().splitlines()[0].rstrip(".")
        if hasattr(item, "callspec"):
            case += f" [{item.callspec.id}]"
        _RESULTS.append((case, report.outcome, call.duration))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _RESULTS:
        return
    if NIGHTS:
        terminalreporter.section("nights")
    for row in _aligned(NIGHTS):
        terminalreporter.write_line(row)
    width = max(len(case) for case, _, _ in _RESULTS)
    terminalreporter.section("on the cluster")
    for case, outcome, took_s in _RESULTS:
        terminalreporter.write_line(f"{case.ljust(width)}  {outcome:<7} {took_s:6.1f} s")
    total_s = sum(took_s for _, _, took_s in _RESULTS)
    passed = sum(outcome == "passed" for _, outcome, _ in _RESULTS)
    terminalreporter.write_line(f"{passed} of {len(_RESULTS)} passed, {total_s:.0f} s")


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@dataclass(frozen=True)
class Done:
    """A program that ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Team:
    """A namespace, its admin's kubectl, and kfit as a member who has the Role of docs/rights.md and no more.

    Attributes:
        namespace: Its name.
        member: Kubeconfig of the member.
        store: The object store.
    """

    namespace: str
    member: Path
    store: Store
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """As the admin."""
        done = subprocess.run(
            ["kubectl", "-n", self.namespace, *words], input=given, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def get(self, *words: str) -> Any:
        """Objects, as the admin sees them."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(kubeconfig or self.member), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def kfit(self, *words: str, code: int | None = 0, kubeconfig: Path | None = None, timeout_s: float = 300) -> Done:
        """As the member; fails where it ends with another code."""
        done = subprocess.run(
            [sys.executable, "-m", "k8s", *words],
            env=self.environment(kubeconfig), capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, (
                f"kfit {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """kfit in the background, unbuffered."""
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "k8s", *words],
            env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.started.append(process)
        return process

    def submit(self, job: Path, *words: str) -> str:
        """Submits a job file and gives its Job's name."""
        return self.kfit("submit", str(job), "-o", "name", *words).out.strip().rpartition("/")[2]

    def objects(self, name: str) -> list[str]:
        """All that carries a Job's name."""
        kinds = "jobs,pods,configmaps,networkpolicies,services"
        items = self.get(kinds)["items"]
        return sorted(f"{o['kind']}/{o['metadata']['name']}" for o in items if o["metadata"]["name"].startswith(name))


def until(true: Callable[[], Any], timeout_s: float = 90.0, every_s: float = 0.3) -> Any:
    """Waits for something to be so, and gives what it gave."""
    ends = time.monotonic() + timeout_s
    while True:
        if result := true():
            return result
        if time.monotonic() > ends:
            pytest.fail(f"not within {timeout_s:.0f} s")
        time.sleep(every_s)


def _milli_cpus(quantity: str) -> int:
    return int(parse_quantity(quantity) * 1000)


def _check_room() -> None:
    """Fails at once, with who holds what, where no two pods of a test fit on the nodes."""
    requested: dict[str, list[tuple[int, str]]] = {}
    for pod in json.loads(admin("get", "pods", "-A", "-o", "json"))["items"]:
        if pod["status"].get("phase") in ("Pending", "Running"):
            asks = (c.get("resources", {}).get("requests", {}).get("cpu", "0") for c in pod["spec"]["containers"])
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            requested.setdefault(pod["spec"].get("nodeName", ""), []).append((sum(map(_milli_cpus, asks)), name))
    fit, rows = 0, []
    for node in json.loads(admin("get", "nodes", "-o", "json"))["items"]:
        name, cpus = node["metadata"]["name"], _milli_cpus(node["status"]["allocatable"]["cpu"])
        free = cpus - sum(asked for asked, _ in requested.get(name, []))
        fit += free // _milli_cpus(CPU)
        holders = ", ".join(f"{pod} {asked}m" for asked, pod in sorted(requested.get(name, []), reverse=True) if asked)
        rows.append(f"node {name}: {free}m of {cpus}m CPU free; {holders}")
    if fit < 2:
        pytest.fail(f"two pods of {CPU} CPU do not fit on the cluster:\n" + "\n".join(rows))


def admin(*words: str, given: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"kubectl {' '.join(words)}: {done.stderr}")
    return done.stdout


@pytest.fixture(scope="session")
def api_server() -> str:
    return str(json.loads(admin("config", "view", "--minify", "-o", "json"))["clusters"][0]["cluster"]["server"])


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights of 2013, a folder a day."""
    lake = tmp_path_factory.mktemp("lake")
    subprocess.run(
        [sys.executable, str(ROOT / "examples/flights/make_data.py"), str(lake)], check=True, capture_output=True
    )
    return lake


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, api_server: str, flights: Path):
    """A SeaweedFS that pods reach, with nine days of the flights in it."""
    host = os.environ.get("KFIT_TEST_HOST") or _own_address(api_server)
    with serve(host, tmp_path_factory.mktemp("store")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.upload(sorted(flights.glob("dt=2013-01-0*/*.parquet")), flights)
        yield server


def _own_address(api_server: str) -> str:
    """The address of this machine towards the API server: on a one-node cluster pods reach it there."""
    url = urlsplit(api_server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((url.hostname, url.port or 443))
        return str(probe.getsockname()[0])


@pytest.fixture(scope="session")
def team(store: Store, tmp_path_factory: pytest.TempPathFactory):
    """The namespace, gone afterwards."""
    _check_room()
    name = f"kfit-test-{os.getpid()}"
    restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    hard = {"requests.cpu": "4", "requests.memory": "12Gi", "pods": "12"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": store.environment}
    role = (ROOT / "docs/rights.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    member = {"kind": "ServiceAccount", "name": "member", "namespace": name}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": restricted}},
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "member"}},
        secret,
        yaml.safe_load(role),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "member"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kfit"},
            "subjects": [member],
        },
    ]
    try:
        admin("apply", "-f", "-", given=json.dumps(objects[0]))
        admin(
            "-n", name, "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects[1:]})
        )
        path = tmp_path_factory.mktemp("member") / "kubeconfig"
        path.write_text(yaml.safe_dump(_member_config(name)))
        own = Team(name, path, store)
        yield own
        for process in own.started:
            process.kill()
            process.communicate()
    finally:
        subprocess.run(["kubectl", "delete", "namespace", name, "--wait=false"], capture_output=True, check=False)


def _member_config(namespace: str) -> dict[str, Any]:
    config = json.loads(admin("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = admin("-n", namespace, "create", "token", "member", "--duration=2h").strip()
    context = {"cluster": "c", "user": "member", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": "member", "user": {"token": token}}],
        "contexts": [{"name": "member", "context": context}],
        "current-context": "member",
    }


FEATURES = {
    "dep_minute": {"kind": "numeric"},
    "distance": {"kind": "numeric"},
    "carrier": {"kind": "categorical"},
    "temp": {"kind": "numeric", "impute": "mean"},
}


@pytest.fixture
def job_file(team: Team, tmp_path: Path) -> Callable[..., Path]:
    """Writes a job file: the flights of nine days, one epoch, what is given besides."""

    def write(name: str, *, run: dict[str, Any] | None = None, **values: Any) -> Path:
        repository, _, tag = IMAGE.rpartition(":")
        base: dict[str, Any] = {
            "name": name,
            "run": {
                "data": {
                    "train": team.store.lake,
                    "validation": {"fraction": 0.1},
                    "label": "late",
                    "features": FEATURES,
                },
                "task": "binary",
                "model": {"builtin": "mlp", "hidden": [8]},
                "fit": {"epochs": 1, "batch_size": 1024, "optimizer": {"name": "adam", "learning_rate": 0.001}},
                "output": {"uri": f"{team.store.models}/{name}"},
            },
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "resources": {"cpu": CPU, "memory": "2Gi", "shm": "64Mi"},
            "envFrom": [{"secretRef": {"name": "store"}}],
            "networkPolicy": {"storagePorts": [team.store.port]},
            "terminationGracePeriodSeconds": 30,
            "backoffLimit": 0,
            "activeDeadlineSeconds": 600,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(merge(merge(base, {"run": run or {}}), values), sort_keys=False))
        return path

    return write


def merge(base: Any, change: Any) -> Any:
    """A change laid over a mapping, level by level."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {**base, **{k: merge(base.get(k), v) for k, v in change.items()}}
