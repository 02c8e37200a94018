"""From scores to one table: means over seeds, paired differences with 95 % intervals, and whether the claims hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from scipy import stats

Floats = npt.NDArray[np.float64]
#: Result of one set and seed: side -> score, interval, seconds.
Result = Mapping[str, Mapping[str, float]]

SIDES = ("linear", "boosting", "kfit")
#: By how much ours may be below the linear model: of AUC and accuracy; of RMSE as a share.
_MARGIN, _RMSE_MARGIN = 0.005, 0.02


def half_width(values: Floats) -> float:
    """Half the width of the 95 % interval of a mean over seeds, by Student's t; NaN for one seed."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def ranks_of(scores: Floats) -> Floats:
    """Mean rank of each side over the sets, 1 is best: scores [sets, sides, seeds] -> [sides, seeds]."""
    return np.asarray(stats.rankdata(-scores, axis=1).mean(axis=0), np.float64)


def reaches_linear(task: str, linear: float, ours: float) -> bool:
    """Whether our mean score is at least the linear model's, within the margin."""
    return -ours <= -linear * (1 + _RMSE_MARGIN) if task == "regression" else ours >= linear - _MARGIN


def summarize(results: Mapping[str, Sequence[Result]], tasks: Mapping[str, str]) -> tuple[Table, list[str], bool]:
    """The table of all sets that have equally many seeds, what it shows, and whether both claims hold.

    Args:
        results: By set, one result a seed.
        tasks: By set: binary, multiclass or regression.
    """
    table = Table("set", "task", *SIDES, "kfit - linear", "kfit - boosting", "longest", "≥ linear")
    # [sets, sides, seeds]
    scores = np.array([[[r[side]["score"] for r in runs] for side in SIDES] for runs in results.values()])
    below = []
    for (name, runs), rows in zip(results.items(), scores, strict=True):
        fine = reaches_linear(tasks[name], rows[0].mean(), rows[2].mean())
        below += [] if fine else [name]
        longest = max(r["kfit"]["seconds"] for r in runs)
        table.add_row(name, tasks[name], *_cells(rows, 4), f"{longest:.0f} s", "yes" if fine else "NO")
    mean, rank = scores.mean(axis=0), ranks_of(scores)
    table.add_section()
    table.add_row("mean score", "", *_cells(mean, 4), "", "")
    table.add_row("mean rank", "", *_cells(rank, 2), "", "")
    as_boosting = bool(mean[2].mean() >= mean[1].mean() and rank[2].mean() <= rank[1].mean())
    words = [
        f"seeds: {scores.shape[2]}; ±: 95 % interval of the paired difference over seeds",
        f"at least the linear model on every set: {'NO: ' + ', '.join(below) if below else 'yes'}",
        f"at least boosting in mean score and mean rank: {'yes' if as_boosting else 'NO'}",
    ]
    return table, words, not below and as_boosting


def _cells(rows: Floats, digits: int) -> list[Any]:
    """Means of [sides, seeds], then ours minus each peer's with its interval."""
    means = [f"{row.mean():.{digits}f}" for row in rows]
    differences = [rows[2] - row for row in rows[:2]]
    return means + [f"{d.mean():+.{digits}f} ± {half_width(d):.{digits}f}" for d in differences]
