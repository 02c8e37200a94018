"""What verbs print: tables for people, JSON and YAML and names for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from k8s.actions.apply import Outcome, Submitted
from k8s.chart.yaml_documents import to_yaml, workload

if TYPE_CHECKING:
    from k8s.actions.backfill import Day


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
        name = kind_name(manifest["kind"], manifest["metadata"]["name"])
        click.echo(name if form == "name" else f"{name} would be sent (dry run)")


def submitted(result: Submitted, form: str, namespace: str, *, dry_run: bool) -> None:
    """Prints what became of a job file."""
    kind, name = result.workload["kind"], result.name
    if form == "name":
        click.echo(kind_name(kind, name))
    elif form in ("json", "yaml"):
        found = {"kind": kind, "name": name, "namespace": namespace, "result": result.outcome.value}
        documents([found | {"objects": {k: v.value for k, v in result.objects.items()}}], form, many=False)
    else:
        click.echo(f"{kind_name(kind, name)} {_words(result, dry_run)}")


def next_steps(results: Sequence[Submitted], words: str) -> None:
    """Says on stderr how to follow what was submitted."""
    jobs = [r for r in results if r.workload["kind"] == "Job"]
    if len(jobs) == 1:
        click.echo(f"follow it: kfit logs -f {jobs[0].name}{words}", err=True)


def backfilled(days: Sequence[Day], form: str) -> None:
    """Prints what became of each day of a backfill."""
    if form == "name":
        for day in days:
            click.echo(kind_name("Job", day.name))
        return
    found = [
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
    if form in ("json", "yaml"):
        documents(found, form, many=True)
        return
    columns = {"DATE": "date", "NAME": "name", "PHASE": "phase", "EXIT": "exit_code", "WHY": "why"}
    table([{head: _cell(day[key]) for head, key in columns.items()} for day in found])


def _words(result: Submitted, dry_run: bool) -> str:
    tail = " (dry run, the cluster would take it)" if dry_run else ""
    if result.outcome is not Outcome.UNCHANGED or result.workload["kind"] != "Job":
        return f"{result.outcome.value}{tail}"
    conditions = result.workload.get("status", {}).get("conditions") or []
    over = next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")
    state = {"Complete": "it has succeeded", "Failed": "it has failed"}.get(over, "it goes on")
    return f"unchanged: this file is there already, {state}; --again makes another Job{tail}"


def kind_name(kind: str, name: str) -> str:
    """`job.batch/NAME`, as kubectl prints and reads it."""
    return f"{kind.lower()}.batch/{name}" if kind in ("Job", "CronJob") else f"{kind.lower()}/{name}"


def runs(found: Sequence[dict[str, Any]], form: str, namespace: str) -> None:
    """Prints a list of runs."""
    if form == "name":
        for run in found:
            click.echo(kind_name("Job", run["name"]))
        return
    if form in ("json", "yaml"):
        documents(found, form, many=True)
        return
    if not found:
        click.echo(f"no runs in namespace {namespace}", err=True)
        return
    columns = {"NAME": "name", "PHASE": "phase", "EXIT": "exit_code", "RESTARTS": "restarts"}
    rows = [{head: _cell(run[key]) for head, key in columns.items()} for run in found]
    for row, run in zip(rows, found, strict=True):
        row |= {"TIME": ago(run["duration_s"]), "AGE": ago(run["age_s"])}
        if form == "wide":
            held = ",".join(f"{k.rpartition('/')[2]}={v}" for k, v in run["resources"].items())
            row |= {"NODES": str(run["nodes"]), "RESOURCES": held, "IMAGE": run["image"], "OUTPUT": run["output"]}
        row["WHY"] = "" if run["phase"] == "Succeeded" else run["why"]
    table(rows)


def status(document: dict[str, Any], form: str) -> None:
    """Prints a run on one screen."""
    if form in ("json", "yaml"):
        documents([document], form, many=False)
        return
    run = document
    click.echo(f"{run['name']}  {_styled(run['phase'])}" + (f"  {ago(run['duration_s'])}" if run["duration_s"] else ""))
    if run["why"] and run["why"] != "done":
        _row("why", run["why"])
    if run["remedy"]:
        _row("mend", run["remedy"])
    if run["epochs"]:
        _row("epoch", f"{run['epoch']}/{run['epochs']}   step {run['step']:,}/{run['steps']:,}")
    if run["doing"]:
        _row("doing", run["doing"])
    values = summary_words(run["metrics"])
    if values:
        _row("metrics", values)
    if run["phase"] == "Running" and run["eta_s"] is not None:
        speed = f"   {run['rows_per_s']:,.0f} rows/s" if run["rows_per_s"] else ""
        _row("to go", f"{ago(run['eta_s'])}{speed}")
    if run["phase"] == "Running" and (run["silent_s"] or 0) > 60:
        _row("silent", f"no word from the trainer for {ago(run['silent_s'])}; kfit logs {run['name']}")
    for worker in run["workers"]:
        _row(f"worker {worker['index']}", f"{worker['doing']}   {worker['pod'] or ''}".rstrip())
    ended = run["ended"] if run["phase"] not in ("Succeeded", "Failed") else run["ended"][:-1]
    _row("restarts", str(run["restarts"]) + "".join(f"\n{' ' * 12}{e['pod']}: {e['cause']}" for e in ended))
    saved = run["checkpoint"]
    _row("checkpoint", f"step {saved['step']:,}, {ago(saved['age_s'])} old" if saved else "none known")
    if run["run"] != run["name"]:
        _row("goes on", f"with run {run['run']}")
    _row("output", f"{run['output'].rstrip('/')}/runs/{run['run']}")


def summary_words(metrics: dict[str, float]) -> str:
    """The loss and validation's values, as words."""
    from k8s.status.summary import metric_words
    from trainer.progress.formatting import metric

    return "   ".join(f"{name} {metric(value)}" for name, value in metric_words(metrics).items())


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


