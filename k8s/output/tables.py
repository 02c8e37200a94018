"""What verbs print: tables for people, JSON and YAML and names for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from k8s.actions.apply import Outcome, Submitted
from k8s.chart.yaml_documents import to_yaml, workload
from k8s.status.pods import condition
from trainer.progress import terminal

if TYPE_CHECKING:
    from k8s.actions.backfill import Day
    from k8s.status.job_state import State


def documents(items: Sequence[dict[str, Any]], form: str, *, many: bool) -> None:
    """Prints documents as JSON or YAML: one, or a list of them under `items`."""
    whole: Any = {"items": list(items)} if many else items[0]
    if form == "json":
        click.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        click.echo(to_yaml([whole]).removeprefix("---\n"), nl=False)


def planned(rendered: Sequence[Sequence[dict[str, Any]]], form: str) -> None:
    """Prints the manifests of each job file that would be sent; for programs as one document."""
    every = [manifest for manifests in rendered for manifest in manifests]
    if form == "yaml":
        click.echo(to_yaml(every), nl=False)
    elif form == "json":
        documents(every, form, many=True)
    elif form == "name":
        for manifests in rendered:
            terminal.echo(_name_of(workload(manifests)))
    else:
        for manifest in every:
            terminal.echo(f"{_name_of(manifest)} would be sent (dry run)")


def _name_of(manifest: dict[str, Any]) -> str:
    return kind_name(manifest["kind"], manifest["metadata"]["name"])


def submitted(results: Sequence[Submitted], form: str, namespace: str, *, dry_run: bool) -> None:
    """Prints what was done for each job file; for programs one document: an object, or `items` of several."""
    if form in ("json", "yaml"):
        documents([_as_document(result, namespace) for result in results], form, many=len(results) > 1)
        return
    for result in results:
        name = kind_name(result.workload["kind"], result.name)
        terminal.echo(name if form == "name" else f"{name} {_outcome_text(result, dry_run)}")


def _as_document(result: Submitted, namespace: str) -> dict[str, Any]:
    return {
        "kind": result.workload["kind"],
        "name": result.name,
        "namespace": namespace,
        "result": result.outcome.value,
        "objects": {name: outcome.value for name, outcome in result.objects.items()},
    }


def next_steps(results: Sequence[Submitted], flags: str) -> None:
    """Says on stderr how to follow what was submitted, if it is one Job; `flags` name its cluster."""
    jobs = [r for r in results if r.workload["kind"] == "Job"]
    if len(jobs) == 1:
        terminal.echo(f"follow it: kfit logs -f {jobs[0].name}{flags}", err=True)


def ended(name: str, state: State) -> None:
    """Says on stderr how a run ended, with the trainer's error and the remedy."""
    details = filter(None, [*state.error.splitlines(), state.remedy])
    for line in "\n  ".join([f"{name} {state.outcome}", *details]).splitlines():
        terminal.echo(line, err=True)


def backfilled(days: Sequence[Day], form: str) -> None:
    """Prints how the run of each day of a backfill ended."""
    rows = [
        {
            "date": day.day.isoformat(),
            "name": day.name,
            "phase": day.state.phase.value,
            "exit_code": None if day.state.exit_code is None else int(day.state.exit_code),
            "why": day.state.why,
        }
        for day in days
        if day.state is not None
    ]
    if not _listed(rows, form, "Job", "no runs"):
        columns = {"DATE": "date", "NAME": "name", "PHASE": "phase", "EXIT": "exit_code", "WHY": "why"}
        table([{head: _cell(row[key]) for head, key in columns.items()} for row in rows])


def _outcome_text(result: Submitted, dry_run: bool) -> str:
    tail = " (dry run: the cluster would accept it)" if dry_run else ""
    if result.outcome is not Outcome.UNCHANGED or result.workload["kind"] != "Job":
        return f"{result.outcome.value}{tail}"
    words = {"Complete": "it has succeeded", "Failed": "it has failed"}
    state = next((text for kind, text in words.items() if condition(result.workload, kind)), "it goes on")
    return f"unchanged: this file was sent before, {state}; --again makes another Job{tail}"


