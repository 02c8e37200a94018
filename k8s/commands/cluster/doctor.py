"""`kfit doctor`: what works here and what does not, each with its remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from k8s.commands.options import Target, examples, output_option, target_options
from k8s.errors import AccessError
from trainer.errors import ExitCode, KfitError
from trainer.job_options import job_files

if TYPE_CHECKING:
    from k8s.api.client import Cluster

_OLDEST = (1, 31)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, and how to fix it; `ok` is None where it is only information."""

    what: str
    ok: bool | None
    told: str
    remedy: str = ""


@click.command(epilog=examples("kfit doctor", "kfit doctor -f job.yaml -n team-a"))
@job_files("Also check this job file and its storage.")
@output_option("table", "json", "yaml")
@target_options
def doctor(files: tuple[str, ...], form: str, target: Target) -> None:
    """Check helm, cluster, rights and storage.

    Exits 64 where something does not work.
    """
    from k8s.output import tables

    findings = [*_helm(), *_cluster(target), *(_storage(files) if files else ())]
    documents = [asdict(finding) for finding in findings]
    if form == "table":
        tables.findings(documents)
    else:
        tables.documents(documents, form, many=True)
    if any(finding.ok is False for finding in findings):
        sys.exit(ExitCode.CONFIG)


def _helm() -> Iterator[Finding]:
    from k8s.chart.render import chart_folder, helm_program

    try:
        program = helm_program()
        version = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
        yield Finding("helm", version.returncode == 0, f"{version.stdout.strip()} ({program})")
        yield Finding("chart", True, str(chart_folder()))
    except AccessError as missing:
        yield Finding("helm", False, missing.what, missing.remedy)


def _cluster(target: Target) -> Iterator[Finding]:
    try:
        cluster = target.open()
        version = cluster.version()
    except KfitError as fault:
        yield Finding("cluster", False, f"{fault.where}: {fault.what}", fault.remedy)
        return
    new = tuple(int(n) for n in version.lstrip("v").split(".")[:2]) >= _OLDEST
    old = "" if new else "Kubernetes 1.31 or newer: podFailurePolicy distinguishes preemption from faults"
    yield Finding("cluster", new, f"{version} at {cluster.server}, context {cluster.context}", old)
    try:
        yield from _rights(cluster)
        yield from _quotas(cluster)
    except KfitError as fault:
        yield Finding("rights", False, fault.what, fault.remedy)


def _rights(cluster: Cluster) -> Iterator[Finding]:
    from k8s.api.kinds import KINDS
    from k8s.api.rights import QUEUE, VERBS, rule

    yield Finding("namespace", None, cluster.namespace, "-n names another")
    known: dict[tuple[str, ...], bool] = {}
    uses = {f"kfit {verb}": rights for verb, rights in VERBS.items()}
    if cluster.serves(KINDS["Workload"].group):
        uses["queues of Kueue"] = QUEUE
    else:
        yield Finding("queues of Kueue", None, "this cluster has no Kueue")
    for use, rights in uses.items():
        for right in rights:
            if right not in known:
                known[right] = cluster.allowed(*right)
        missing = [right for right in rights if not known[right]]
        told = "allowed" if not missing else "not allowed: " + ", ".join(f"{r[0]} {'/'.join(r[1:])}" for r in missing)
        remedy = "; ".join(rule(right) for right in missing)
        yield Finding(use, not missing, told, f"add to your Role: {remedy}" if missing else "")


def _quotas(cluster: Cluster) -> Iterator[Finding]:
    try:
        quotas = cluster.select("ResourceQuota")
    except AccessError:
        return
    for quota in quotas:
        status = quota.get("status", {})
        used = status.get("used") or {}
        told = ", ".join(f"{k} {used.get(k, '0')} of {v}" for k, v in (status.get("hard") or {}).items())
        yield Finding(f"quota {quota['metadata']['name']}", None, told)


def _storage(files: tuple[str, ...]) -> Iterator[Finding]:
    from trainer import storage
    from trainer.config import Config

    try:
        config = Config.load(files)
    except KfitError as fault:
        yield Finding("job file", False, str(fault).splitlines()[0], fault.remedy)
        return
    yield Finding("job file", True, ", ".join(files))
    train = config.data.train
    for uri in [train] if isinstance(train, str) else train if isinstance(train, list) else []:
        try:
            shards = storage.expand(uri)
            size = sum(s.size_bytes for s in shards)
            yield Finding("data", bool(shards), f"{len(shards):,} shards, {size / 1e6:,.1f} MB: {uri}")
        except KfitError as fault:
            yield Finding("data", False, f"{fault.where}: {fault.what}", fault.remedy)
    try:
        storage.exists(storage.join(config.output.uri, "runs"))
        yield Finding("output", True, f"reachable from here: {config.output.uri}")
    except KfitError as fault:
        yield Finding("output", False, f"{fault.where}: {fault.what}", fault.remedy)
