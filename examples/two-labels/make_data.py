"""Makes the example's data: every eighth flight of examples/flights, with the minutes by which it arrived late."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

EVERY, FILES = 8, 4


def main(folder: Path) -> None:
    """Writes the data below a folder, replacing what is there."""
    spec = importlib.util.spec_from_file_location("flights", Path(__file__).parents[1] / "flights/make_data.py")
    assert spec is not None
    assert spec.loader is not None
    flights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flights)
    rows = flights.known_before_departure().iloc[::EVERY].rename(columns={"arr_delay": "minutes"})
    schema = flights.SCHEMA.insert(0, pa.field("minutes", pa.float32()))
    table = pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False, safe=False)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = -(-len(table) // FILES)
    for at in range(FILES):
        pq.write_table(table.slice(at * size, size), folder / f"part-{at}.parquet", row_group_size=2048)
    print(f"{len(table):,} flights in {FILES} files below {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/two-labels"))
