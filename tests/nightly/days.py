"""A lake of small days for nightly jobs: `dt=2013-03-01/part-0.parquet`."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import sets

FIRST = date(2013, 3, 1)


def table(day: int, rows: int = 200, *, noise: float = 0.0, shift: float = 0.0) -> pa.Table:
    """A day's rows; `noise` is the share of labels that are coin tosses, `shift` moves the column x."""
    made = sets.table(rows, seed=1000 + day)
    rng = np.random.default_rng(day)
    label = made.column("label").to_numpy().copy()
    tossed = rng.random(rows) < noise
    label[tossed] = rng.integers(0, 2, int(tossed.sum()))
    made = made.set_column(made.schema.get_field_index("label"), "label", pa.array(label, pa.int8()))
    x = made.column("x").to_numpy() + np.float32(shift)
    return made.set_column(made.schema.get_field_index("x"), "x", pa.array(x, pa.float32()))


def write(lake: Path, first: int, last: int, **changes: Any) -> None:
    """Days by number from the first of March 2013, both ends inside."""
    for day in range(first, last + 1):
        folder = lake / f"dt={FIRST + timedelta(days=day)}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(day, **changes), folder / "part-0.parquet", row_group_size=100)


def on(day: int) -> str:
    """The ISO date of a day's number."""
    return (FIRST + timedelta(days=day)).isoformat()


def job(lake: object, output: object, **changes: Any) -> dict[str, Any]:
    """Four days train, the day after them decides; the logical date is the day after that."""
    uri = f"{lake}/dt={{date}}/*.parquet"
    document = sets.job(
        "unused",
        output,
        data__train={"uri": uri, "last": "4d", "until": "-2d"},
        data__holdout={"uri": uri, "last": "1d"},
        promote__max_loss=0.2,
        fit__epochs=2,
    )
    return sets.change(document, changes)
