"""What verbs print: tables for people, JSON and YAML and names for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from k8s.manifests import to_yaml, workload
from k8s.submit import Done, Submitted


def documents(items: Sequence[dict[str, Any]], form: str, *, many: bool) -> None:
    """Prints documents as JSON or YAML: one, or a list of them under `items`."""
    whole: Any = {"items": list(items)} if many else items[0]
    if form == "json":
        click.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        click.echo(to_yaml([whole]).removeprefix("---\n"), nl=False)


def planned(manifests: Sequence[dict[str, Any]], form: str) -> None:
    """Prints what would be sent."""
    if form in ("json", "yaml"):
        if form == "yaml":
            click.echo(to_yaml(manifests), nl=False)
        else:
            documents(manifests, form, many=True)
        return
    for manifest in manifests if form == "table" else [workload(manifests)]:
        name = _kind_name(manifest["kind"], manifest["metadata"]["name"])
        click.echo(name if form == "name" else f"{name} would be sent (dry run)")


def submitted(result: Submitted, form: str, namespace: str, *, dry_run: bool) -> None:
    """Prints what became of a job file."""
    kind, name = result.workload["kind"], result.name
    if form == "name":
        click.echo(_kind_name(kind, name))
    elif form in ("json", "yaml"):
        found = {"kind": kind, "name": name, "namespace": namespace, "result": result.done.value}
        documents([found | {"objects": {k: v.value for k, v in result.objects.items()}}], form, many=False)
    else:
        click.echo(f"{_kind_name(kind, name)} {_words(result, dry_run)}")


def next_steps(results: Sequence[Submitted], words: str) -> None:
    """Says on stderr how to follow what was submitted."""
    jobs = [r for r in results if r.workload["kind"] == "Job"]
    if len(jobs) == 1:
        click.echo(f"follow it: kfit logs -f {jobs[0].name}{words}", err=True)


def _words(result: Submitted, dry_run: bool) -> str:
    tail = " (dry run, the cluster would take it)" if dry_run else ""
    if result.done is not Done.UNCHANGED or result.workload["kind"] != "Job":
        return f"{result.done.value}{tail}"
    conditions = result.workload.get("status", {}).get("conditions") or []
    over = next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")
    state = {"Complete": "it has succeeded", "Failed": "it has failed"}.get(over, "it goes on")
    return f"unchanged: this file is there already, {state}; --again makes another Job{tail}"


def _kind_name(kind: str, name: str) -> str:
    return f"{kind.lower()}.batch/{name}" if kind in ("Job", "CronJob") else f"{kind.lower()}/{name}"