def table(rows: Sequence[dict[str, str]]) -> None:
    """Prints rows under their heads, as kubectl does: no frame, so that awk and cut can read it."""
    heads = list(rows[0])
    widths = {h: max(len(h), *(len(r[h]) for r in rows)) for h in heads}
    for row in [dict(zip(heads, heads, strict=True)), *rows]:
        cells = [row[h].ljust(widths[h]) for h in heads]
        click.echo("   ".join(cells).rstrip())


_COLORS = {"Running": "green", "Succeeded": "green", "Failed": "red", "Cancelled": "red"}


def _styled(phase: str) -> str:
    return click.style(phase, fg=_COLORS.get(phase, "yellow"), bold=True)


def _row(name: str, text: str) -> None:
    click.echo(f"{name:<12}{text}")


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def why(told: dict[str, Any]) -> None:
    """Prints why a run is where it is, and what mends it."""
    click.echo(f"{told['name']}  {_styled(told['phase'])}" + (f"  {told['why']}" if told["why"] != "done" else ""))
    for line in str(told.get("error") or "").splitlines():
        click.echo(f"  {line}")
    earlier = told["earlier"] if told["exit_code"] is None else told["earlier"][:-1]
    for pod in earlier:
        click.echo(f"  before: pod {pod['pod']}: {pod['cause']}")
    for key, head in (("first", "first"), ("slow", "slow"), ("fault", "storage"), ("remedy", "mend"), ("left", "left")):
        if told.get(key):
            click.echo(f"  {head}: {told[key]}")


def schedules(found: Sequence[dict[str, Any]], form: str, namespace: str) -> None:
    """Prints a list of schedules."""
    if form == "name":
        for one in found:
            click.echo(kind_name("CronJob", one["name"]))
    elif form in ("json", "yaml"):
        documents(found, form, many=True)
    elif not found:
        click.echo(f"no schedules in namespace {namespace}", err=True)
    else:
        heads = {"NAME": "name", "CRON": "cron", "ZONE": "time_zone"}
        table([
            {head: _cell(one[key]) for head, key in heads.items()}
            | {"STATE": "suspended" if one["suspended"] else "active", "AT WORK": str(len(one["active"]))}
            | {"LAST": ago(one["last_s"]), "AGE": ago(one["age_s"])}
            for one in found
        ])  # fmt: skip


def findings(found: Sequence[dict[str, Any]]) -> None:
    """Prints what works and what does not."""
    marks = {True: click.style("ok", fg="green"), False: click.style("no", fg="red", bold=True), None: "  "}
    width = max(len(one["what"]) for one in found)
    for one in found:
        click.echo(f"{marks[one['ok']]}  {one['what'].ljust(width)}  {one['told']}")
        if one["ok"] is False and one["remedy"]:
            click.echo(f"    {' ' * width}  {one['remedy']}")
