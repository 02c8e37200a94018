"""Hurts runs of several workers in every way, starts them again, and compares their ends; prints a table.

    python -m tests.multinode [--only NAME ...]

Exits 1 where anything differs. Every run that was hurt and started again with as many workers must end as
the undisturbed one, bit for bit; where the number of replicas' processes differs, within 1e-6, and with
another number of replicas within 1e-5 (Adam makes rounding grow from step to step).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.multinode.cases import CASES, Case, Workshop


def table_of(rows: list[tuple[Case, float, list[str]]]) -> Table:
    """The rows for a person."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("case", "what must hold", "result", "seconds"):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for case, seconds, wrong in rows:
        table.add_row(case.name, case.holds, "; ".join(wrong) or case.found, f"{seconds:.0f}")
    return table


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help=f"some of {', '.join(case.name for case in CASES)}")
    only = parser.parse_args().only
    rows: list[tuple[Case, float, list[str]]] = []
    with tempfile.TemporaryDirectory(prefix="kfit-multinode-") as folder:
        shop = Workshop(Path(folder))
        for case in CASES:
            if only and case.name not in only:
                continue
            began = time.monotonic()
            wrong = case.run(shop)
            rows.append((case, time.monotonic() - began, wrong))
            print(f"{case.name}: {'; '.join(wrong) or case.found}", file=sys.stderr, flush=True)
    Console().print(table_of(rows))
    failed = sum(bool(wrong) for _, _, wrong in rows)
    print(f"{len(rows)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.exit(main())
