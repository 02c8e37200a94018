"""Compares the training rows with those of the run in production, before a GPU is used.

A breach is a fault of the data until a person raises the limit (exit 65). The table names the column, the check, both
values and the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config import Checks, Limits
from trainer.errors import DataError
from trainer.progress.terminal import visible
from trainer.schema import ColumnStatistics, Statistics

#: Categories with fewer of the reference's rows are counted together: their shares are mostly noise.
_LEAST_SHARE = 0.01
#: A share is never taken as less, so that an empty bin gives a large and not an infinite index.
_FLOOR = 1e-4
_PSI_BINS = 10
_OTHER = "\0other"


@dataclass(frozen=True)
class Finding:
    """One check of one column or, without a column, of the whole dataset.

    Attributes:
        check: rows, nulls, range, new_categories or psi.
        column: Its name, "" for the dataset.
        before, now: The checked value in the run in production and in this run.
        measure: The number that is compared with the limit.
        limit: As the job file has it.
        breached: Whether the limit is exceeded.
        note: Details for a person, such as the new categories.
    """

    check: str
    column: str
    before: float
    now: float
    measure: float
    limit: float
    breached: bool
    note: str = ""


class Drifted(DataError):
    """The data exceeds its limits.

    Attributes:
        findings: The breaches.
    """

    def __init__(self, findings: Sequence[Finding], champion: str) -> None:
        self.findings = tuple(findings)
        columns = len({f.column for f in findings})
        super().__init__(
            f"the data fails {_counted(len(findings), 'check')} of {_counted(columns, 'column')} against {champion}:\n"
            f"{table(findings)}",
            where="run.data.checks",
            remedy="fix the data; or, where the change is right, raise the limit for the column under checks.columns",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def check(checks: Checks, before: Statistics, now: Statistics) -> list[Finding]:
    """Compares the statistics of the training rows with those of the run in production.

    Args:
        checks: The limits.
        before: Statistics of the run in production.
        now: Statistics of this run.

    Returns:
        Every check made, breached or not. Columns that the run in production did not have are not checked.
    """
    findings = list(_rows(checks, before.rows, now.rows))
    for name, column in now.columns.items():
        known = before.columns.get(name)
        if known is None or not known.rows or not column.rows:
            continue
        findings += _column(name, limits_of(checks, name), known, column)
    return findings


def limits_of(checks: Checks, column: str) -> Limits:
    """Returns the limits of a column: those of its own entry, and for the rest those of all columns."""
    own = checks.columns.get(column)
    return checks if own is None else checks.model_copy(update={k: getattr(own, k) for k in own.model_fields_set})


def breaches(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings that exceed their limit, the largest excess first."""
    breached = [f for f in findings if f.breached]
    return sorted(breached, key=lambda f: (f.check != "rows", -f.measure / (f.limit or 1e-9)))


def _rows(checks: Checks, before: int, now: int) -> Iterator[Finding]:
    ratio = now / before if before else math.inf
    for limit, breached in (
        (checks.min_rows, checks.min_rows is not None and ratio < checks.min_rows),
        (checks.max_rows, checks.max_rows is not None and ratio > checks.max_rows),
    ):
        if limit is not None:
            yield Finding("rows", "", before, now, ratio, limit, breached, f"{ratio:.2f} times production's")


def _column(name: str, limits: Limits, before: ColumnStatistics, now: ColumnStatistics) -> Iterator[Finding]:
    if limits.nulls is not None:
        was, is_now = ((c.nulls + c.nans) / c.rows for c in (before, now))
        rise = is_now - was
        yield Finding("nulls", name, was, is_now, rise, limits.nulls, rise > limits.nulls)
    counted = bool(before.values and now.values)
    if not counted and before.percentiles and now.percentiles and limits.range is not None:
        yield _range(name, limits.range, before, now)
    # Only the most frequent values of a hashed column are stored, so a rare value is not a new one.
    if counted and len(before.values) == before.distinct and limits.new_categories is not None:
        yield _new_categories(name, limits.new_categories, before, now)
    if limits.psi is not None and (shares_of := _paired_shares(before, now)) is not None:
        index = psi(*shares_of)
        yield Finding("psi", name, 0.0, index, index, limits.psi, index > limits.psi)


