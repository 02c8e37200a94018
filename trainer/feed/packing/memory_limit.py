"""How much memory the feed may hold where `data.memory` does not say."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: The budget is the limit divided by this.
BUDGET_SHARE = 3


def physical_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def default_budget(cgroup_files: tuple[str, ...] = _CGROUP_FILES, physical: int | None = None) -> int:
    """A third of the cgroup's limit (v2, then v1), else of physical memory, in bytes.

    Args:
        cgroup_files: Where limits stand.
        physical: Memory of the machine; asked for where it is not given.
    """
    whole = physical or physical_bytes()
    for file in cgroup_files:
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < whole:
            return int(text) // BUDGET_SHARE
    return whole // BUDGET_SHARE
