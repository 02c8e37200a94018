"""Sixty nights' models, each fitted, exported and published as in production, then scored on the rest of the year."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import trainer
from trainer.config import Config
from trainer.nightly import windows
from trainer.progress.progress import Progress

FIRST_NIGHT = date(2013, 3, 1)
TRAIN_DAYS, HOLDOUT_DAYS = 42, 14
END = date(2013, 12, 31)
NOISE = np.linspace(0.5, 0.95, 10)
WITH_NULLS = ("wind_speed", "precip", "visib", "seats")


@dataclass
class NightModel:
    """A night's model and its predictions on every scored day.

    Attributes:
        night: Logical date of the run.
        run: Id of the run.
        noise: Share of its training labels that were replaced by random ones.
        scores: Predictions, float [rows], over all scored days.
    """

    night: date
    run: str
    noise: float
    scores: np.ndarray


def job(lake: str, output: Path, noisy: str | None = None) -> Config:
    """Returns the configuration of a night; with `noisy`, training reads that copy of the lake."""

    def days(folder: str, **span: int) -> dict[str, Any]:
        return {"uri": f"{folder}/dt={{date}}/*.parquet", **span}

    features: dict[str, Any] = {
        **{name: {"kind": "numeric"} for name in ("dep_minute", "arr_minute", "distance")},
        **{name: {"kind": "numeric", "impute": "mean"} for name in WITH_NULLS},
        "weekday": {"kind": "categorical"},
        "origin": {"kind": "categorical"},
        "carrier": {"kind": "categorical", "encode": "embedding", "size": 8},
        "dest": {"kind": "categorical", "encode": "embedding", "size": 8},
    }
    document = {
        "data": {
            "train": days(noisy or lake, last=TRAIN_DAYS, until=-HOLDOUT_DAYS - 1),
            "label": "late",
            "features": features,
        },
        "task": "binary",
        "model": {"builtin": "mlp", "hidden": [32], "dropout": 0.2},
        "fit": {"epochs": 4, "batch_size": 1024, "optimizer": {"learning_rate": 0.003}},
        "output": {"uri": str(output), "tensorboard": False},
    }
    return Config.model_validate(document)


def add_noise(lake: Path, target: Path, config: Config, night: date, share: float) -> None:
    """Copies a night's training days, with that share of the labels redrawn from each day's own labels."""
    rng = np.random.default_rng(night.toordinal())
    assert not isinstance(config.data.train, str | list)
    for day in windows.days_of(config.data.train, night):
        table = pq.read_table(lake / f"dt={day}" / "part-0.parquet")
        labels = table.column("late").to_numpy().copy()
        redrawn = rng.random(len(labels)) < share
        labels[redrawn] = rng.choice(labels, int(redrawn.sum()))
        folder = target / f"dt={day}"
        folder.mkdir(parents=True)
        column = table.schema.get_field_index("late")
        pq.write_table(table.set_column(column, "late", pa.array(labels, pa.int8())), folder / "part-0.parquet")


def scored_days(nights: Sequence[date]) -> list[date]:
    """Returns the days from the first holdout day to the end of the year."""
    first = nights[0] - timedelta(days=HOLDOUT_DAYS)
    return [first + timedelta(days=i) for i in range((END - first).days + 1)]


def run_nights(lake: Path, scratch: Path, nights: Sequence[date], workers: int) -> tuple[list[NightModel], np.ndarray]:
    """Fits every night and scores its model on all scored days.

    Returns:
        The models in the order of the nights, and the labels, int [rows].
    """
    noisy = dict(zip(noisy_nights(nights), NOISE, strict=True))
    tasks = [(lake, scratch, night, float(noisy.get(night, 0.0)), scored_days(nights)) for night in nights]
    with get_context("spawn").Pool(workers) as pool:
        done = []
        for model, labels in pool.imap(one_night, tasks):
            done.append((model, labels))
            print(f"{model.night}  noise {model.noise:.0%}", flush=True)
    return [model for model, _ in done], done[0][1]


def one_night(task: tuple[Path, Path, date, float, list[date]]) -> tuple[NightModel, np.ndarray]:
    """Fits the model of one night and scores it."""
    from trainer.tensorflow_import import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from trainer.serving.holdout import predict_holdout

    tf.get_logger().setLevel("ERROR")
    lake, scratch, night, share, days = task
    copy = scratch / f"noisy-{night}"
    if share:
        add_noise(lake, copy, job(str(lake), scratch / "out"), night, share)
    config = job(str(lake), scratch / "out", str(copy) if share else None)
    result = trainer.fit(config, run_id=f"night-{night}", date=night, progress=Progress([]))
    shutil.rmtree(copy, ignore_errors=True)
    answers = predict_holdout([result.uri], [str(lake / f"dt={day}" / "part-0.parquet") for day in days])
    tf.keras.backend.clear_session()
    return NightModel(night, f"night-{night}", share, answers.predictions[0]), answers.labels


def noisy_nights(nights: Sequence[date]) -> list[date]:
    """Returns the ten nights with noisy labels: the same ones every time, never the first night."""
    chosen = np.random.default_rng(10).choice(np.arange(1, len(nights)), len(NOISE), replace=False)
    return [nights[i] for i in chosen]