def _range(name: str, limit: float, before: ColumnStatistics, now: ColumnStatistics) -> Finding:
    span = before.maximum - before.minimum or max(abs(before.maximum), 1.0)
    above, below = now.maximum - before.maximum, before.minimum - now.minimum
    far = max(0.0, above, below) / span
    ends = (before.maximum, now.maximum) if above >= below else (before.minimum, now.minimum)
    return Finding("range", name, *ends, far, limit, far > limit, f"{now.minimum:.4g} to {now.maximum:.4g}")


def _new_categories(name: str, limit: float, before: ColumnStatistics, now: ColumnStatistics) -> Finding:
    known = {value for value, _ in before.values}
    new = [(value, rows) for value, rows in now.values if value not in known]
    share = sum(rows for _, rows in new) / now.rows
    shown = ", ".join(str(value)[:24] for value, _ in new[:5]) + (", …" if len(new) > 5 else "")
    return Finding("new_categories", name, len(known), len(known) + len(new), share, limit, share > limit, shown)


def psi(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index: the sum of (now − before) · ln(now / before) over bins.

    It is Jeffreys' symmetric divergence of the two distributions (Kullback and Leibler 1951); below 0.1 is
    taken as stable and above 0.25 as a marked shift (Siddiqi 2006, *Credit Risk Scorecards*).

    Args:
        before: Share of each bin in the reference.
        now: Share of the same bins now.
    """
    total = 0.0
    for old, new in zip(before, now, strict=True):
        a, b = max(old, _FLOOR), max(new, _FLOOR)
        total += (b - a) * math.log(b / a)
    return total


def _paired_shares(before: ColumnStatistics, now: ColumnStatistics) -> tuple[list[float], list[float]] | None:
    """Returns the shares of the same bins in both; None where a column has neither values nor percentiles."""
    if before.values and now.values:
        return _category_shares(before, now)
    if before.percentiles and now.percentiles:
        return _number_shares(before.percentiles, now.percentiles)
    return None


def _category_shares(before: ColumnStatistics, now: ColumnStatistics) -> tuple[list[float], list[float]]:
    total = sum(rows for _, rows in before.values)
    names = [value for value, rows in before.values if rows >= _LEAST_SHARE * total]

    def shares(column: ColumnStatistics) -> list[float]:
        rows: dict[Any, int] = dict.fromkeys([*names, _OTHER], 0)
        for value, count in column.values:
            rows[value if value in rows else _OTHER] += count
        everything = sum(rows.values()) or 1
        return [count / everything for count in rows.values()]

    return shares(before), shares(now)


def _number_shares(before: Sequence[float], now: Sequence[float]) -> tuple[list[float], list[float]]:
    """Bins end at the reference's deciles; equal deciles (a frequent value) are one bin."""
    step = (len(before) - 1) // _PSI_BINS
    edges = sorted(set(before[step:-1:step]))

    def shares(percentiles: Sequence[float]) -> list[float]:
        counts = [0] * (len(edges) + 1)
        for value in percentiles:
            counts[next((i for i, edge in enumerate(edges) if value <= edge), len(edges))] += 1
        return [count / len(percentiles) for count in counts]

    # A hundred percentiles give shares to about 1 %, so an empty bin holds less than half of that.
    return _floored(shares(before)), _floored(shares(now))


def _floored(shares: Sequence[float]) -> list[float]:
    return [max(share, 0.005) for share in shares]


def table(findings: Sequence[Finding]) -> str:
    """Returns the findings as a table of plain text, for stderr and result.json's `reason`."""
    heads = ("check", "column", "production", "now", "measure", "limit", "")
    rows = [heads, *(_cells(f) for f in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(finding: Finding) -> tuple[str, ...]:
    numbers = [_text(finding.check, number) for number in (finding.before, finding.now)]
    measure = f"{finding.measure:.2%}" if finding.check in ("nulls", "new_categories") else f"{finding.measure:.3g}"
    cells = (finding.check, finding.column or "(all)", *numbers, measure, f"{finding.limit:g}", finding.note)
    return tuple(visible(cell) for cell in cells)


def _text(check: str, number: float) -> str:
    if check == "psi":
        return "–"
    return f"{number:.2%}" if check == "nulls" else f"{number:,.4g}" if abs(number) < 1e4 else f"{number:,.0f}"
