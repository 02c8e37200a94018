"""One side in its own process: `python -m benchmarks.feed.side TASK` prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.feed.probes import PROBES
from benchmarks.feed.sets import SetShape
from benchmarks.feed.sides import SIDES, Task
from benchmarks.timing import print_measured


def main() -> None:
    """Runs the task given on the command line and prints its measurements."""
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    side = (SIDES | PROBES)[arguments.pop("side")]
    shape = SetShape(**arguments.pop("shape"))
    task = Task(shape, Path(arguments.pop("folder")), Path(arguments.pop("cache")), **arguments)
    print_measured(side(task))


if __name__ == "__main__":
    main()