def kind_name(kind: str, name: str) -> str:
    """`job.batch/NAME`, as kubectl prints and reads it."""
    return f"{kind.lower()}.batch/{name}" if kind in ("Job", "CronJob") else f"{kind.lower()}/{name}"


def runs(listed: Sequence[dict[str, Any]], form: str, namespace: str, *, heads: bool = True) -> None:
    """Prints a list of runs; an empty namespace stands for all of them and adds a column."""
    if not _listed(listed, form, "Job", f"no runs in namespace {namespace}" if namespace else "no runs"):
        table([run_row(run, wide=form == "wide", namespaced=not namespace) for run in listed], heads=heads)


def _listed(items: Sequence[dict[str, Any]], form: str, kind: str, nothing: str) -> bool:
    """Prints a list in every form but a table's; False where the table is left to print."""
    if form == "name":
        for one in items:
            terminal.echo(kind_name(kind, one["name"]))
    elif form in ("json", "yaml"):
        documents(items, form, many=True)
    elif not items:
        terminal.echo(nothing, err=True)
    else:
        return False
    return True


def run_row(run: dict[str, Any], *, wide: bool, namespaced: bool) -> dict[str, str]:
    """Returns the cells of a run by their column's head."""
    row = {"NAMESPACE": _cell(run["namespace"])} if namespaced else {}
    columns = {"NAME": "name", "PHASE": "phase", "EXIT": "exit_code", "RESTARTS": "restarts"}
    row |= {head: _cell(run[key]) for head, key in columns.items()}
    row |= {"TIME": ago(run["duration_s"]), "AGE": ago(run["age_s"])}
    if wide:
        limits = ",".join(f"{k.rpartition('/')[2]}={v}" for k, v in run["resources"].items())
        row |= {"NODES": str(run["nodes"]), "RESOURCES": limits}
        row |= {"IMAGE": _cell(run["image"]), "OUTPUT": _cell(run["output"])}
    return row | {"WHY": "" if run["phase"] == "Succeeded" else _cell(run["why"])}


def offered(listed: Sequence[dict[str, Any]]) -> None:
    """Prints runs to choose from on stderr, each with its number."""
    width = max(len(run["name"]) for run in listed)
    for number, run in enumerate(listed, 1):
        line = f"{number}  {run['name'].ljust(width)}  {run['phase']}  {ago(run['age_s'])} old"
        terminal.echo(line, err=True)


def status(document: dict[str, Any], form: str) -> None:
    """Prints a run on one screen."""
    if form in ("json", "yaml"):
        documents([document], form, many=False)
        return
    duration = f"  {ago(document['duration_s'])}" if document["duration_s"] else ""
    terminal.styled([(document["name"], {}), ("  ", {}), _styled(document["phase"]), (duration, {})])
    for name, text in _status_rows(document):
        terminal.echo(f"{name:<12}{text}")


