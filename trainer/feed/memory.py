"""How much memory the feed may hold, and what its plan will need."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.errors import ConfigError

_MIB = 1024**2
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SHARE = 3


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
            return int(text) // _SHARE
    return whole // _SHARE


def check_budget(budget: int, window_bytes: int, other_bytes: int) -> None:
    """Holds the plan's need against the budget.

    Args:
        budget: `data.memory`, or the default.
        window_bytes: One round's packed rows: two are held, one in use and the next being read.
        other_bytes: Row groups being decoded, and batches ready.

    Raises:
        ConfigError: It does not fit; names the shuffle that would.
    """
    need = 2 * window_bytes + other_bytes
    if need <= budget:
        return
    fits = (budget - other_bytes) // 2
    remedy = (
        f"set data.shuffle to at most {fits // _MIB}MiB, or raise data.memory"
        if fits >= _MIB
        else f"raise data.memory to {-(-need // _MIB)}MiB, or write smaller row groups"
    )
    raise ConfigError(
        f"the feed needs {-(-need // _MIB)} MiB and may hold {budget // _MIB} MiB", where="run.data.shuffle",
        remedy=remedy,
    )  # fmt: skip
