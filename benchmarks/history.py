"""Speed of `kfit history`: `python -m benchmarks.history` writes a thousand runs into a SeaweedFS and lists them.

Each figure is that of a whole process, the best of several. Beside it are the seconds of the store itself, in the same
run, for the requests that cannot be avoided: listing the folders of the runs and reading the index (`history.json`),
or, without an index, the `result.json` of each run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.timing import Figure, report, times_s
from tests.nightly.runs import leave
from tests.servers import environment, seaweed
from trainer import storage
from trainer.nightly import history

LIMIT_S = 2.0
TRIES = 5


def best_s(work: Callable[[], object]) -> float:
    """Returns the seconds of a call, the best of several tries."""
    return min(times_s(work, TRIES))


def fill(output: str, runs: int) -> None:
    """Writes so many finished runs, one a day."""
    first = datetime(2010, 1, 1, 2)

    def one(n: int) -> None:
        finished = (first + timedelta(days=n)).strftime("%Y-%m-%dT%H:%M:%SZ")
        leave(output, f"nightly-{n:05d}", finished=finished, date=finished[:10], digest=f"d{n}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(runs)))


def main() -> int:
    """Measures, prints one table; exits 1 where history with its index takes longer than the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="kfit-history-") as folder, seaweed(Path(folder)) as server:
        os.environ.update(environment(server.endpoint))
        output = f"s3://{server.bucket}/nightly"
        fill(output, runs)
        kfit = [sys.executable, "-m", "k8s", "history", "--output-uri", output]

        def ask() -> None:
            done = subprocess.run(kfit, check=True, capture_output=True, text=True)
            assert f"of {runs:,} runs" in done.stdout or f"{runs} runs" in done.stdout, done.stdout[-300:]

        bare_s = best_s(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        folders = storage.join(output, "runs")
        results = [storage.join(folders, name, "result.json") for name in storage.list_folders(folders)]
        each_s = best_s(lambda: storage.read_many(results))
        without_s = best_s(ask)
        history.write_index(output)
        index = storage.join(output, history.NAME)
        store_s = best_s(lambda: (storage.list_folders(folders), storage.read(index)))
        with_s = best_s(ask)
    figures = [
        Figure("python -c pass", bare_s),
        Figure("the store: list the folders, read the index", store_s),
        Figure("kfit history, with its index", with_s, limit=LIMIT_S),
        Figure("the store: read each result.json", each_s),
        Figure("kfit history, its index lost", without_s),
    ]
    return report(f"history of {runs:,} runs", figures)


if __name__ == "__main__":
    sys.exit(main())