def _status_rows(run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the rows of the screen below its first line."""
    running = run["phase"] == "Running"
    if run["why"] and run["why"] != "done":
        yield "why", run["why"]
    if run["remedy"]:
        yield "fix", run["remedy"]
    if run["queue"]:
        yield "queue", _place(run["queue"])
    if run["epochs"]:
        yield "epoch", f"{run['epoch']}/{run['epochs']}   step {run['step']:,}/{run['steps']:,}"
    if run["doing"]:
        yield "doing", run["doing"]
    if values := summary_words(run["metrics"]):
        yield "metrics", values
    if running and run["eta_s"] is not None:
        yield "to go", ago(run["eta_s"]) + (f"   {run['rows_per_s']:,.0f} rows/s" if run["rows_per_s"] else "")
    if running and (run["silent_s"] or 0) > 60:
        yield "silent", f"nothing from the trainer for {ago(run['silent_s'])}; kfit logs {run['name']}"
    for worker in run["workers"]:
        yield f"worker {worker['index']}", f"{worker['doing']}   {worker['pod'] or ''}".rstrip()
    replaced = run["ended"] if run["phase"] not in ("Succeeded", "Failed") else run["ended"][:-1]
    yield "restarts", str(run["restarts"]) + "".join(f"\n{' ' * 12}{e['pod']}: {e['cause']}" for e in replaced)
    saved = run["checkpoint"]
    yield "checkpoint", f"step {saved['step']:,}, {ago(saved['age_s'])} old" if saved else "none known"
    if run["run"] != run["name"]:
        yield "continues", f"run {run['run']}"
    yield "output", f"{run['output'].rstrip('/')}/runs/{run['run']}"


def _place(queue: dict[str, Any]) -> str:
    """A run's place in its queue, as words."""
    if queue["position"] is not None:
        return f"{queue['name']}   position {queue['position']} of {queue['length']}"
    if queue["admitted_nodes"] is None:
        return str(queue["name"])
    fewer = f", {queue['admitted_nodes']} of {queue['asked_nodes']} nodes"
    return f"{queue['name']}   admitted{fewer if queue['admitted_nodes'] < queue['asked_nodes'] else ''}"


def summary_words(metrics: dict[str, float]) -> str:
    """The loss and validation's values, as words."""
    from trainer.progress.formatting import metric

    shown = {name: value for name, value in metrics.items() if name == "loss" or name.startswith("val_")}
    return "   ".join(f"{name} {metric(value)}" for name, value in shown.items())


def ago(seconds: float | None) -> str:
    """A duration as kubectl writes it: 42s, 3m5s, 2h10m, 5d."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"
    hours = whole // 3600
    return f"{hours}h{whole % 3600 // 60}m" if hours < 10 else f"{hours}h" if hours < 48 else f"{hours // 24}d"


def table(rows: Sequence[dict[str, str]], *, heads: bool = True) -> None:
    """Prints rows under their heads, as kubectl does: no frame, so that awk and cut can read it."""
    columns = list(rows[0])
    shown = [{c: terminal.visible(row[c]) for c in columns} for row in rows]
    widths = {c: max(len(c), *(len(row[c]) for row in shown)) for c in columns}
    for row in [*([dict(zip(columns, columns, strict=True))] if heads else []), *shown]:
        click.echo("   ".join(row[c].ljust(widths[c]) for c in columns).rstrip())


_COLORS = {"Running": "green", "Succeeded": "green", "Failed": "red", "Cancelled": "red"}


def _styled(phase: str) -> tuple[str, dict[str, Any]]:
    return phase, {"fg": _COLORS.get(phase, "yellow"), "bold": True}


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def why(report: dict[str, Any]) -> None:
    """Prints why a run is where it is, and how to fix it."""
    reason = f"  {report['why']}" if report["why"] != "done" else ""
    terminal.styled([(report["name"], {}), ("  ", {}), _styled(report["phase"]), (reason, {})])
    for line in str(report.get("error") or "").splitlines():
        terminal.echo(f"  {line}")
    earlier = report["earlier"] if report["exit_code"] is None else report["earlier"][:-1]
    for pod in earlier:
        terminal.echo(f"  before: pod {pod['pod']}: {pod['cause']}")
    for key, head in (("first", "first"), ("slow", "slow"), ("fault", "storage"), ("remedy", "fix"), ("left", "files")):
        if report.get(key):
            terminal.echo(f"  {head}: {report[key]}")


def schedules(listed: Sequence[dict[str, Any]], form: str, namespace: str) -> None:
    """Prints a list of schedules."""
    if not _listed(listed, form, "CronJob", f"no schedules in namespace {namespace}"):
        heads = {"NAME": "name", "CRON": "cron", "ZONE": "time_zone"}
        table([
            {head: _cell(one[key]) for head, key in heads.items()}
            | {"STATE": "suspended" if one["suspended"] else "active", "RUNNING": str(len(one["active"]))}
            | {"LAST": ago(one["last_s"]), "AGE": ago(one["age_s"])}
            for one in listed
        ])  # fmt: skip


def findings(listed: Sequence[dict[str, Any]]) -> None:
    """Prints what works and what does not."""
    marks: dict[bool | None, tuple[str, dict[str, Any]]] = {
        True: ("ok", {"fg": "green"}),
        False: ("no", {"fg": "red", "bold": True}),
        None: ("  ", {}),
    }
    width = max(len(finding["what"]) for finding in listed)
    for finding in listed:
        terminal.styled([marks[finding["ok"]], (f"  {finding['what'].ljust(width)}  {finding['told']}", {})])
        if finding["ok"] is False and finding["remedy"]:
            terminal.echo(f"    {' ' * width}  {finding['remedy']}")
