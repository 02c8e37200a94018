"""Compares a job file as `kfit init` writes it with scikit-learn's linear model and boosting, on the same rows.

    python -m benchmarks.quality [--sets ames spam7] [--seeds 5] [--json FILE] [--continue]

For every dataset and seed it runs `kfit init`, `trainer fit`, and `trainer predict` on a held-out fifth, as commands.
scikit-learn's models have default settings and see the columns that the job file uses. Greater scores are better: AUC
(binary), accuracy (multiclass), or the negative RMSE in standard deviations of the label (regression). FILE holds the
score of each seed with a 95 % interval over 200 resamples of its held-out rows; the table shows the mean over seeds and
the intervals of the differences over seeds.
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
from sklearn.metrics import roc_auc_score

from benchmarks.quality import peers, sets
from benchmarks.quality.summary import SIDES, summarize


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
    """Returns the standard output of a command; a command that fails ends the benchmark."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def ours(folder: Path, label: str, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and predictions of the held-out rows, by kfit's commands."""
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
    """Returns labels and predictions of the held-out rows, by a model of scikit-learn on the job's columns."""
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


def main() -> None:
    """Measures, prints one table, and exits with 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(sets.SETS), choices=sets.SETS, metavar="SET")
    parser.add_argument("--seeds", type=int, default=5, help="how many splits of each set")
    parser.add_argument("--json", type=Path, help="write every result here, after each seed")
    parser.add_argument("--continue", action="store_true", dest="again", help="keep what FILE has; measure the rest")
    chosen = parser.parse_args()
    if chosen.again and not (chosen.json and chosen.json.exists()):
        parser.error("--continue needs --json FILE with an earlier run's results")
    results: dict[str, list[Any]] = json.loads(chosen.json.read_text()) if chosen.again else {}
    for name in chosen.sets:
        for seed in range(len(results.setdefault(name, [])), chosen.seeds):
            results[name].append(last := measure(name, seed))
            print(name, seed, *(f"{side} {last[side]['score']:.4f}" for side in SIDES),
                  f"{last['kfit']['seconds']:.0f} s", flush=True)  # fmt: skip
            if chosen.json:
                chosen.json.write_text(json.dumps(results, indent=2) + "\n")
    table, words, fine = summarize(
        {name: results[name][: chosen.seeds] for name in chosen.sets}, {n: sets.SETS[n].task for n in chosen.sets}
    )
    Console(width=150).print(table)
    print("\n".join(words))
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
