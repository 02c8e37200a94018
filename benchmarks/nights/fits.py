"""The models of sixty nights: each fitted, exported and published as in production, then asked about the year."""

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

FIRST_NIGHT = date(2013, 3, 1)
TRAIN_DAYS, HOLDOUT_DAYS = 42, 14
END = date(2013, 12, 31)
NOISE = np.linspace(0.5, 0.95, 10)
WITH_NULLS = ("wind_speed", "precip", "visib", "seats")


class Quiet:
    """A progress that says nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


@dataclass
class Asked:
    """A model's answers on every day that anybody looks at.

    Attributes:
        night: Its logical date.
        noise: Share of its training labels that were drawn anew.
        scores: [rows] over all those days.
    """

    night: date
    run: str
    noise: float
    scores: np.ndarray


def job(lake: str, output: Path, noisy: str | None = None) -> Config:
    """The night's configuration; with `noisy`, training reads that copy of the lake."""

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
    """Copies a night's training days with that share of the labels drawn anew from all of them."""
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


def days_looked_at(nights: Sequence[date]) -> list[date]:
    """From the first holdout day to the end of the year."""
    first = nights[0] - timedelta(days=HOLDOUT_DAYS)
    return [first + timedelta(days=i) for i in range((END - first).days + 1)]


def run_nights(lake: Path, scratch: Path, nights: Sequence[date], workers: int) -> tuple[list[Asked], np.ndarray]:
    """Fits every night, and asks its model on all the days looked at: the answers, and the labels by row."""
    noisy = dict(zip(noisy_nights(nights), NOISE, strict=True))
    tasks = [(lake, scratch, night, float(noisy.get(night, 0.0)), days_looked_at(nights)) for night in nights]
    with get_context("spawn").Pool(workers) as pool:
        done = []
        for asked, labels in pool.imap(one_night, tasks):
            done.append((asked, labels))
            print(f"{asked.night}  noise {asked.noise:.0%}", flush=True)
    return [asked for asked, _ in done], done[0][1]


def one_night(task: tuple[Path, Path, date, float, list[date]]) -> tuple[Asked, np.ndarray]:
    """Fits one night and asks its model."""
    from trainer.tensorflow_import import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from trainer.serving.holdout import predict_holdout

    tf.get_logger().setLevel("ERROR")
    lake, scratch, night, share, looked = task
    copy = scratch / f"noisy-{night}"
    if share:
        add_noise(lake, copy, job(str(lake), scratch / "out"), night, share)
    config = job(str(lake), scratch / "out", str(copy) if share else None)
    result = trainer.fit(config, run_id=f"night-{night}", date=night, progress=Quiet())
    shutil.rmtree(copy, ignore_errors=True)
    answers = predict_holdout([result.uri], [str(lake / f"dt={day}" / "part-0.parquet") for day in looked])
    tf.keras.backend.clear_session()
    return Asked(night, f"night-{night}", share, answers.predictions[0]), answers.labels


def noisy_nights(nights: Sequence[date]) -> list[date]:
    """Ten nights, drawn once and for all, never the first."""
    chosen = np.random.default_rng(10).choice(np.arange(1, len(nights)), len(NOISE), replace=False)
    return [nights[i] for i in chosen]
