"""What this machine, or the container on it, offers."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def physical_bytes() -> int:
    """Returns the memory of the machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_limit_bytes(cgroup_files: tuple[str, ...] = _CGROUP_FILES, physical: int | None = None) -> int:
    """Returns the cgroup's limit (v2, then v1), else physical memory, in bytes.

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
            return int(text)
    return whole
