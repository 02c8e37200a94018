"""Makes the example's data: scikit-learn's breast cancer table (569 tumours), as if it came from two hospitals."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer


def main(folder: Path) -> None:
    """Writes a folder for each hospital."""
    tumours = load_breast_cancer()
    columns = {name.replace(" ", "_"): tumours.data[:, at] for at, name in enumerate(tumours.feature_names)}
    table = pa.table({**columns, "malignant": pa.array(1 - tumours.target, pa.int8())})
    hospitals = {"first": table.slice(0, 400), "second": table.slice(400)}
    for name, rows in hospitals.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, folder / name / "part-0.parquet")
    print(f"{len(table):,} tumours of {len(hospitals)} hospitals below {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/tumours"))
