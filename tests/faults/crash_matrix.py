"""Kills a run everywhere, starts it again, and compares its end with one that was never killed.

    python -m tests.faults.crash_matrix --kills 200 --stops 40 --stores local,s3 --devices 1,2

Three ways to die: SIGKILL at random moments (up to five a run), SIGKILL before and after every store
operation of a whole run, SIGTERM at random moments. Prints a table; exits 1 where anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests import sets
from tests.faults import killable_run
from tests.faults.ends import differences, unpublished
from tests.faults.killable_run import KillPoint
from tests.servers import environment, seaweed
from trainer.checkpoint.run_folder import RunFolder

KILLS_A_RUN = 5


@dataclass
class Row:
    """One line of the table."""

    way: str
    store: str
    devices: int
    runs: int = 0
    deaths: int = 0
    differing: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Workshop:
    """One job on one store and one number of devices, and a run of it that was never killed."""

    keep = 2

    def __init__(self, folder: Path, output: str, devices: int) -> None:
        self.folder, self.output, self.devices = folder, output, devices
        document = sets.job(
            sets.write(folder / "data", shards=3, rows=120, row_group_size=30),
            output,
            data__shuffle="8k",
            model={"builtin": "mlp", "hidden": [8], "dropout": 0.2},
            # 9 steps an epoch: within an epoch, and at the end of its steps, before its validation.
            output__checkpoint={"every": "6 steps", "keep": self.keep},
            output__tensorboard=False,
            fit=sets.every_callback(epochs=3, early_stopping={"monitor": "val_auc", "patience": 2}),
        )
        self.job = sets.write_job(folder / "job.yaml", document)
        self.count = 0
        self.whole = self.new_run()
        self.undisturbed = self.start(self.whole)
        if self.undisturbed.code != 0:
            raise SystemExit(self.undisturbed.stderr)
        if not self.undisturbed.operations:
            raise SystemExit("no store operation of the undisturbed run was seen: nothing could die at one")

    def new_run(self) -> RunFolder:
        self.count += 1
        return RunFolder(self.output, f"r{self.count:04d}")

    def start(self, run: RunFolder, kill_at: KillPoint | None = None) -> killable_run.End:
        words = ["fit", str(self.job), "--run", run.run_id, "--devices", f"cpu:{self.devices}"]
        return killable_run.run(words, self.folder / "process", kill_at)

    def finish(self, run: RunFolder, row: Row, what: str) -> None:
        """Starts a run until it ends, and compares."""
        end = self.start(run)
        row.runs += 1
        if end.code != 0:
            row.differing.append(f"{what}: exit {end.code}: {end.stderr[-300:]}")
            return
        if wrong := differences(self.whole, run) + unpublished(run):
            row.differing.append(f"{what}: {', '.join(wrong)}")


def random_kills(shop: Workshop, row: Row, kills: int, rng: random.Random) -> Iterator[int]:
    """SIGKILL at random moments, up to five a run."""
    while row.deaths < kills:
        run = shop.new_run()
        moments = [rng.uniform(0.05, shop.undisturbed.seconds) for _ in range(min(KILLS_A_RUN, kills - row.deaths))]
        for moment in moments:
            end = shop.start(run, KillPoint(after_s=moment))
            row.deaths += 1
            yield row.deaths
            if end.code not in (-signal.SIGKILL, 0):
                row.differing.append(f"killed after {moment:.2f} s: exit {end.code}: {end.stderr[-300:]}")
        shop.finish(run, row, f"killed after {[round(m, 2) for m in moments]} s")


def every_operation(shop: Workshop, row: Row, only: int | None, rng: random.Random) -> Iterator[int]:
    """SIGKILL before and after each store operation of a whole run; `only` a random choice, and each commit."""
    operations = shop.undisturbed.operations
    places = [(side, n + 1) for n in range(len(operations)) for side in ("before", "after")]
    commits = [("after", n + 1) for n, o in enumerate(operations) if o.startswith("write ") and "/step-" in o]
    chosen = places if only is None else [*commits, *rng.sample(places, min(only, len(places)))]
    for side, number in chosen:
        run = shop.new_run()
        kill_at = KillPoint(before_operation=number) if side == "before" else KillPoint(after_operation=number)
        end = shop.start(run, kill_at)
        row.deaths += 1
        yield row.deaths
        # Uploads run beside each other, so a run may have an operation fewer than the one that was counted.
        if end.code not in (-signal.SIGKILL, 0):
            row.differing.append(f"{side} operation {number}: exit {end.code}: {end.stderr[-300:]}")
        shop.finish(run, row, f"{side} operation {number} ({shop.undisturbed.operations[number - 1]})")


def random_stops(shop: Workshop, row: Row, stops: int, rng: random.Random) -> Iterator[int]:
    """SIGTERM at random moments: exit 75 with a checkpoint, or 0 where it came after the end."""
    for _ in range(stops):
        run = shop.new_run()
        moment = rng.uniform(0.05, shop.undisturbed.seconds)
        end = shop.start(run, KillPoint(after_s=moment, signal_number=signal.SIGTERM))
        row.deaths += 1
        yield row.deaths
        # -15: before the program's first line, when there is nothing yet to be polite about.
        if end.code not in (75, 0, -signal.SIGTERM):
            row.differing.append(f"SIGTERM after {moment:.2f} s: exit {end.code}: {end.stderr[-300:]}")
        shop.finish(run, row, f"SIGTERM after {moment:.2f} s")


def matrix(stores: list[str], devices: list[int], kills: int, stops: int, only: int | None, seed: int) -> list[Row]:
    """The whole matrix; `kills` and `stops` are spread over stores and devices."""
    rows = []
    rng = random.Random(seed)
    shares = len(stores) * len(devices)
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="kfit-crash-")))
        os.environ["KFIT_CACHE"] = str(folder / "cache")
        outputs = {"local": str(folder / "out")}
        if "s3" in stores:
            server = closing.enter_context(seaweed(folder / "s3"))
            os.environ.update(environment(server.endpoint))
            outputs["s3"] = f"s3://{server.bucket}/out"
        for store in stores:
            for count in devices:
                shop = Workshop(folder / f"{store}-{count}", f"{outputs[store]}-{count}", count)
                for way, dying in (
                    ("kill -9 at random", lambda s, r: random_kills(s, r, -(-kills // shares), rng)),
                    ("kill -9 at a store operation", lambda s, r: every_operation(s, r, only, rng)),
                    ("SIGTERM at random", lambda s, r: random_stops(s, r, -(-stops // shares), rng)),
                ):
                    row = Row(way, store, count)
                    rows.append(row)
                    began = time.monotonic()
                    for _ in track(dying(shop, row), f"{way}, {store}, {count} devices", console=Console(stderr=True)):
                        pass
                    row.seconds = time.monotonic() - began
    return rows


def table_of(rows: list[Row]) -> Table:
    """The rows for a person."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("way to die", "store", "devices", "deaths", "runs", "differences", "seconds"):
        table.add_column(name, justify="left" if name in ("way to die", "store") else "right")
    for row in rows:
        table.add_row(
            row.way,
            row.store,
            *map(str, (row.devices, row.deaths, row.runs, len(row.differing), round(row.seconds))),
        )
    return table


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs at random moments (default 200)")
    parser.add_argument("--stops", type=int, default=40, help="SIGTERMs at random moments (default 40)")
    parser.add_argument("--operations", type=int, help="only so many store operations (default: all, both sides)")
    parser.add_argument("--stores", default="local,s3")
    parser.add_argument("--devices", default="1,2")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = matrix(
        asked.stores.split(","),
        [int(n) for n in asked.devices.split(",")],
        asked.kills,
        asked.stops,
        asked.operations,
        asked.seed,
    )
    Console().print(table_of(rows))
    for row in rows:
        for text in row.differing:
            print(f"{row.way}, {row.store}, {row.devices}: {text}")
    differing = sum(len(row.differing) for row in rows)
    print(f"{sum(r.deaths for r in rows)} deaths, {differing} differences")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
