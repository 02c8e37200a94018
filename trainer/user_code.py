"""Where the modules of users are found: an entrypoint may lie in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path


def add_working_folder() -> None:
    """Puts the working folder first on `sys.path`, as `python -m` does; a console script leaves it out."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
