"""`kfit compare`: two runs side by side: configuration, data, metrics. From storage alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from k8s.commands.options import examples, storage_format_option
from k8s.history.run_records import Record, of_a_job, older_output_uri, output_of, read_record
from trainer.errors import ConfigError

_PIPE_WIDTH = 160
Row = tuple[str, Any, Any]


@click.command(
    epilog=examples(
        "kfit compare flights-1a2b3c4d flights-5e6f7a8b -f job.yaml",
        "kfit compare A B --output-uri s3://models/flights -o html > page.html",
    )
)
@click.argument("a")
@click.argument("b")
@of_a_job
@storage_format_option("table", "json", "html")
def compare(a: str, b: str, files: tuple[str, ...], output_uri: str | None, form: str) -> None:
    """Show how runs A and B differ.

    Each is an id, or a run's URI. `-o html > page.html` draws both curves.
    """
    output_uri = older_output_uri(output_uri)
    uri = output_of(files, output_uri) if files or output_uri else None
    first, second = read_record(a, uri), read_record(b, uri)
    if first.uri == second.uri:
        raise ConfigError(f"{a} and {b} are one run", where="kfit compare", remedy="name two, see `kfit history`")
    sections = compared(first, second)
    if form == "json":
        documents = {
            title: [{"key": key, "a": one, "b": other} for key, one, other in rows] for title, rows in sections.items()
        }
        click.echo(json.dumps({"a": first.run, "b": second.run, **documents}, indent=2, default=str))
    elif form == "html":
        from trainer.report.compare_page import Side, render

        sides = [Side(r.run, r.result, r.epochs) for r in (first, second)]
        rows_of = {title: [_cells(row) for row in rows] for title, rows in sections.items()}
        click.echo(render(sides[0], sides[1], rows_of), nl=False)
    else:
        _print(first.run, second.run, sections)


def compared(a: Record, b: Record) -> dict[str, list[Row]]:
    """Returns the rows of each section: `metrics`, `data`, `columns`, `configuration` (differences only), `run`."""
    return {
        "metrics": _metrics(a.result, b.result),
        "data": _data(a, b),
        "columns": _columns(a.statistics, b.statistics),
        "configuration": _configuration(a.config, b.config),
        "run": _run(a.result, b.result),
    }


def _metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    days = [(result.get("windows") or {}).get("holdout") for result in (a, b)]
    own = "" if days[0] == days[1] else " (own days)"  # each run has its own holdout rows

    def flat(result: Mapping[str, Any]) -> dict[str, Any]:
        metrics = result.get("metrics") or {}
        holdout = (result.get("decision") or {}).get("metrics") or {}
        splits = {
            f"holdout{own}": holdout,
            "validation": metrics.get("validation") or {},
            "train": metrics.get("train") or {},
        }
        return {f"{split} {name}": value for split, values in splits.items() for name, value in values.items()}

    return _both(flat(a), flat(b))


def _data(a: Record, b: Record) -> list[Row]:
    def facts(record: Record) -> dict[str, Any]:
        windows = record.result.get("windows") or record.config.get("windows") or {}
        days = {f"{part} days": f"{w['first']} … {w['last']} ({w['days']})" for part, w in windows.items()}
        rows = {f"{split} rows": n for split, n in (record.result.get("rows") or {}).items()}
        return {"date": record.config.get("date"), **days, **rows, "shards": len(record.config.get("shards") or ())}

    rows = _both(facts(a), facts(b))
    ours, theirs = ({s["uri"]: s["version"] for s in r.config.get("shards") or ()} for r in (a, b))
    common = sum(ours[uri] == theirs.get(uri) for uri in ours)
    rows.append(("shards only here", len(ours) - common, len(theirs) - common))
    return rows


def _columns(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Returns the columns by how far their distribution moved from A to B, the farthest first."""
    if not a or not b:
        return []
    from trainer.config import Checks
    from trainer.feed.statistics.cache import statistics_from
    from trainer.nightly import drift

    before, now = statistics_from(a), statistics_from(b)
    moved = {f.column: f.measure for f in drift.check(Checks(), before, now) if f.check == "psi"}
    names = sorted(moved, key=lambda name: -moved[name])
    return [
        (f"{name}  (psi {moved[name]:.3f})", _shape(a["columns"][name]), _shape(b["columns"][name])) for name in names
    ]


def _shape(column: Mapping[str, Any]) -> str:
    rows = max(column["rows"], 1)
    missing = (column["nulls"] + column["nans"]) / rows
    suffix = f", {missing:.1%} missing" if missing else ""
    if column["values"]:
        top = ", ".join(f"{value} {n / rows:.0%}" for value, n in column["values"][:3])
        return f"{column['distinct']} values: {top}{suffix}"
    return f"{column['mean']:.4g} ± {math.sqrt(column['variance']):.3g}{suffix}"


def _configuration(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Returns the keys that differ. The days of windows are in the section `data`."""
    ours, theirs = (
        {**_flat("run", c.get("config") or {}), **_flat("versions", c.get("versions") or {})} for c in (a, b)
    )
    for keys, document in ((ours, a), (theirs, b)):
        for part in document.get("windows") or {}:
            keys.pop(f"run.data.{part}", None)
        keys["git_commit"] = document.get("git_commit")
    return [row for row in _both(ours, theirs) if row[1] != row[2]]


def _run(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    def facts(result: Mapping[str, Any]) -> dict[str, Any]:
        decision = result.get("decision") or {}
        plain = {name: result.get(name) for name in ("status", "reason", "epochs", "best_epoch", "steps", "finished")}
        verdict = "promoted" if decision.get("promoted") else "kept out"
        gate = f"{verdict}: {decision.get('why')}" if decision else None
        return {**plain, "gate": gate, **{f"{k} s": v for k, v in (result.get("ledger_s") or {}).items()}}

    return _both(facts(a), facts(b))


def _flat(at: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _flat(f"{at}.{name}", inner).items()}
    return {at: value}


def _both(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    rows = [(key, a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b])]
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _print(a: str, b: str, sections: Mapping[str, Sequence[Row]]) -> None:
    from rich.table import Table

    from trainer.progress import terminal

    console = terminal.console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    for title, rows in sections.items():
        if not rows:
            continue
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column(a, overflow="fold")
        table.add_column(b, overflow="fold")
        table.add_column("change", justify="right")
        for row in rows:
            table.add_row(*_cells(row))
        console.print(table)
        console.print()


def _cells(row: Row) -> tuple[str, str, str, str]:
    key, one, other = row
    return key, text(one), text(other), change(one, other)


def text(value: Any) -> str:
    """Returns the text of a value in a cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def change(one: Any, other: Any) -> str:
    """Returns the difference B - A of two numbers; empty for anything else, and where they are equal."""
    numbers = [v for v in (one, other) if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2 or one == other:
        return ""
    difference = other - one
    # Adding zero turns -0.0 into 0.0.
    return f"{difference:+,}" if isinstance(difference, int) else f"{round(difference, 4) + 0.0:+.4f}".replace("-", "−")
