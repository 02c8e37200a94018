"""Prints what a gate does in sixty nights of the flights of 2013, ten of them with noise in their labels.

Every night's model is a real one: `trainer.fit` on a window of six weeks, exported and published. The gate scores
it on the days after them and `production.json` moves or stays. What a model is truly worth is its AUC on the
rest of the year, all days after the night, which no gate has seen. Challengers do not depend on what
is in production, so they are fitted side by side first, and every rule goes through the same sixty nights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.nights.fits import (
    FIRST_NIGHT,
    HOLDOUT_DAYS,
    NOISE,
    Asked,
    days_looked_at,
    run_nights,
)
from trainer.config import Promote
from trainer.metrics import value
from trainer.nightly import gate, production
from trainer.nightly.scores import Scored

RESAMPLES = 1000
RULES: dict[str, Promote | None] = {
    "no gate: always promote": None,
    "max_loss: 0.01, rows": Promote(max_loss=0.01, resamples=RESAMPLES),
    "max_loss: 0.01, by: dt": Promote(max_loss=0.01, by="dt", resamples=RESAMPLES),
    "max_loss: 0.005, rows": Promote(max_loss=0.005, resamples=RESAMPLES),
    "max_loss: 0.005, by: dt": Promote(max_loss=0.005, by="dt", resamples=RESAMPLES),
    "min_delta: 0, rows (default)": Promote(resamples=RESAMPLES),
    "min_delta: 0, by: dt": Promote(by="dt", resamples=RESAMPLES),
}
#: The one that is held to its word, and what it allows: that of examples/nightly/job.yaml.
RULE, ALLOWED = "max_loss: 0.01, by: dt", 0.01


@dataclass(frozen=True)
class Outcome:
    """What a rule did in all nights; gains are AUC on the year's rest, challenger minus champion."""

    promoted: int
    noisy_promoted: int
    worst_promoted: float
    refused_better: int
    better: int
    refused_much_better: int
    much_better: int
    mean_auc: float
    runs: tuple[str, ...]


MUCH = 0.005


def replay(rules: Promote | None, found: Sequence[Asked], labels: np.ndarray, day_of: np.ndarray) -> Outcome:
    """Goes through the nights with a rule of promotion."""
    champion, promoted, gains_promoted, gains_refused, served = found[0], [found[0]], [], [], []
    for asked in found[1:]:
        after = day_of > asked.night.toordinal()
        gain = _auc(labels, asked.scores, after) - _auc(labels, champion.scores, after)
        passed = rules is None or _passes(rules, asked, champion, labels, day_of)
        (gains_promoted if passed else gains_refused).append(gain)
        if passed:
            champion = asked
            promoted.append(asked)
        served.append(_auc(labels, champion.scores, after))
    everything = [*gains_promoted, *gains_refused]
    return Outcome(
        len(promoted),
        sum(asked.noise > 0 for asked in promoted),
        min(gains_promoted, default=0.0),
        sum(g > 0 for g in gains_refused),
        sum(g > 0 for g in everything),
        sum(g > MUCH for g in gains_refused),
        sum(g > MUCH for g in everything),
        float(np.mean(served)),
        tuple(asked.run for asked in promoted),
    )


def _passes(rules: Promote, asked: Asked, champion: Asked, labels: np.ndarray, day_of: np.ndarray) -> bool:
    """The gate itself, on the night's own holdout."""
    last = asked.night.toordinal() - 1
    held = (day_of > last - HOLDOUT_DAYS) & (day_of <= last)
    units = day_of[held] if rules.by else None
    scored = Scored("binary", labels[held], asked.scores[held], champion.scores[held], units)
    return gate.decide(rules, scored, champion.run).passed


def move_production(output: str, runs: Sequence[str]) -> int:
    """Moves production.json through the runs that a rule promoted; returns its last generation."""
    seen = None
    for run in runs:
        seen = production.move(output, run, seen=seen, why=RULE)
    assert seen is not None
    return seen.generation


def _auc(labels: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> float:
    return value("auc", "binary", labels[rows], scores[rows])


def day_of_rows(lake: Path, looked: Sequence[date]) -> np.ndarray:
    """The day, as an ordinal, of every row in the order they were asked."""
    rows = [pq.read_metadata(lake / f"dt={day}" / "part-0.parquet").num_rows for day in looked]
    return np.repeat([day.toordinal() for day in looked], rows)


def table_of(outcomes: dict[str, Outcome], nights: int) -> Table:
    """One line a rule."""
    table = Table(title=f"{nights} nights, {len(NOISE)} with noise in the labels; gains in AUC on the year's rest")
    table.add_column("rule", no_wrap=True)
    for name in (
        "promoted",
        "of them noisy",
        "worst gain promoted",
        "refused though better",
        f"… by > {MUCH}",
        "mean AUC served",
    ):
        table.add_column(name, justify="right")
    for rule, o in outcomes.items():
        better, much = f"{o.refused_better} of {o.better}", f"{o.refused_much_better} of {o.much_better}"
        table.add_row(
            rule, str(o.promoted), str(o.noisy_promoted), f"{o.worst_promoted:+.4f}", better, much, f"{o.mean_auc:.4f}"
        )
    return table


def main() -> None:
    """Runs the nights and prints the table; exits with 1 where a promoted model broke the gate's promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".demo/flights"))
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2, help="nights fitted at a time")
    parser.add_argument("--keep", type=Path, help="keep all answers in this .npz")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    chosen = parser.parse_args()
    began = time.monotonic()
    nights = [FIRST_NIGHT + timedelta(days=i) for i in range(chosen.nights)]
    looked = days_looked_at(nights)
    lake = chosen.data.resolve()
    with tempfile.TemporaryDirectory(prefix="kfit-nights-") as scratch:
        found, labels = run_nights(lake, Path(scratch), nights, chosen.workers)
        if chosen.keep:
            np.savez(chosen.keep, labels=labels, **{a.run: a.scores for a in found})
        day_of = day_of_rows(lake, looked)
        outcomes = {rule: replay(rules, found, labels, day_of) for rule, rules in RULES.items()}
        moved = move_production(f"{scratch}/out", outcomes[RULE].runs)
    Console(width=140).print(table_of(outcomes, len(nights)))
    print(f"production.json moved {moved} times by {RULE!r}")
    print(f"{time.monotonic() - began:.0f} s")
    if chosen.json:
        chosen.json.write_text(json.dumps({rule: vars(outcome) for rule, outcome in outcomes.items()}, indent=2) + "\n")
    raise SystemExit(1 if outcomes[RULE].worst_promoted < -ALLOWED else 0)


if __name__ == "__main__":
    main()
