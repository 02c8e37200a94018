"""One side in its own process: `python -m benchmarks.feed.side TASK` prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.feed.claims import CLAIMS
from benchmarks.feed.sets import SetShape
from benchmarks.feed.sides import SIDES, Task


def main() -> None:
    """Reads the task from the command line, does it, prints what was measured."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    side = (SIDES | CLAIMS)[asked.pop("side")]
    shape = SetShape(**asked.pop("shape"))
    task = Task(shape, Path(asked.pop("folder")), Path(asked.pop("cache")), **asked)
    print("MEASURED " + json.dumps(side(task)), flush=True)


if __name__ == "__main__":
    main()
