"""An untouched job file beside scikit-learn's linear model and boosting with their defaults, on the same rows.

    python -m benchmarks.quality [--sets ames spam7] [--seeds 5] [--json FILE]

For every set and seed: `kfit init`, `trainer fit`, `trainer predict` on a held-out fifth, as commands. The peers see
the columns that the job file uses. A score is better when greater: AUC (binary), accuracy (multiclass), minus the RMSE
in deviations of the label (regression). Its 95 % interval is over 200 resamples of the held-out rows, for one seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import yaml
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.quality import peers, sets

SIDES = ("linear", "boosting", "kfit")
#: By how much ours may be below the linear model: of AUC and accuracy; of RMSE as a share.
_MARGIN, _RMSE_MARGIN = 0.005, 0.02


def score(task: str, labels: np.ndarray, answers: np.ndarray, deviation: float) -> float:
    """Greater is better. `answers`: probabilities of class 1, classes, or values."""
    if task == "binary":
        return float(roc_auc_score(labels, answers))
    if task == "multiclass":
        return float((labels == answers).mean())
    return -float(np.sqrt(np.mean((labels - answers) ** 2)) / deviation)


def interval(task: str, labels: np.ndarray, answers: np.ndarray, deviation: float) -> float:
    """Half the width of the 95 % interval."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(labels), len(labels)) for _ in range(200)]
    low, high = np.quantile([score(task, labels[at], answers[at], deviation) for at in drawn], [0.025, 0.975])
    return float(high - low) / 2


def run(*words: str) -> str:
    """A command's standard output; its error ends the benchmark."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def ours(folder: Path, label: str, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of the held-out rows, through the commands."""
    job = folder / "job.yaml"
    words = ["--label", label, "--task", task, "--output", str(folder / "models")]
    job.write_text(run("k8s", "init", str(folder / "train"), *words))
    result = json.loads(run("trainer", "fit", str(job), "-o", "json"))
    run("trainer", "predict", f"{folder}/models/runs/{result['run']}", "--data", str(folder / "test"), "--output",
        str(folder / "answers"))  # fmt: skip
    table = ds.dataset(folder / "answers").to_table(columns=[label, "prediction"]).to_pandas()
    return table[label].to_numpy(), table["prediction"].to_numpy()


def peer(
    side: str, train: pd.DataFrame, test: pd.DataFrame, label: str, task: str, job: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of the held-out rows, by a model of scikit-learn on the job's columns."""
    features = yaml.safe_load(job.read_text())["run"]["data"]["features"]
    categories = [name for name, feature in features.items() if feature["kind"] == "categorical"]
    dates = {name: feature["parts"] for name, feature in features.items() if feature["kind"] == "date"}
    numbers = [name for name in features if name not in categories and name not in dates]
    of_dates = [f"{name} {part}" for name, parts in dates.items() for part in parts]
    model = getattr(peers, side)([*numbers, *of_dates], categories, task)
    model.fit(peers.as_columns(train, numbers, categories, dates), train[label])
    columns = peers.as_columns(test, numbers, categories, dates)
    return test[label].to_numpy(), model.predict_proba(columns)[:, 1] if task == "binary" else model.predict(columns)


def measure(name: str, seed: int) -> dict[str, dict[str, float]]:
    """Score, interval and seconds of every side on one set and seed."""
    rows, label, task = sets.read(name)
    train, test = sets.split(rows, seed)
    deviation = float(train[label].std()) if task == "regression" else 1.0
    scores: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets.write(train, folder / "train" / "0.parquet")
        sets.write(test, folder / "test" / "0.parquet")
        for side in ("kfit", "linear", "boosting"):
            started = time.monotonic()
            labels, answers = (
                ours(folder, label, task)
                if side == "kfit"
                else peer(side, train, test, label, task, folder / "job.yaml")
            )
            seconds = time.monotonic() - started
            scores[side] = {
                "score": score(task, labels, answers, deviation),
                "interval": interval(task, labels, answers, deviation),
                "seconds": seconds,
            }
    return scores


def holds(task: str, mean: dict[str, float]) -> bool:
    """Whether ours is at least the linear model, within the margin."""
    if task == "regression":
        return -mean["kfit"] <= -mean["linear"] * (1 + _RMSE_MARGIN)
    return mean["kfit"] >= mean["linear"] - _MARGIN


def report(scores: dict[str, list[dict[str, dict[str, float]]]]) -> bool:
    """Prints the table; whether the claims hold."""
    table = Table("set", "task", *SIDES, "seconds", "≥ linear")
    means, fine = [], True
    for name, runs in scores.items():
        task = sets.SETS[name].task
        mean = {side: float(np.mean([r[side]["score"] for r in runs])) for side in SIDES}
        means.append([mean[side] for side in SIDES])
        wide = {side: float(np.mean([r[side]["interval"] for r in runs])) for side in SIDES}
        seconds = np.mean([r["kfit"]["seconds"] for r in runs])
        fine &= holds(task, mean)
        cells = [f"{mean[side]:.4f} ± {wide[side]:.4f}" for side in SIDES]
        table.add_row(name, task, *cells, f"{seconds:.0f}", "yes" if holds(task, mean) else "NO")
    matrix = np.array(means)  # [sets, sides]
    ranks = (-matrix).argsort(axis=1).argsort(axis=1).mean(axis=0) + 1
    table.add_row("mean score", "", *(f"{v:.4f}" for v in matrix.mean(axis=0)), "", "")
    table.add_row("mean rank", "", *(f"{v:.2f}" for v in ranks), "", "")
    Console(width=130).print(table)
    as_boosting = matrix[:, 2].mean() >= matrix[:, 1].mean() and ranks[2] <= ranks[1]
    print(f"at least the linear model on every set: {'yes' if fine else 'NO'}")
    print(f"at least boosting in mean score and mean rank: {'yes' if as_boosting else 'NO'}")
    return fine and bool(as_boosting)


def main() -> None:
    """Measures, prints one table, and says whether the claims hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(sets.SETS), choices=sets.SETS, metavar="SET")
    parser.add_argument("--seeds", type=int, default=5, help="how many splits of each set")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    scores: dict[str, list[Any]] = {}
    for name in chosen.sets:
        for seed in range(chosen.seeds):
            scores.setdefault(name, []).append(measure(name, seed))
            last = scores[name][-1]
            print(name, seed, *(f"{side} {last[side]['score']:.4f}" for side in SIDES),
                  f"{last['kfit']['seconds']:.0f} s", flush=True)  # fmt: skip
            if chosen.json:
                chosen.json.write_text(json.dumps(scores, indent=2) + "\n")
    raise SystemExit(0 if report(scores) else 1)


if __name__ == "__main__":
    main()
