"""Replays sixty nights of the flights of 2013 through the promotion gate; ten of them have noise in their labels.

The model of each night is real: `trainer.fit` on a window of six weeks, exported and published. The gate scores it on
the days after that window and moves `production.json` or not. The true quality of a model is its AUC on all days after
the night, which no gate has seen. A challenger does not depend on what is in production, so all are fitted first, and
every rule is applied to the same sixty nights.
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

from benchmarks.nights.models import (
    FIRST_NIGHT,
    HOLDOUT_DAYS,
    NOISE,
    NightModel,
    run_nights,
    scored_days,
)
from trainer.config import Promote
from trainer.metrics import value
from trainer.nightly import gate, production
from trainer.nightly.scores import Scored

RULES: dict[str, Promote | None] = {
    "no gate: always promote": None,
    "max_loss: 0.01, rows": Promote(max_loss=0.01),
    "max_loss: 0.01, by: dt": Promote(max_loss=0.01, by="dt"),
    "max_loss: 0.005, rows": Promote(max_loss=0.005),
    "max_loss: 0.005, by: dt": Promote(max_loss=0.005, by="dt"),
    "min_delta: 0, rows (default)": Promote(),
    "min_delta: 0, by: dt": Promote(by="dt"),
}
#: The rule that is checked, that of examples/nightly/job.yaml, and the loss that it allows.
RULE, ALLOWED = "max_loss: 0.01, by: dt", 0.01


@dataclass(frozen=True)
class Outcome:
    """Result of a rule over all nights; gains are challenger minus champion in AUC on the rest of the year."""

    promoted: int
    noisy_promoted: int
    worst_promoted: float
    refused_better: int
    better: int
    refused_much_better: int
    much_better: int
    mean_auc: float
    runs: tuple[str, ...]


#: A gain in AUC from which a refusal counts as a large miss.
MUCH = 0.005


def replay(rules: Promote | None, models: Sequence[NightModel], labels: np.ndarray, day_of: np.ndarray) -> Outcome:
    """Replays the nights under a rule of promotion."""
    champion, promoted, gains_promoted, gains_refused, served = models[0], [models[0]], [], [], []
    for model in models[1:]:
        after = day_of > model.night.toordinal()
        gain = _auc(labels, model.scores, after) - _auc(labels, champion.scores, after)
        passed = rules is None or _passes(rules, model, champion, labels, day_of)
        (gains_promoted if passed else gains_refused).append(gain)
        if passed:
            champion = model
            promoted.append(model)
        served.append(_auc(labels, champion.scores, after))
    everything = [*gains_promoted, *gains_refused]
    return Outcome(
        len(promoted),
        sum(model.noise > 0 for model in promoted),
        min(gains_promoted, default=0.0),
        sum(g > 0 for g in gains_refused),
        sum(g > 0 for g in everything),
        sum(g > MUCH for g in gains_refused),
        sum(g > MUCH for g in everything),
        float(np.mean(served)),
        tuple(model.run for model in promoted),
    )


def _passes(rules: Promote, model: NightModel, champion: NightModel, labels: np.ndarray, day_of: np.ndarray) -> bool:
    """Returns the decision of the gate on the night's own holdout."""
    last = model.night.toordinal() - 1
    holdout = (day_of > last - HOLDOUT_DAYS) & (day_of <= last)
    units = day_of[holdout] if rules.by else None
    scored = Scored("binary", labels[holdout], model.scores[holdout], champion.scores[holdout], units)
    return gate.decide(rules, scored, champion.run).passed


def move_production(output: str, runs: Sequence[str]) -> int:
    """Moves production.json through the runs that a rule promoted; returns its last generation."""
    seen = None
    for run in runs:
        seen = production.move(output, run, current=seen, why=RULE)
    assert seen is not None
    return seen.generation


def _auc(labels: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> float:
    return value("auc", "binary", labels[rows], scores[rows])


def day_of_rows(lake: Path, days: Sequence[date]) -> np.ndarray:
    """Returns the ordinal of the day of every scored row, int [rows], in the order of the scores."""
    rows = [pq.read_metadata(lake / f"dt={day}" / "part-0.parquet").num_rows for day in days]
    return np.repeat([day.toordinal() for day in days], rows)


def table_of(outcomes: dict[str, Outcome], nights: int) -> Table:
    """Returns the table, one line for each rule."""
    table = Table(title=f"{nights} nights, {len(NOISE)} with noise in the labels; gains in AUC on the rest of the year")
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
    """Runs the nights and prints the table; exits with 1 where a promoted model lost more than the gate allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".demo/flights"))
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2, help="nights fitted at a time")
    parser.add_argument("--keep", type=Path, help="write all predictions to this .npz")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    chosen = parser.parse_args()
    began = time.monotonic()
    nights = [FIRST_NIGHT + timedelta(days=i) for i in range(chosen.nights)]
    days = scored_days(nights)
    lake = chosen.data.resolve()
    with tempfile.TemporaryDirectory(prefix="kfit-nights-") as scratch:
        models, labels = run_nights(lake, Path(scratch), nights, chosen.workers)
        if chosen.keep:
            np.savez(chosen.keep, labels=labels, **{a.run: a.scores for a in models})
        day_of = day_of_rows(lake, days)
        outcomes = {rule: replay(rules, models, labels, day_of) for rule, rules in RULES.items()}
        moved = move_production(f"{scratch}/out", outcomes[RULE].runs)
    Console(width=140).print(table_of(outcomes, len(nights)))
    print(f"production.json moved {moved} times by {RULE!r}")
    print(f"{time.monotonic() - began:.0f} s")
    if chosen.json:
        chosen.json.write_text(json.dumps({rule: vars(outcome) for rule, outcome in outcomes.items()}, indent=2) + "\n")
    raise SystemExit(1 if outcomes[RULE].worst_promoted < -ALLOWED else 0)


if __name__ == "__main__":
    main()
