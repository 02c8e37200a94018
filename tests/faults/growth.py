"""Twenty fits in a loop, half of them killed: what lies in storage that nothing names?

    python -m tests.faults.growth

Ten runs are killed at a random moment each and started again; after each the objects that no manifest
names are counted: at most those of two checkpoints under way, and none once the run has ended.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults import killable_run
from tests.faults.crash_matrix import Workshop
from trainer import storage
from trainer.checkpoint.run_folder import RunFolder

#: Groups of arrays, each of one part here: what one checkpoint consists of.
OBJECTS = 4


def unnamed(run: RunFolder) -> tuple[int, int]:
    """Objects that no manifest names, and temporary files."""
    try:
        names = [o.name for o in storage.list_objects(run.path("checkpoints"))]
    except storage.NotFound:  # killed before its first write
        return 0, 0
    manifests = [n for n in names if n.endswith("/MANIFEST.json")]
    named = {
        f"{part['token']:08d}/{part['sha256']}"
        for name in manifests
        for group in json.loads(storage.read(run.path("checkpoints", name)))["groups"].values()
        for part in group["parts"]
    }
    objects = {n.removeprefix("objects/") for n in names if n.startswith("objects/") and "/." not in n}
    return len(objects - named), sum("/." in n for n in names)


def main() -> int:
    """Prints a line a pair of fits; 1 where something was left behind."""
    rng = random.Random(3)
    table = Table("fits", "orphans when killed", "torn files", "orphans at the end", "torn files", "objects", box=None)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="kfit-growth-") as folder:
        os.environ["KFIT_CACHE"] = str(Path(folder, "cache"))
        shop = Workshop(Path(folder), str(Path(folder, "out")), 1)
        for pair in range(1, 11):
            run = shop.new_run()
            shop.start(run, killable_run.KillPoint(after_s=rng.uniform(0.3, shop.undisturbed.seconds)))
            killed = unnamed(run)
            shop.start(run)
            ended = unnamed(run)
            objects = len(storage.list_objects(run.path("checkpoints", "objects")))
            table.add_row(f"{2 * pair - 1}, {2 * pair}", *map(str, (*killed, *ended, objects)))
            bad += ended != (0, 0) or killed[0] > 2 * OBJECTS or objects > OBJECTS * shop.keep
    Console().print(table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
